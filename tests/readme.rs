//! What the README shows is what is there.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The contents of the code blocks of this language.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let blocks = markdown.split(&start).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

#[test]
fn the_configuration_is_one_that_the_server_takes() {
    let blocks = blocks(&read("README.md"), "toml");
    let [toml] = blocks.as_slice() else { panic!("one configuration, not {}", blocks.len()) };
    let file = std::env::temp_dir().join(format!("switchboard-readme-{}.toml", std::process::id()));
    let toml = toml.replace('…', "a secret of at least thirty-two bytes");
    std::fs::write(&file, toml).expect("a file");
    // What it holds is a secret.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let shown = Command::new(env!("CARGO_BIN_EXE_switchboard"))
        .args(["config", "--config"])
        .arg(&file)
        .env_clear()
        .output()
        .expect("the binary runs");
    std::fs::remove_file(&file).expect("the file is there");
    let said = String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success() && said.is_empty(), "{said}");
}

#[test]
fn every_make_target_that_it_names_is_there() {
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    let named = readme.split("make ").skip(1);
    let named: Vec<_> = named
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default())
        .filter(|target| !target.is_empty())
        .collect();
    assert!(named.contains(&"run") && named.contains(&"test"), "{named:?}");
    for target in named {
        assert!(makefile.contains(&format!("\n{target}: ")), "make {target}");
    }
}

/// The same statements, whatever the line breaks and comments.
fn statements(code: &str) -> Vec<String> {
    let code: String = code.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let code: String = code.chars().filter(|c| !c.is_whitespace() && *c != ',').collect();
    code.split(';').map(str::to_owned).collect()
}

#[test]
fn the_library_example_is_the_one_that_is_compiled() {
    let blocks = blocks(&read("README.md"), "rust");
    let [shown] = blocks.as_slice() else { panic!("one example, not {}", blocks.len()) };
    let compiled = statements(&read("examples/notes.rs"));
    for statement in statements(shown) {
        let known = compiled.iter().any(|own| own.contains(&statement))
            || statement.contains(".serve(") // on one line there, on three here
            || statement.starts_with("usestd");
        assert!(known, "not in examples/notes.rs: {statement}");
    }
}
