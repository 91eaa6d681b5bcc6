//! Holds the sample `switchboard.toml` to the code: it loads, and every key is in it with its
//! default, switched off.
//!
//! A new key needs two lines in its section: a sentence, and `#key = default`. The failing test
//! names the key.

use toml::{Table, Value};

use super::{Config, Sources, load, page::load_text, schema::Schema};

const SAMPLE: &str = include_str!("../../switchboard.toml");

/// The statement that a line switches off: `#key = value`. A sentence has a blank after its `#`.
fn statement(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// The sample with every key switched on.
fn switched_on() -> String {
    SAMPLE.lines().map(|line| format!("{}\n", statement(line).unwrap_or(line))).collect()
}

#[test]
fn as_it_is_it_changes_nothing() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("switchboard.toml");
    let loaded = load(&Sources::new().file(file)).expect("it loads");
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let sample: Table = SAMPLE.parse().expect("it is TOML");
    for (section, keys) in sample {
        assert_eq!(keys, Value::Table(Table::new()), "{section} has a key that is switched on");
    }
}

#[test]
fn with_every_key_switched_on_it_holds_the_defaults() {
    let loaded = load_text(&switched_on()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn every_key_is_in_it() {
    let sample: Table = switched_on().parse().expect("it is TOML");
    for key in Schema::new().keys() {
        let written = match key.split_once('.') {
            Some((section, name)) => sample.get(section).and_then(|section| section.get(name)),
            None => sample.get(key).filter(|value| !matches!(value, Value::Table(_))),
        };
        assert!(written.is_some(), "{key} is missing in switchboard.toml");
    }
}

#[test]
fn every_key_has_a_sentence_above_it() {
    let lines: Vec<&str> = SAMPLE.lines().collect();
    for pair in lines.windows(2).filter(|pair| statement(pair[1]).is_some()) {
        let [sentence, key] = pair else { continue };
        assert!(sentence.starts_with("# ") && sentence.ends_with('.'), "{key}: {sentence}");
    }
}
