//! What the pages for people point to, name and show is there.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use switchboard::{Gateway, Switchboard};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page of the repository.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !["target", "node_modules"].contains(&&*name) {
                // What begins with a dot belongs to tools.
                folders.extend((!name.starts_with('.')).then_some(path));
            } else if name.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.contains(&root().join("docs/configuration.md")), "{pages:?}");
    pages
}

/// The lines of a page that are no code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let outside = page.split("\n```").step_by(2);
    outside.flat_map(str::lines)
}

/// The contents of the code blocks of this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    let starts = page.match_indices(&start).map(|(at, _)| at + start.len());
    starts.filter_map(|at| page[at..].split("```").next()).collect()
}

/// What may follow `#` in a link to this page: its headings, as GitHub turns them into anchors.
fn anchors(page: &str) -> BTreeSet<String> {
    let titles = prose(page).filter(|line| line.starts_with('#'));
    let anchor = |title: &str| {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    titles.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    for page in pages() {
        let folder = page.parent().expect("a file is in a folder");
        let text = read(&page);
        let lines: Vec<&str> = prose(&text).collect();
        let links = lines.iter().flat_map(|line| line.split("](").skip(1));
        for link in links.filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { folder.join(path) };
            assert!(target.exists(), "{} links to {link}", page.display());
            let is_there = || anchors(&read(&target)).contains(anchor);
            assert!(anchor.is_empty() || is_there(), "{} links to {link}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn every_command_of_the_server_has_its_flags() {
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for line in blocks(&text, "sh").into_iter().flat_map(str::lines) {
            let line = line.split(" #").next().unwrap_or_default();
            let mut words = line.split_whitespace();
            if !words.next().is_some_and(|program| Path::new(program).ends_with("switchboard")) {
                continue;
            }
            let words: Vec<&str> = words.collect();
            let name = words.first().filter(|word| !word.starts_with('-'));
            let help = Command::new(env!("CARGO_BIN_EXE_switchboard"))
                .args(name)
                .arg("--help")
                .output()
                .expect("the binary runs");
            let page = page.display();
            assert!(help.status.success(), "{page}: {line}");
            let help = String::from_utf8_lossy(&help.stdout).into_owned();
            let known: Vec<&str> = help.split([' ', ',', '\n', '=']).collect();
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(known.contains(flag), "{page}: {line}: {flag}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

/// What stands between backticks, on one line.
fn code(page: &str) -> impl Iterator<Item = &str> {
    prose(page).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The file that a piece of code names, if it names one: a module (`edge::stream`), a test with
/// clients (`drain.test.mjs`), or a path.
fn named(code: &str) -> Option<Vec<PathBuf>> {
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if code.contains("::") && code.split("::").all(is_name) {
        return Some(vec![root().join(format!("src/{}.rs", code.replace("::", "/")))]);
    }
    if code.ends_with(".mjs") && !code.contains(['/', ' ']) {
        return Some(
            ["clients", "operators"]
                .map(|folder| root().join("tests").join(folder).join(code))
                .into(),
        );
    }
    let is_path = ["src/", "tests/", "docs/", "deploy/", "benches/"]
        .iter()
        .any(|start| code.starts_with(start));
    (is_path && !code.contains([' ', '<', '*'])).then(|| vec![root().join(code)])
}

#[test]
fn every_file_that_contributors_are_sent_to_is_there() {
    let mut seen = 0;
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(&root().join(page));
        for (code, files) in code(&text).filter_map(|code| Some((code, named(code)?))) {
            assert!(files.iter().any(|file| file.exists()), "{page} names {code}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

/// The source, with text that is broken over several lines put together again.
fn source() -> String {
    let mut source = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                source.push_str(&read(&path));
            }
        }
    }
    let joined = source.replace("\\\n", " ");
    joined.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The rows of a section, as far as its next heading.
fn rows_of<'a>(page: &'a str, title: &str) -> impl Iterator<Item = &'a str> {
    let start = page.find(&format!("\n{title}\n")).unwrap_or_else(|| panic!("{title} is missing"));
    let section = page[start + 1..].lines().skip(1);
    section.take_while(|line| !line.starts_with("## ")).filter_map(|line| line.strip_prefix("| `"))
}

#[test]
fn lines_of_the_log_that_pages_explain_are_written() {
    let source = source();
    let (mut seen, mut missing) = (0, Vec::new());
    for (page, title) in [
        ("docs/operations.md", "## Reload"),
        ("docs/operations.md", "## The log"),
        ("docs/redis.md", "## What its messages mean"),
    ] {
        let text = read(&root().join(page));
        for row in rows_of(&text, title) {
            // Something that is different each time stands for `…`.
            let line = row.split('`').next().unwrap_or_default();
            for part in line.split('…').map(|part| part.trim_matches([' ', ':', ',', '(', ')'])) {
                if part.len() >= 8 && !source.contains(part) {
                    missing.push(format!("{page}: {line}: {part}"));
                }
                seen += usize::from(part.len() >= 8);
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(seen > 25, "{seen}");
}

/// The first cells of all rows of the tables on the page for operators.
fn rows_for_operators() -> Vec<String> {
    let page = read(&root().join("docs/operations.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| Some(row.split(" |").next()?.to_owned())).collect()
}

#[test]
fn operators_find_every_alert() {
    let rules = read(&root().join("deploy/prometheus/rules.yml"));
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let rows = rows_for_operators();
    for alert in alerts {
        let alert = format!("`{alert}`");
        assert!(rows.iter().any(|row| row.contains(&alert)), "{alert} has no row");
    }
}

#[tokio::test]
async fn operators_find_every_reason_why_a_client_is_cut_or_refused() {
    let server = Switchboard::builder().gateway(Gateway::new("/")).build().expect("it is valid");
    let metrics = server.metrics().await;
    let reasons = |metric: &str| -> Vec<String> {
        let start = format!("{metric}{{reason=\"");
        let labels =
            metrics.lines().filter_map(|line| line.strip_prefix(&*start)?.split('"').next());
        labels.map(str::to_owned).collect()
    };
    let rows = rows_for_operators();
    for metric in ["switchboard_connections_cut_total", "switchboard_requests_refused_total"] {
        let reasons = reasons(metric);
        assert!(reasons.len() > 5, "{metric}: {reasons:?}");
        for reason in reasons {
            assert!(rows.contains(&format!("`{reason}`")), "{metric}: {reason} has no row");
        }
    }
}

/// The lines of a piece of code without their indentation.
fn lines(code: &str) -> Vec<&str> {
    code.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[test]
fn what_is_shown_beside_nestjs_is_what_is_compiled() {
    let page = read(&root().join("docs/from-nestjs.md"));
    let example = read(&root().join("examples/nestjs_gateway.rs"));
    let compiled = lines(&example).join("\n");
    let shown = blocks(&page, "rust");
    assert_eq!(shown.len(), blocks(&page, "ts").len(), "each piece stands beside its other");
    assert!(shown.len() >= 6, "{}", shown.len());
    for piece in shown.iter().flat_map(|block| block.split("\n\n")) {
        assert!(compiled.contains(&lines(piece).join("\n")), "not in the example:\n{piece}");
    }
}
