//! `switchboard new`: a project to begin with, that builds and runs.
//!
//! Its files are those of `scaffold/`, a project called `my-service`, with the name replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Answer, args::NewArgs};

/// The files of the project, and what they are called there.
const FILES: [(&str, &str); 15] = [
    ("Cargo.toml", include_str!("../scaffold/manifest.toml")),
    (".gitignore", include_str!("../scaffold/gitignore")),
    (".dockerignore", include_str!("../scaffold/dockerignore")),
    ("Dockerfile", include_str!("../scaffold/Dockerfile")),
    ("docker-compose.yml", include_str!("../scaffold/docker-compose.yml")),
    ("Makefile", include_str!("../scaffold/Makefile")),
    ("README.md", include_str!("../scaffold/README.md")),
    ("switchboard.toml", include_str!("../scaffold/switchboard.toml")),
    ("src/main.rs", include_str!("../scaffold/src/main.rs")),
    ("src/lib.rs", include_str!("../scaffold/src/lib.rs")),
    ("src/gateway.rs", include_str!("../scaffold/src/gateway.rs")),
    ("src/slow.rs", include_str!("../scaffold/src/slow.rs")),
    ("src/tasks.rs", include_str!("../scaffold/src/tasks.rs")),
    ("src/team.rs", include_str!("../scaffold/src/team.rs")),
    ("tests/tasks.rs", include_str!("../scaffold/tests/tasks.rs")),
];

/// The name in the files, as cargo and as Rust write it.
const NAME: (&str, &str) = ("my-service", "my_service");

/// Where the library comes from, in the manifest among them.
const SOURCE: &str = r#"version = "0.0.0""#;

/// The longest name. Some file systems and registries take no longer ones.
const LONGEST: usize = 64;

/// Names that cargo or Rust keeps, or that the project's own dependencies have.
const TAKEN: [&str; 66] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "serde-json",
    "static",
    "std",
    "struct",
    "super",
    "switchboard",
    "test",
    "tokio",
    "tracing",
    "tracing-subscriber",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// The library's own sources, if this binary was built where they still are.
const OWN: &str = env!("CARGO_MANIFEST_DIR");

pub(super) fn run(args: &NewArgs) -> Result<Answer, Answer> {
    let NewArgs { name, path, git } = args;
    check(name).map_err(|why| Answer::refusal(format!("`{name}` {why}")))?;
    let source = source(path.as_deref(), git.as_deref()).map_err(Answer::refusal)?;
    let folder = Path::new(name);
    if !is_free(folder).map_err(|error| failure(folder, &error))? {
        return Err(Answer::refusal(format!("`{name}` is there already, and not empty")));
    }
    write(folder, name, &source).map_err(|error| failure(folder, &error))?;
    let messages = format!(
        "created `{name}`, which takes switchboard from {source}\n\
         next: cd {name} && make test && make run\n"
    );
    Ok(Answer { messages, ..Answer::default() })
}

fn failure(folder: &Path, error: &io::Error) -> Answer {
    Answer::failure(format!("cannot write `{}`: {error}", folder.display()))
}

/// Whether this can be the name of a package, of its library, of its binary and of its folder.
fn check(name: &str) -> Result<(), String> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !begins || !name.chars().all(is_part) {
        return Err(
            "is no name for a package: letters of ASCII, digits, `-` and `_`, and a letter first"
                .into(),
        );
    }
    if name.len() > LONGEST {
        return Err(format!("is too long for a package: up to {LONGEST} letters"));
    }
    let lower = name.to_ascii_lowercase();
    if name != lower {
        return Err(format!(
            "is no name for a package, which is written in small letters: `{lower}`"
        ));
    }
    if TAKEN.contains(&&*lower.replace('_', "-")) {
        return Err("is a name that Rust, cargo or a dependency of the project has already".into());
    }
    Ok(())
}

/// Where a project may take the library from.
struct Source {
    key: &'static str,
    place: String,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.place)
    }
}

fn source(path: Option<&Path>, git: Option<&str>) -> Result<Source, String> {
    if let Some(url) = git {
        return Ok(Source { key: "git", place: url.to_owned() });
    }
    if let Some(path) = path {
        let place = checkout(path).map_err(|why| format!("--path {}: {why}", path.display()))?;
        return Ok(Source { key: "path", place });
    }
    let place = checkout(Path::new(OWN)).map_err(
        |_| "the crate is not on crates.io yet: say where it is by --path CHECKOUT or --git URL",
    )?;
    Ok(Source { key: "path", place })
}

