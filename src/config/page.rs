//! Holds `docs/configuration.md` to the code: every key is there, with its default.
//!
//! A new key needs a row in the table of its section. The failing test names the key.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use toml::Value;

use super::{
    Config, ConfigErrors, Loaded, RELOADED, Sources, load,
    schema::{SECRETS, Schema},
};

const PAGE: &str = include_str!("../../docs/configuration.md");

/// A key as the page describes it.
struct Row {
    default: String,
    values: String,
    is_reloaded: bool,
}

/// The rows of all tables, by the full name of their key.
fn rows() -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let mut section = "";
    for line in PAGE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let named = title.strip_prefix("`[").and_then(|title| title.strip_suffix("]`"));
            section = named.unwrap_or_default();
        }
        let cells: Vec<&str> = line.split(" |").map(|cell| cell.trim_matches([' ', '|'])).collect();
        let [key, default, values, reloaded, _meaning, ..] = cells.as_slice() else { continue };
        let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`')) else {
            continue;
        };
        let key = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        let row = Row {
            default: default.trim_matches('`').to_owned(),
            values: (*values).to_owned(),
            is_reloaded: *reloaded == "yes",
        };
        assert!(rows.insert(key.clone(), row).is_none(), "{key} stands on the page twice");
    }
    rows
}

/// Keys that have to be set beside another, or a rule breaks.
const AROUND: &[(&str, &str)] = &[
    ("auth.hs256_secret", "\"a secret of at least thirty-two bytes\""),
    ("store.url", "\"postgres://x\""),
    ("admin_ui.enabled", "true"),
    ("admin_ui.username", "\"ops\""),
    ("admin_ui.password", "\"a long password\""),
];

/// A file with this statement about `key`.
fn file_with(key: &str, statement: &str) -> String {
    let around = AROUND.iter().filter(|(other, _)| *other != key);
    let around: String = around.map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("{around}{statement}\n")
}

/// A configuration with this value for one key. Panics if the key does not take the value.
fn parsed(table: toml::Table) -> Config {
    Config::deserialize(table).unwrap_or_else(|error| panic!("{error}"))
}

fn key_as_written(key: &str, value: &str) -> toml::Table {
    format!("{key} = {value}").parse().unwrap_or_else(|error| panic!("{key}: {error}"))
}

/// Loads this text as a configuration file.
pub(super) fn load_text(text: &str) -> Result<Loaded, ConfigErrors> {
    let name = format!("switchboard-page-{}-{:?}", std::process::id(), std::thread::current().id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, text).expect("a file");
    let loaded = load(&Sources::new().file(&file));
    std::fs::remove_file(&file).expect("the file is there");
    loaded
}

/// The loader's complaint about the text.
fn refusal(text: &str) -> Option<String> {
    load_text(text).err().map(|errors| errors.to_string())
}

#[test]
fn every_key_has_a_row_with_its_default_and_there_are_no_others() {
    let (schema, mut rows) = (Schema::new(), rows());
    for key in schema.keys() {
        let default = schema.default_of(key).expect("it is one of its keys");
        let row = rows.remove(key).unwrap_or_else(|| {
            let name = key.rsplit('.').next().unwrap_or(key);
            panic!(
                "{key} is missing in docs/configuration.md: | `{name}` | `{default}` | … | | … |"
            )
        });
        let written = parsed(key_as_written(key, &row.default));
        assert_eq!(written, Config::default(), "the default of {key} is {default}");
    }
    let left: Vec<_> = rows.into_keys().collect();
    assert_eq!(left, [""; 0], "on the page, and no keys");
}

#[test]
fn what_sighup_changes_is_marked() {
    for (key, row) in rows() {
        assert_eq!(row.is_reloaded, RELOADED.contains(&&*key), "{key}");
    }
}

#[test]
fn values_that_are_listed_are_taken_and_no_others() {
    for (key, Row { default, values, .. }) in rows() {
        let default = key_as_written("default", &default);
        let default = &default["default"];
        let statement = |value: &str| match default {
            Value::Array(_) => format!("{key} = [\"{value}\"]"),
            Value::String(_) => format!("{key} = \"{value}\""),
            _ => format!("{key} = {value}"),
        };
        let refused = |value: &str| {
            let refused = refusal(&file_with(&key, &statement(value)));
            refused.filter(|refused| refused.starts_with(&format!("{key}: ")))
        };
        // The cell is a list of names and nothing else: `a`, `b`.
        let names: Vec<&str> =
            values.split(", ").filter_map(|v| v.strip_prefix('`')?.strip_suffix('`')).collect();
        let is_list = names.iter().all(|name| !name.contains(['[', '`', ':', '"']));
        if is_list && names.len() > 1 && names.len() == values.split(", ").count() {
            for name in names {
                assert_eq!(refused(name), None, "{key}");
            }
            let other = if default.is_bool() { "\"nonsense\"" } else { "nonsense" };
            assert!(refused(other).is_some(), "{key} takes nonsense");
        }
        let zero = match default.as_str() {
            Some(size) if size.ends_with('B') => "0B",
            Some(_) => "0s",
            None => "0",
        };
        if ["more than 0", "1 or more"].contains(&&*values) {
            assert!(refused(zero).is_some(), "{key} takes {zero}");
        }
        if values.contains("0 or more") || values.contains("0: no limit") {
            assert_eq!(refused(zero), None, "{key}");
        }
        if values == "not empty" {
            assert!(refused("").is_some(), "{key} takes the empty text");
        }
    }
}

#[test]
fn every_secret_that_may_stand_in_a_file_is_named() {
    let paragraph =
        PAGE.split("**Secrets in files.**").nth(1).and_then(|rest| rest.split("\n\n").next());
    let paragraph = paragraph.expect("there is such a paragraph");
    for (key, _) in SECRETS {
        assert!(paragraph.contains(&format!("`{key}`")), "{key}");
    }
}
