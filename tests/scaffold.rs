//! `switchboard new` as a process: what it refuses, and what it leaves behind. That a project builds
//! and runs is shown in `tests/clients/new.test.mjs`.
#![cfg(feature = "cli")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// An empty folder for one test.
fn empty(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scaffold-{name}"));
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the directory for test files is writable");
    folder
}

fn new(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .arg("new")
        .args(args)
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("the binary runs")
}

/// What there is in a folder, names that begin with a dot included.
fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn message(output: &Output) -> &str {
    assert_eq!(output.stdout, b"");
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// The files of a project by their paths.
fn files(project: &Path) -> BTreeMap<PathBuf, String> {
    let (mut folders, mut files) = (vec![project.to_owned()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a text");
            files.insert(path.strip_prefix(project).expect("its own").to_owned(), text);
        }
    }
    files
}

#[test]
fn a_project_has_its_name_everywhere() {
    let folder = empty("name");
    let made = new(&folder, &["two-words"]);
    assert_eq!(made.status.code(), Some(0));
    assert!(message(&made).contains("cd two-words"), "{}", message(&made));
    assert_eq!(entries(&folder), BTreeSet::from(["two-words".into()]));
    let files = files(&folder.join("two-words"));
    for (path, text) in &files {
        assert!(!text.contains("my-service") && !text.contains("my_service"), "{path:?}");
        assert!(!text.contains("0.0.0\""), "{path:?}");
    }
    assert_eq!(files.len(), 15);
    let main = &files[Path::new("src/main.rs")];
    assert!(main.contains("use two_words::"), "{main}");
}

#[test]
fn a_name_that_holds_the_one_of_the_template_is_written_once() {
    let folder = empty("twice");
    let [plain, named] = ["two-words", "my_service-2"].map(|name| {
        assert_eq!(new(&folder, &[name]).status.code(), Some(0), "{name}");
        files(&folder.join(name))
    });
    for (path, text) in &plain {
        let expected =
            text.replace("two-words", "my_service-2").replace("two_words", "my_service_2");
        assert_eq!(named[path], expected, "{path:?}");
    }
}

#[test]
fn an_empty_folder_is_filled_and_another_one_is_not_touched() {
    let folder = empty("full");
    fs::create_dir(folder.join("empty")).expect("a folder");
    assert_eq!(new(&folder, &["empty"]).status.code(), Some(0));
    assert!(folder.join("empty/src/main.rs").exists());

    fs::create_dir(folder.join("full")).expect("a folder");
    fs::write(folder.join("full/.notes"), "mine").expect("a file");
    fs::write(folder.join("file"), "mine").expect("a file");
    symlink("nowhere", folder.join("dangling")).expect("a link");
    for name in ["full", "file", "dangling"] {
        let refused = new(&folder, &[name]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert_eq!(message(&refused), format!("error: `{name}` is there already, and not empty\n"));
    }
    assert_eq!(entries(&folder.join("full")), BTreeSet::from([".notes".into()]));
    assert_eq!(fs::read_to_string(folder.join("file")).expect("a file"), "mine");
    assert_eq!(entries(&folder).len(), 4);
}

#[test]
fn what_is_no_name_is_refused_with_code_2() {
    let folder = empty("names");
    for name in ["", "../up", "2fast", "with space", "grüße", "Chat", "fn", "switchboard", "-x"] {
        let refused = new(&folder, &["--", name]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        let named = format!("error: `{name}` is ");
        assert!(message(&refused).starts_with(&named), "{}", message(&refused));
    }
    assert_eq!(new(&folder, &[]).status.code(), Some(2));
    assert_eq!(new(&folder, &["a", "b"]).status.code(), Some(2));
    assert_eq!(entries(&folder), BTreeSet::new());
}

#[test]
fn the_library_is_taken_from_where_one_says() {
    let folder = empty("source");
    let manifest = |name: &str| fs::read_to_string(folder.join(name).join("Cargo.toml"));
    let url = "https://git.example/a\"b";
    assert_eq!(new(&folder, &["remote", "--git", url]).status.code(), Some(0));
    let remote: toml::Table = manifest("remote").expect("a file").parse().expect("a manifest");
    for section in ["dependencies", "dev-dependencies"] {
        assert_eq!(remote[section]["switchboard"]["git"].as_str(), Some(url));
    }
    let own = env!("CARGO_MANIFEST_DIR");
    symlink(own, folder.join("checkout")).expect("a link");
    assert_eq!(new(&folder, &["local", "--path", "checkout"]).status.code(), Some(0));
    let local: toml::Table = manifest("local").expect("a file").parse().expect("a manifest");
    // From the folder of the project, which is another one, the relative path would lead elsewhere.
    assert_eq!(local["dependencies"]["switchboard"]["path"].as_str(), Some(own));

    let refused = new(&folder, &["wrong", "--path", "local"]);
    assert_eq!(refused.status.code(), Some(2));
    let expected = "error: --path local: it is no checkout of switchboard\n";
    assert_eq!(message(&refused), expected);
    assert_eq!(new(&folder, &["both", "--path", own, "--git", url]).status.code(), Some(2));
    assert_eq!(entries(&folder).len(), 3);
}

#[test]
fn a_failure_leaves_nothing_half_written() {
    let folder = empty("failure");
    fs::create_dir(folder.join("elsewhere")).expect("a folder");
    // A folder can take the place of an empty one, and not that of a link to one.
    symlink("elsewhere", folder.join("link")).expect("a link");
    let failed = new(&folder, &["link"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(message(&failed).starts_with("error: cannot write `link`: "), "{}", message(&failed));
    assert_eq!(entries(&folder), BTreeSet::from(["elsewhere".into(), "link".into()]));
    assert_eq!(entries(&folder.join("elsewhere")), BTreeSet::new());
}