/// The full path of a folder with the library's sources.
fn checkout(folder: &Path) -> Result<String, String> {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"));
    let manifest = manifest.map_err(|error| format!("its Cargo.toml cannot be read: {error}"))?;
    let manifest: toml::Table =
        manifest.parse().map_err(|_| "its Cargo.toml cannot be understood")?;
    let package = manifest.get("package").and_then(|package| package.get("name"));
    if package.and_then(toml::Value::as_str) != Some(env!("CARGO_PKG_NAME")) {
        return Err("it is no checkout of switchboard".into());
    }
    let folder = folder.canonicalize().map_err(|error| error.to_string())?;
    folder.into_os_string().into_string().map_err(|_| "its path is not UTF-8".into())
}

/// Whether there is nothing, or an empty folder.
fn is_free(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(fs::symlink_metadata(folder).is_err())
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the project beside its place, and moves it there when it is whole.
fn write(folder: &Path, name: &str, source: &Source) -> io::Result<()> {
    let beside = PathBuf::from(format!(".{name}.new-{}", std::process::id()));
    fs::create_dir(&beside)?;
    let written = write_files(&beside, name, source).and_then(|()| fs::rename(&beside, folder));
    if written.is_err() {
        // The first failure is the one to tell.
        _ = fs::remove_dir_all(&beside);
    }
    written
}

fn write_files(folder: &Path, name: &str, source: &Source) -> io::Result<()> {
    let place = toml::Value::String(source.place.clone());
    let source = format!("{} = {place}", source.key);
    for (file, text) in FILES {
        let text = named(text, name);
        let file = folder.join(file);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(file, text.replace(SOURCE, &source))?;
    }
    Ok(())
}

/// A file under another name. Rust's form comes first: it has no `-`, so that nothing of it is
/// replaced again, whatever the name is.
fn named(text: &str, name: &str) -> String {
    text.replace(NAME.1, &name.replace('-', "_")).replace(NAME.0, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_cargo_takes() {
        for name in ["chat", "my-service", "my_service2", "a", &"x".repeat(64)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let unfit =
            ["", "2fast", "-x", "_x", "a b", "a/b", "../x", "grüße", "a.b", "--path", "x\n"];
        for name in unfit {
            assert!(check(name).unwrap_err().starts_with("is no name for a package: "), "{name}");
        }
        assert!(check("Chat").unwrap_err().ends_with("`chat`"));
        assert!(check(&"x".repeat(65)).unwrap_err().contains("too long"));
        for name in ["test", "fn", "std", "switchboard", "serde_json", "tokio", "proc_macro"] {
            assert!(check(name).unwrap_err().contains("already"), "{name}");
        }
    }

    #[test]
    fn a_name_may_hold_the_name_that_it_replaces() {
        for (name, package, library) in [
            ("zoo", "zoo", "zoo"),
            ("two-words", "two-words", "two_words"),
            ("my_service2", "my_service2", "my_service2"),
            ("my-service2", "my-service2", "my_service2"),
            ("not-my_service", "not-my_service", "not_my_service"),
            ("my_service-my-service", "my_service-my-service", "my_service_my_service"),
        ] {
            let written = named("name = \"my-service\"\nuse my_service::gateway;\n", name);
            assert_eq!(written, format!("name = \"{package}\"\nuse {library}::gateway;\n"));
        }
    }

    #[test]
    fn every_dependency_of_the_project_has_its_name_already() {
        let manifest: toml::Table = FILES[0].1.parse().expect("a manifest");
        for section in ["dependencies", "dev-dependencies"] {
            for name in manifest[section].as_table().expect("a table").keys() {
                assert!(check(name).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn the_library_comes_from_a_checkout_or_a_repository() {
        let own = source(Some(Path::new(OWN)), None).expect("the checkout of these tests");
        assert_eq!((own.key, &*own.place), ("path", OWN));
        let git = source(None, Some("https://git.example/it")).expect("any address");
        assert_eq!((git.key, &*git.place), ("git", "https://git.example/it"));
        let wrong =
            |path: &str| source(Some(Path::new(path)), None).map(|it| it.place).unwrap_err();
        assert!(wrong("/nowhere").contains("--path /nowhere: its Cargo.toml cannot be read"));
        let kit = format!("{OWN}/tests/kit");
        assert!(wrong(&kit).contains("no checkout of switchboard"));
    }
}
