//! Tables, and lists of tables, as the value of a key: what is wrong inside has its own key and line.
//! In a file a list is written as `[[section.key]]`, once for each table.

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

/// Something that cannot be read inside of a key's value.
pub(super) struct Wrong {
    /// The key, as far as it is known: `rooms.history[1].count` is that of the second table.
    pub(super) key: String,
    /// Where it begins in the file.
    pub(super) at: usize,
    pub(super) message: String,
}

/// What is wrong inside of the value of `key`; nothing if it is no table, and no list of tables. `Whole`
/// is the type of the whole configuration.
pub(super) fn wrong_inside<Whole: DeserializeOwned>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
) -> Option<Wrong> {
    let has_tables = match value.get_ref() {
        DeValue::Table(_) => true,
        DeValue::Array(list) => list.iter().any(|entry| entry.get_ref().is_table()),
        _ => false,
    };
    if !has_tables {
        return None;
    }
    // Read alone, as a file that has nothing but this key.
    let alone = match key.split_once('.') {
        None => table(key, value.clone()),
        Some((section, name)) => {
            let section_table = DeValue::Table(table(name, value.clone()));
            table(section, Spanned::new(value.span(), section_table))
        }
    };
    let error = Whole::deserialize(Deserializer::from(Spanned::new(value.span(), alone))).err()?;
    let at = error.span().map_or(value.span().start, |span| span.start);
    let key = key_at(key, value, at).unwrap_or_else(|| key.to_owned());
    Some(Wrong { key, at, message: error.message().to_owned() })
}

fn table<'a>(name: &str, value: Spanned<DeValue<'a>>) -> DeTable<'a> {
    let mut table = DeTable::new();
    table.insert(Spanned::new(value.span(), name.to_owned().into()), value);
    table
}

/// The innermost key at a place of the file.
fn key_at(key: &str, value: &Spanned<DeValue<'_>>, at: usize) -> Option<String> {
    let inside = match value.get_ref() {
        DeValue::Table(table) => table.iter().find_map(|(name, value)| {
            let key = format!("{key}.{}", name.get_ref());
            key_at(&key, value, at).or_else(|| name.span().contains(&at).then_some(key))
        }),
        DeValue::Array(list) => list
            .iter()
            .enumerate()
            .find_map(|(number, entry)| key_at(&format!("{key}[{number}]"), entry, at)),
        _ => None,
    };
    inside.or_else(|| value.span().contains(&at).then(|| key.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::{Deserialize, Serialize};
    use toml::Value;

    use crate::{
        config::{Config, file, schema::Schema, units},
        names::rooms::RoomPattern,
    };

    /// A configuration with lists of tables: in a section, and at the top.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Whole {
        listen: String,
        rules: Vec<Rule>,
        rooms: Rooms,
    }

    #[derive(Default, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Rooms {
        may_join: Vec<String>,
        history: Vec<History>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct History {
        rooms: RoomPattern,
        count: u32,
        #[serde(with = "units::duration")]
        ttl: std::time::Duration,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        event: String,
    }

    const GOOD: &str = "[[rooms.history]]\nrooms = 'a'\ncount = 1\nttl = '1h'\n";

    /// What is read of a text, and what is wrong with it.
    fn read(text: &str) -> (Vec<(String, Value)>, Vec<String>) {
        let (schema, mut problems) = (Schema::of(&Whole::default()), Vec::new());
        let settings = file::parse::<Whole>(text, Path::new("a.toml"), &schema, &mut problems);
        let faults = settings.iter().filter_map(|setting| setting.fault.clone());
        let problems = problems.iter().cloned().chain(faults).map(|p| p.to_string()).collect();
        (settings.into_iter().map(|setting| (setting.key, setting.value)).collect(), problems)
    }

    #[test]
    fn a_list_of_tables_is_one_setting() {
        let text = format!("[[rules]]\nevent = 'x'\n{GOOD}{GOOD}");
        let (settings, problems) = read(&text);
        assert_eq!(problems, [""; 0]);
        let lengths: Vec<_> = settings
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_array().map_or(0, Vec::len)))
            .collect();
        assert_eq!(lengths, [("rooms.history", 2), ("rules", 1)]);
    }

    #[test]
    fn what_is_wrong_in_one_of_the_tables_is_named_with_its_line() {
        let wrong = |text: &str| {
            let (_, problems) = read(text);
            assert_eq!(problems.len(), 1, "{problems:?}");
            problems[0].clone()
        };
        for (last, said) in [
            ("count = 'x'\nttl = '1h'", "rooms.history[1].count: invalid type: string"),
            ("count = 1\nttl = '1'", "rooms.history[1].ttl: `1` is not a duration"),
            ("cout = 1\nttl = '1h'", "rooms.history[1].cout: unknown field `cout`, expected"),
        ] {
            let said_now = wrong(&format!("{GOOD}[[rooms.history]]\nrooms = 'a'\n{last}\n"));
            let line = if last.contains("'1'") { 8 } else { 7 };
            assert!(said_now.starts_with(said), "{said_now}");
            assert!(said_now.ends_with(&format!("(a.toml:{line})")), "{said_now}");
        }
        let missing = wrong(&format!("{GOOD}[[rooms.history]]\nrooms = 'a'\n"));
        assert!(missing.starts_with("rooms.history[1]: missing field `count`"), "{missing}");
        assert!(missing.ends_with("(a.toml:5)"), "{missing}");
        let top = wrong("listen = 'x'\n[[rules]]\n[[rules]]\nevent = 'x'\n");
        assert!(top.starts_with("rules[0]: missing field `event` (a.toml:2)"), "{top}");
        let no_list = wrong("[rooms.history]\nrooms = 'a'\n");
        assert!(no_list.starts_with("rooms.history: invalid type: map, expected"), "{no_list}");
        let section = wrong("[[rooms]]\nhistory = []\n");
        assert!(section.starts_with("rooms: is a section"), "{section}");
    }

    #[test]
    fn a_table_of_one_line_is_read_as_well() {
        let schema = Schema::of(&Config::default());
        let text = "[engine]\ncookie = { name = 'io', max_age = '1x' }\n";
        let mut problems = Vec::new();
        let settings = file::parse::<Config>(text, Path::new("a.toml"), &schema, &mut problems);
        let fault = settings[0].fault.as_ref().expect("it is no duration").to_string();
        assert!(fault.starts_with("engine.cookie.max_age: `1x` is not"), "{fault}");
        assert!(fault.ends_with("(a.toml:2)"), "{fault}");
    }
}
