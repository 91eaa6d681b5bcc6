//! A configuration file, taken apart into single settings that remember their line.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config,
    given::{Setting, Shape},
    problem::{Origin, Problem},
    schema::Schema,
    tables,
};

/// The settings of a file. A file that cannot be read, or is not TOML, has none.
pub(super) fn read(
    path: &Path,
    schema: &Schema,
    problems: &mut Vec<Problem>,
) -> (Vec<Setting>, Option<Shape>) {
    let origin = Origin::File { path: path.to_owned(), line: None };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::general(origin, format!("cannot be read: {error}")));
            return (Vec::new(), None);
        }
    };
    let (is_empty, ends_a_line) = (text.trim().is_empty(), text.ends_with('\n'));
    (parse::<Config>(&text, path, schema, problems), Some(Shape { origin, is_empty, ends_a_line }))
}

/// `Whole` is the type of the whole configuration.
pub(super) fn parse<Whole: DeserializeOwned>(
    text: &str,
    path: &Path,
    schema: &Schema,
    problems: &mut Vec<Problem>,
) -> Vec<Setting> {
    let line_at = |offset: usize| Origin::File {
        path: path.to_owned(),
        line: Some(text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1),
    };
    // The text is parsed twice: for the place of each key, and for its value.
    let (places, errors) = DeTable::parse_recoverable(text);
    let values = match toml::from_str::<toml::Table>(text) {
        Ok(values) if errors.is_empty() => values,
        // Only the message is taken: the error's usual form shows the line, which may hold a
        // secret.
        Ok(_) | Err(_) => {
            problems.extend(errors.iter().map(|error| {
                let at = error.span().map_or(0, |span| span.start);
                Problem::general(line_at(at), format!("not TOML: {}", error.message()))
            }));
            return Vec::new();
        }
    };
    let wrong_inside = |key: &str, place: &Spanned<DeValue<'_>>| {
        let wrong = tables::wrong_inside::<Whole>(key, place)?;
        Some(Problem::new(line_at(wrong.at), &wrong.key, wrong.message))
    };
    let (line_at, wrong_inside) = (&line_at, &wrong_inside);
    let mut walk = Walk { schema, line_at, wrong_inside, settings: Vec::new(), problems };
    walk.table("", places.get_ref(), values);
    walk.settings
}

struct Walk<'a> {
    schema: &'a Schema,
    line_at: &'a dyn Fn(usize) -> Origin,
    wrong_inside: &'a dyn Fn(&str, &Spanned<DeValue<'_>>) -> Option<Problem>,
    settings: Vec<Setting>,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn table(&mut self, section: &str, places: &DeTable<'_>, mut values: toml::Table) {
        for (name, place) in places {
            let name_text: &str = name.get_ref();
            let Some(value) = values.remove(name_text) else { continue };
            let origin = (self.line_at)(name.span().start);
            let key = match section {
                "" => name_text.to_owned(),
                section => format!("{section}.{name_text}"),
            };
            if self.schema.is_section(&key) {
                match (place.get_ref().as_table(), value) {
                    (Some(places), toml::Value::Table(values)) => self.table(&key, places, values),
                    _ => self.problems.push(Problem::new(
                        origin,
                        &key,
                        format!("is a section: write [{key}], and its keys below"),
                    )),
                }
            } else if self.schema.knows(&key) {
                let fault = (self.wrong_inside)(&key, place);
                self.settings.push(Setting { key, value, origin, fault });
            } else {
                self.problems.push(self.schema.unknown(origin, &key));
            }
        }
    }
}
