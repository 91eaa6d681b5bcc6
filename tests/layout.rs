//! The layout of the source: what may import what.
//!
//! The rows stand in `ARCHITECTURE.md`; here every file is held to them, and the page to the files.

#[path = "layout/crates.rs"]
mod crates;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crates::{Crate, Name};

/// Modules of one folder, each with those beside it that it uses, and where.
type Beside = BTreeMap<String, BTreeMap<String, String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md")
}

/// The lines of the page's block that begins with the fence and this word.
fn block(page: &str, word: &str) -> Vec<String> {
    let fence = format!("```{word}");
    let lines = page.lines().skip_while(|line| *line != fence).skip(1);
    let lines: Vec<_> = lines.take_while(|line| *line != "```").map(str::to_owned).collect();
    assert!(!lines.is_empty(), "ARCHITECTURE.md has no block {fence}");
    lines
}

/// The height of each module of the root: the number of its row, from below.
fn rows() -> BTreeMap<String, usize> {
    let rows = block(&page(), "rows");
    let mut heights = BTreeMap::new();
    for (height, row) in rows.iter().rev().enumerate() {
        let modules = row.split('|').next().expect("modules");
        for module in modules.split_whitespace() {
            assert!(heights.insert(module.to_owned(), height).is_none(), "{module} is there twice");
        }
    }
    heights
}

/// A file as it is called from the repository's root.
fn shown(file: &Path) -> std::path::Display<'_> {
    file.strip_prefix(root()).unwrap_or(file).display()
}

/// What the children of a module use of one another.
fn beside(read: &Crate, parent: &Name) -> Beside {
    let mut beside = Beside::new();
    for (name, module) in &read.modules {
        let Some([child, ..]) = name.strip_prefix(parent.as_slice()) else { continue };
        for used in read.uses(name) {
            if let Some([other, ..]) = used.strip_prefix(parent.as_slice())
                && other != child
            {
                let place = format!("{} uses {}", shown(&module.file), used.join("::"));
                beside.entry(child.clone()).or_default().entry(other.clone()).or_insert(place);
            }
        }
    }
    beside
}

/// A circle, if there is one: the imports that make it, in order.
fn circle(beside: &Beside) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        beside: &Beside,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if way.iter().any(|it| it == at) {
            way.push(at.to_owned());
            return true;
        }
        if !done.insert(at.to_owned()) {
            return false;
        }
        way.push(at.to_owned());
        let others = beside.get(at).into_iter().flatten();
        if others.into_iter().any(|(other, _)| visit(other, beside, way, done)) {
            return true;
        }
        way.pop();
        false
    }
    let mut done = BTreeSet::new();
    for start in beside.keys() {
        let mut way = Vec::new();
        if visit(start, beside, &mut way, &mut done) {
            let end = way.last().cloned();
            let begin = way.iter().position(|it| Some(it) == end.as_ref()).unwrap_or(0);
            let pairs = way[begin..].windows(2);
            return Some(pairs.map(|pair| beside[&pair[0]][&pair[1]].clone()).collect());
        }
    }
    None
}

fn circles(read: &Crate) -> Vec<String> {
    let found = read.modules.keys().filter_map(|parent| circle(&beside(read, parent)));
    found.map(|places| places.join("\n    ")).collect()
}

#[test]
fn every_module_imports_only_from_rows_below_it() {
    let read = Crate::read(&root().join("src/lib.rs"));
    let heights = rows();
    let declared: BTreeSet<_> = heights.keys().cloned().collect();
    let there: BTreeSet<_> = read.modules[&Vec::new()].children.iter().cloned().collect();
    assert_eq!(declared, there, "ARCHITECTURE.md lists the modules that there are");
    let mut wrong = Vec::new();
    for (module, used) in beside(&read, &Vec::new()) {
        for (other, place) in used {
            if heights[&other] >= heights[&module] {
                wrong.push(place);
            }
        }
    }
    assert!(wrong.is_empty(), "these imports lead upwards or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn no_modules_import_one_another_in_a_circle() {
    for crate_root in [
        "src/lib.rs",
        "src/bin/switchboard/main.rs",
        "benches/main.rs",
        "benches/peers/floor/main.rs",
        "benches/support/lib.rs",
        "tests/kit/src/lib.rs",
    ] {
        let read = Crate::read(&root().join(crate_root));
        assert!(read.modules.len() > 1, "{crate_root} has modules");
        let found = circles(&read);
        assert!(found.is_empty(), "circles in {crate_root}:\n    {}", found.join("\n\n    "));
    }
}

/// A fuzz target hands its input to one of the crate's entries for that, and knows nothing else of the
/// crate. It is a crate of one file, so that no module of it can import another.
#[test]
fn fuzz_targets_use_the_entries_for_them_and_nothing_else() {
    const ENTRIES: [&str; 3] = ["fuzzing::", "cluster_fuzzing::", "edge_fuzzing::"];
    let folder = root().join("fuzz/fuzz_targets");
    let mut targets = 0;
    for file in std::fs::read_dir(&folder).expect("fuzz/fuzz_targets") {
        let file = file.expect("an entry").path();
        let text = std::fs::read_to_string(&file).expect("a target");
        let uses: Vec<_> = text.match_indices("switchboard::").collect();
        assert!(!uses.is_empty(), "{} uses nothing of the crate", shown(&file));
        for (at, word) in uses {
            let used = &text[at + word.len()..];
            let is_entry = ENTRIES.iter().any(|entry| used.starts_with(entry));
            let line = text[..at].lines().count();
            assert!(is_entry, "{}, line {line}, uses more than an entry", shown(&file));
        }
        let read = Crate::read(&file);
        assert_eq!(read.modules.len(), 1, "{} is one file", shown(&file));
        targets += 1;
    }
    assert!(targets > 1, "there are targets");
}

/// The block `modules` of the page, made from the first sentence of each file. A page that is out of
/// date gets it from what this prints.
#[test]
fn the_page_lists_the_modules() {
    let read = Crate::read(&root().join("src/lib.rs"));
    let rows = block(&page(), "rows");
    let modules = rows.iter().flat_map(|row| row.split('|').next().expect("modules").split(' '));
    let mut listed = Vec::new();
    for module in modules.filter(|module| !module.is_empty()) {
        let name = vec![module.to_owned()];
        let line = |depth: usize, name: &Name| {
            let indented = format!("{:depth$}{}", "", name.last().expect("a name"));
            format!("{indented:<20}{}", read.modules[name].about).trim_end().to_owned()
        };
        listed.push(line(0, &name));
        let mut children = read.modules[&name].children.clone();
        children.sort();
        for child in children {
            listed.push(line(2, &vec![module.to_owned(), child]));
        }
    }
    let stands = block(&page(), "modules");
    assert!(stands == listed, "the block is to be:\n{}\n", listed.join("\n"));
}
