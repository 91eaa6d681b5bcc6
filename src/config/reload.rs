//! The changes that a running server may take when its configuration is loaded again.
//!
//! A file is often replaced in two steps, and a signal may come between them. Half a file must not
//! open a server: a protection ends only by a file that says so.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use toml::Value;

use super::{
    Config, Loaded, Sources,
    given::{Given, nested},
    load,
    problem::{ConfigErrors, Problem},
    schema::{RELOADED, Schema, is_secret},
};

/// The configuration of a running server: as it was at the start, and as it is now.
///
/// ```
/// use switchboard::config::{self, Running, Sources};
///
/// let sources = Sources::new();
/// let mut running = Running::new(config::load(&sources)?);
/// // Later, on a signal:
/// let loaded = running.load_again(&sources)?;
/// assert!(running.needs_restart(&loaded).is_empty());
/// running.take(loaded);
/// # Ok::<(), switchboard::config::ConfigErrors>(())
/// ```
#[derive(Debug)]
pub struct Running {
    started: Loaded,
    current: Loaded,
}

impl Running {
    /// The server starts with this.
    pub fn new(loaded: Loaded) -> Self {
        Self { started: loaded.clone(), current: loaded }
    }

    /// Loads the configuration again. It comes into use with [`take`](Self::take).
    ///
    /// # Errors
    /// Every problem, and every protection of the server (keys, the mode, limits) that the new
    /// configuration would silently take away.
    pub fn load_again(&self, sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let loaded = load(sources)?;
        let mut problems = self.cut_file(&loaded);
        if problems.is_empty() {
            problems = self.vanished(&loaded);
            problems.extend(self.cut_secrets(&loaded));
        }
        match problems.is_empty() {
            true => Ok(loaded),
            false => Err(ConfigErrors(problems)),
        }
    }

    /// Keys that changed since the start, and whose values are read at a start only.
    pub fn needs_restart(&self, loaded: &Loaded) -> Vec<String> {
        let at_the_start = |key: &&str| !RELOADED.contains(key);
        let changed = |key: &&str| differs(&self.started.given, &loaded.given, key);
        let schema = Schema::new();
        let mut keys: Vec<String> =
            schema.keys().filter(at_the_start).filter(changed).map(str::to_owned).collect();
        // Configured secrets are gone, but they sign the session ids of the connected clients.
        if loaded.config.edge.secrets.is_empty() && !self.started.config.edge.secrets.is_empty() {
            keys.push("edge.secrets".into());
        }
        keys
    }

    /// From now on this is the configuration.
    pub fn take(&mut self, loaded: Loaded) {
        self.current = loaded;
    }

    fn cut_file(&self, loaded: &Loaded) -> Vec<Problem> {
        let (Some(before), Some(now)) = (&self.current.file, &loaded.file) else {
            return Vec::new();
        };
        let message = if now.is_empty && !before.is_empty {
            "is empty"
        } else if !now.ends_a_line && before.ends_a_line {
            "ends in the middle of a line, as if it were cut"
        } else {
            return Vec::new();
        };
        vec![Problem::general(now.origin.clone(), message)]
    }

    fn vanished(&self, loaded: &Loaded) -> Vec<Problem> {
        let protects = |key: &&&str| !key.starts_with("log.");
        let mut problems = Vec::new();
        for key in RELOADED.iter().filter(protects) {
            let is_missing = !loaded.given.contains(key) && self.current.given.contains(key);
            if is_missing && differs(&self.current.given, &loaded.given, key) {
                const MESSAGE: &str = "is set for the running server and missing now; to take it away, write it down \
                     with its empty value or its default";
                problems.push(Problem::new(None, key, MESSAGE));
            }
        }
        problems
    }

    /// A file with a secret may be cut off, too. The rest would be a secret that can be guessed.
    fn cut_secrets(&self, loaded: &Loaded) -> Vec<Problem> {
        let mut problems = Vec::new();
        for key in RELOADED.iter().filter(|key| is_secret(key)) {
            let known: BTreeSet<&str> = self.current.given.texts(key).collect();
            let is_cut = |new: &str| {
                known.iter().any(|old| old.len() > new.len() && old.starts_with(new))
                    && !known.contains(new)
            };
            if loaded.given.texts(key).any(is_cut) {
                let message = "has a secret that is only the beginning of the one in use";
                problems.push(Problem::new(loaded.given.origin(key), key, message));
            }
        }
        problems
    }
}

/// Whether a key has another value, however both are written.
fn differs(before: &Given, now: &Given, key: &str) -> bool {
    let alone = |value: Option<&Value>| match value {
        Some(value) => Config::deserialize(nested([(key, value.clone())])).unwrap_or_default(),
        None => Config::default(),
    };
    alone(before.value(key)) != alone(now.value(key))
}
