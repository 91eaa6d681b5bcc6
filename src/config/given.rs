//! The settings as they were read: which keys were given, their values, and where they stood.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use toml::{Table, Value};

use super::{
    SecretUrl,
    problem::{Origin, Problem},
    redis_url::key_file,
    schema::is_secret,
};

/// One key's value from one source.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// What is wrong inside of a table, or of a list of tables, at its own line.
    pub(super) fault: Option<Problem>,
}

impl Setting {
    pub(super) fn new(key: impl Into<String>, value: Value, origin: Origin) -> Self {
        Self { key: key.into(), value, origin, fault: None }
    }
}

/// The settings that won over those of weaker sources.
#[derive(Clone, Default)]
pub(super) struct Given(BTreeMap<String, Setting>);

impl Given {
    pub(super) fn insert(&mut self, setting: Setting) {
        self.0.insert(setting.key.clone(), setting);
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).map(|setting| &setting.value)
    }

    pub(super) fn origin(&self, key: &str) -> Option<Origin> {
        self.0.get(key).map(|setting| setting.origin.clone())
    }

    /// All of them as one table of tables.
    pub(super) fn table(&self) -> Table {
        nested(self.0.values().map(|setting| (setting.key.as_str(), setting.value.clone())))
    }

    /// The non-empty texts of a key, one or several.
    pub(super) fn texts(&self, key: &str) -> impl Iterator<Item = &str> {
        texts(self.value(key))
    }

    /// A problem with a key, at the place where its value was read.
    pub(super) fn place(&self, key: &str, message: impl Into<String>) -> Problem {
        Problem::new(self.origin(key), key, message)
    }
}

/// Values may be secrets, so only names are shown.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The shape of a file, beside its settings.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) origin: Origin,
    /// The file holds nothing but blanks.
    pub(super) is_empty: bool,
    /// The file ends with a whole line.
    pub(super) ends_a_line: bool,
}

/// Files that hold secrets, each with a key that stands there.
#[derive(Default)]
pub(super) struct SecretFiles(BTreeMap<PathBuf, String>);

impl SecretFiles {
    /// Notes the file that a setting names for secrets, or the file where it stands as a secret.
    pub(super) fn note(&mut self, setting: &Setting) {
        let Setting { key, value, origin, .. } = setting;
        let is_key = matches!(key.as_str(), "tls.key_file" | "redis.key_file");
        if key == "redis.url" {
            let files = texts(Some(value)).filter_map(|url| key_file(&SecretUrl::new(url)));
            self.0.extend(files.map(|path| (path, key.clone())));
        }
        if is_key || key.strip_suffix("_file").is_some_and(is_secret) {
            let path = value.as_str().filter(|path| !path.is_empty());
            self.0.extend(path.map(|path| (PathBuf::from(path), key.clone())));
        } else if let Origin::File { path, .. } = origin {
            let is_url = matches!(key.as_str(), "redis.url" | "auth.jwks_url" | "traces.endpoint");
            let mut texts = texts(Some(value));
            let is_in_it = match is_url {
                true => texts.any(|url| SecretUrl::new(url).has_secret()),
                false => is_secret(key) && texts.next().is_some(),
            };
            if is_in_it {
                self.0.insert(path.clone(), key.clone());
            }
        }
    }

    /// The files that everybody on this machine can read.
    pub(super) fn open_to_everybody(&self) -> impl Iterator<Item = Problem> {
        self.0.iter().filter(|(path, _)| everybody_can_read(path)).map(|(path, key)| {
            let path = path.display();
            let message =
                format!("stands in `{path}`, which everybody on this machine can read (chmod o-r)");
            Problem::new(None, key, message)
        })
    }
}

#[cfg(unix)]
fn everybody_can_read(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn everybody_can_read(_: &std::path::Path) -> bool {
    false
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    value.into_iter().chain(list).filter_map(Value::as_str).filter(|text| !text.is_empty())
}

/// Dotted keys as a table of tables.
pub(super) fn nested<'a>(settings: impl IntoIterator<Item = (&'a str, Value)>) -> Table {
    let mut table = Table::new();
    for (key, value) in settings {
        match key.split_once('.') {
            None => _ = table.insert(key.to_owned(), value),
            Some((section, name)) => {
                let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(section) = section {
                    section.insert(name.to_owned(), value);
                }
            }
        }
    }
    table
}
