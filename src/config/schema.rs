//! The keys as the loader knows them: which exist, what their variables are called, which hold
//! secrets.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::{Table, Value};

use super::{
    Config,
    problem::{Origin, Problem},
};

/// The keys that a running server takes from a reloaded configuration. All others need a restart.
///
/// ```
/// use switchboard::config::RELOADED;
///
/// assert!(RELOADED.contains(&"limits.events_per_second"));
/// assert!(!RELOADED.contains(&"listen"));
/// ```
pub const RELOADED: &[&str] = &[
    "log.level",
    "auth.mode",
    "auth.hs256_secret",
    "auth.public_key_file",
    "auth.jwks_url",
    "auth.audience",
    "auth.issuer",
    "auth.leeway",
    "auth.user_claim",
    "limits.max_connections",
    "limits.connections_per_second",
    "limits.connections_per_address",
    "limits.events_per_second",
    "limits.max_rooms_per_socket",
    "limits.max_namespaces",
    "limits.max_event_name",
    "limits.max_buffered_bytes",
    "edge.secrets",
    "admin.api_keys",
];

/// Former names of keys, which are still understood.
const FORMER: [(&str, &str); 1] = [("engine.legacy_polling", "engine.legacy")];

/// The key that a former name stands for.
pub(super) fn renamed(key: &str) -> Option<&'static str> {
    FORMER.iter().find(|(former, _)| *former == key).map(|(_, key)| *key)
}

/// Keys that hold secrets. A secret may stand in a file of its own, named by `<key>_file`, one a
/// line where the key takes several.
pub(super) const SECRETS: &[(&str, Amount)] = &[
    ("auth.hs256_secret", Amount::Several),
    ("edge.secrets", Amount::Several),
    ("admin.api_keys", Amount::Several),
    ("admin_ui.password", Amount::One),
    ("redis.url", Amount::One),
    ("store.url", Amount::One),
    ("outbox.listen_url", Amount::One),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    One,
    Several,
}

/// Whether a key holds one or more secrets.
pub(super) fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|(secret, _)| *secret == key)
}

/// Whether text for this key is a list, even though its default is not written as one.
pub(super) fn is_list(key: &str) -> bool {
    SECRETS.contains(&(key, Amount::Several))
}

/// The secret that a `<key>_file` stands for.
pub(super) fn secret_named_by(key: &str) -> Option<(&'static str, Amount)> {
    let secret = key.strip_suffix("_file")?;
    SECRETS.iter().find(|(known, _)| *known == secret).copied()
}

/// How the names of environment variables start that are settings.
pub(super) const PREFIX: &str = "SWITCHBOARD_";

/// The name of a key's variable: `engine.ping_interval` is `SWITCHBOARD_ENGINE__PING_INTERVAL`.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The existing keys, read off the defaults.
pub(super) struct Schema {
    defaults: BTreeMap<String, Value>,
}

impl Schema {
    pub(super) fn new() -> Self {
        Self::of(&Config::default())
    }

    pub(super) fn of(defaults: &impl Serialize) -> Self {
        // See `Config::to_masked_toml`: a configuration is always valid TOML.
        let defaults = Table::try_from(defaults).expect("the defaults are valid TOML");
        let mut leaves = BTreeMap::new();
        for (key, value) in defaults {
            match value {
                Value::Table(section) => leaves.extend(
                    section.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)),
                ),
                value => _ = leaves.insert(key, value),
            }
        }
        Self { defaults: leaves }
    }

    pub(super) fn knows(&self, key: &str) -> bool {
        self.defaults.contains_key(key) || secret_named_by(key).is_some() || renamed(key).is_some()
    }

    pub(super) fn is_section(&self, key: &str) -> bool {
        let in_section = |known: &String| known.split_once('.').is_some_and(|(s, _)| s == key);
        self.defaults.keys().any(in_section)
    }

    /// Every key, in the order of its name.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.defaults.keys().map(String::as_str)
    }

    pub(super) fn default_of(&self, key: &str) -> Option<&Value> {
        self.defaults.get(key)
    }

    /// The refusal of a key. It names the most similar known key. Similar is the whole name, or its last part (a key in the wrong section).
    pub(super) fn unknown(&self, origin: Origin, key: &str) -> Problem {
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        let likeness = |known: &str| {
            let whole = strsim::normalized_damerau_levenshtein(key, known);
            let part = strsim::normalized_damerau_levenshtein(&last(key), &last(known));
            whole.max(part * 0.95)
        };
        let files = SECRETS.iter().map(|(secret, _)| format!("{secret}_file"));
        let sections =
            self.defaults.keys().filter_map(|key| Some(key.split_once('.')?.0.to_owned()));
        let nearest = self
            .defaults
            .keys()
            .cloned()
            .chain(files)
            .chain(sections.filter(|_| !matches!(origin, Origin::Env(_))))
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .unwrap_or_default();
        let nearest = match origin {
            Origin::Env(_) => variable_of(&nearest),
            _ => nearest,
        };
        Problem::new(origin, key, format!("unknown key; the nearest known one is {nearest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(key: &str) -> String {
        Schema::new().unknown(Origin::Flag("--test"), key).to_string()
    }

    #[test]
    fn the_nearest_key_is_named() {
        for (key, known) in [
            ("engine.ping_intervall", "engine.ping_interval"),
            ("ping_timeout", "engine.ping_timeout"),
            ("auth.hs256_secret_fil", "auth.hs256_secret_file"),
            ("lissen", "listen"),
            ("eninge", "engine"),
        ] {
            assert!(
                nearest(key).ends_with(&format!("one is {known} (--test)")),
                "{}",
                nearest(key)
            );
        }
    }
}
