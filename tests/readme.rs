//! What the README shows is what is there, and the commands of all pages are understood.

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

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

/// Lines of a shell that call the server, as the pages show them.
fn commands(markdown: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for block in blocks(markdown, "sh") {
        let lines = block.lines().map(|line| line.split("  #").next().unwrap_or_default().trim());
        let own = lines.map(|line| line.strip_prefix("target/release/").unwrap_or(line));
        let called = own.filter(|line| *line == "switchboard" || line.starts_with("switchboard "));
        commands.extend(called.map(str::to_owned));
    }
    commands
}

/// Each is read by the binary itself, which is asked for help at the end of the line: what it does not know
/// it refuses before that.
#[test]
fn the_commands_that_pages_show_are_understood() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme-commands");
    _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    symlink(env!("CARGO_BIN_EXE_switchboard"), folder.join("switchboard")).expect("a link");
    let run = |command: &str| {
        let asked = ["-c", &format!("{command} --help")];
        let shown = Command::new("/bin/sh").args(asked).env_clear().env("PATH", &folder).output();
        let shown = shown.expect("a shell");
        let said = String::from_utf8_lossy(&shown.stderr).into_owned();
        (shown.status.success() && !shown.stdout.is_empty()).then_some(()).ok_or(said)
    };
    let mut seen = 0;
    for page in ["README.md", "docs/operations.md", "docs/built-in-gateway.md", "docs/admin-ui.md"]
    {
        let commands = commands(&read(page));
        assert!(!commands.is_empty(), "{page} shows no command");
        for command in commands {
            assert_eq!(run(&command), Ok(()), "{page}: {command}");
            seen += 1;
        }
    }
    assert!(seen > 6, "{seen} commands");
    assert!(run("switchboard emit --no-such-flag").is_err(), "help does not hide a mistake");
    assert!(run("switchboard no-such-command").is_err(), "help does not hide a mistake");
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
