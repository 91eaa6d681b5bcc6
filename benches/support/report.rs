//! The tables, for a terminal and for `benches/README.md`.

use std::fmt::Write;

use crate::{
    spread::{Spread, ratio},
    table::{Measure, Results, Table},
};

/// The servers that the others are compared with, the first one first.
const BASES: [&str; 3] = ["floor", "plain", "node"];
/// The figures beside the cost that have a table in Markdown, too.
const TABLES: [&str; 4] = ["Redis µs", "p50 ms", "p99 ms", "idle µs"];

/// A block for each measure, with everything that was counted.
#[must_use]
pub fn text(table: &Table) -> String {
    let mut text = String::new();
    for measure in &table.measures {
        let Some(shown) = measure.results.iter().find_map(|results| results.figures().next())
        else {
            let _ = writeln!(text, "{}\n{}", measure.name, voids(table, measure));
            continue;
        };
        let bases = bases(table, measure);
        let _ = write!(
            text,
            "{}\n  {:<14} {:>9} {:>15}",
            measure.name, "server", shown.unit, "min–max"
        );
        for (name, _) in &bases {
            let _ = write!(text, " {:>7}", format!("/{name}"));
        }
        let columns: Vec<&str> = shown.others.iter().map(|(name, _)| *name).collect();
        for column in &columns {
            let _ = write!(text, " {column:>12}");
        }
        text.push('\n');
        for (server, results) in table.servers.iter().zip(&measure.results) {
            if let Some(Spread { median, low, high }) = results.costs() {
                let spread = format!("{low:.2}–{high:.2}");
                let _ = write!(text, "  {server:<14} {median:>9.2} {spread:>15}");
                for (_, base) in &bases {
                    let _ = write!(text, " {:>7}", ratio(median, Some(*base)));
                }
                for column in &columns {
                    let other = results.spread(|figures| figures.other(column));
                    let other = other.map_or_else(String::new, |it| format!("{:.2}", it.median));
                    let _ = write!(text, " {other:>12}");
                }
                text.push('\n');
            }
        }
        let _ = writeln!(text, "{}", voids(table, measure));
    }
    text
}

/// A line for each server of which runs do not count.
fn voids(table: &Table, measure: &Measure) -> String {
    let mut text = String::new();
    for (server, results) in table.servers.iter().zip(&measure.results) {
        if let Some(void) = results.voids().next() {
            let _ = writeln!(text, "  {server:<14} {} of the runs {void}", results.voids().count());
        }
    }
    text
}

/// The costs with their ratios, and a table for each of the other figures that matter.
#[must_use]
pub fn markdown(table: &Table) -> String {
    let mut text = rows(table, "", |measure| {
        let bases = bases(table, measure);
        let cells = table.servers.iter().zip(&measure.results).map(|(server, results)| {
            let ratios = bases.iter().filter(|_| !BASES.contains(&server.as_str()));
            cell(results, &ratios.map(|(_, base)| *base).collect::<Vec<_>>())
        });
        cells.collect()
    });
    for name in TABLES {
        let has = |results: &Results| results.figures().any(|it| it.other(name).is_some());
        if table.measures.iter().any(|measure| measure.results.iter().any(has)) {
            text.push('\n');
            text += &rows(table, name, |measure| {
                let median = |results: &Results| {
                    let spread = results.spread(|figures| figures.other(name));
                    // What is left of the noise when nothing is spent may be below zero.
                    spread.map_or_else(String::new, |it| format!("{:.2}", it.median.max(0.0)))
                };
                measure.results.iter().map(median).collect()
            });
        }
    }
    text
}

/// A table; rows without anything in them are left out.
fn rows(table: &Table, title: &str, show: impl Fn(&Measure) -> Vec<String>) -> String {
    let space = if title.is_empty() { "" } else { " " };
    let lines = "---|".repeat(table.servers.len() + 1);
    let mut text = format!("|{space}{title} | {} |\n|{lines}\n", table.servers.join(" | "));
    for measure in &table.measures {
        let cells = show(measure);
        if cells.iter().any(|cell| !cell.is_empty()) {
            let _ = writeln!(text, "| {} | {} |", measure.name, cells.join(" | "));
        }
    }
    text
}

/// Median, lowest and highest, the ratios to `bases`, and why runs do not count.
fn cell(results: &Results, bases: &[f64]) -> String {
    let mut cell = String::new();
    if let Some(Spread { median, low, high }) = results.costs() {
        let _ = write!(cell, "{median:.2} ({low:.2}–{high:.2})");
        if !bases.is_empty() {
            let ratios: Vec<_> = bases.iter().map(|base| ratio(median, Some(*base))).collect();
            let _ = write!(cell, " · **{}**", ratios.join(" / "));
        }
    }
    if let Some(void) = results.voids().next() {
        let space = if cell.is_empty() { "" } else { ", " };
        let _ = write!(cell, "{space}{} {void}", results.voids().count());
    }
    cell
}

/// The medians of those of the measured servers that the others are compared with.
fn bases(table: &Table, measure: &Measure) -> Vec<(&'static str, f64)> {
    let base = |name: &&'static str| {
        let at = table.servers.iter().position(|server| server == name)?;
        Some((*name, measure.results[at].costs()?.median))
    };
    BASES.iter().filter_map(base).collect()
}
