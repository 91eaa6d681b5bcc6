//! The results of all repetitions, and how a table in Markdown shows them.

use std::fmt::Write;

use crate::spread::{Spread, ratio};

/// What one repetition gave, under the name that the table has for it.
pub struct Sample<V> {
    /// The row of the table.
    pub measure: String,
    /// Or why the run is void.
    pub result: Result<V, String>,
}

/// What all repetitions gave.
pub struct Results<V>(Vec<Result<V, String>>);

impl<V> Results<V> {
    /// Whether nothing was run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are not void.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().flatten()
    }

    /// How many are void.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.0.iter().filter(|result| result.is_err()).count()
    }

    /// A figure of those that have it.
    pub fn spread(&self, figure: impl Fn(&V) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.values().filter_map(figure))
    }

    /// The median of a figure of those that have it.
    pub fn median(&self, figure: impl Fn(&V) -> Option<f64>) -> Option<f64> {
        self.spread(figure).map(|spread| spread.median)
    }

    /// A cell: median, lowest and highest with that many decimal places, and the ratios to `bases`
    /// unless there are none.
    pub fn cell(
        &self,
        figure: impl Fn(&V) -> Option<f64>,
        places: usize,
        bases: &[Option<f64>],
    ) -> String {
        if self.is_empty() {
            return String::new();
        }
        let Some(Spread { median, low, high }) = self.spread(figure) else {
            return "failed".to_owned();
        };
        let mut cell = format!("{median:.places$} ({low:.places$}–{high:.places$})");
        if bases.iter().any(Option::is_some) {
            let ratios: Vec<String> = bases.iter().map(|base| ratio(median, *base)).collect();
            let _ = write!(cell, " · **{}**", ratios.join(" / "));
        }
        match self.failed() {
            0 => {}
            failed => _ = write!(cell, ", {failed} failed"),
        }
        cell
    }
}

/// A row: what was measured.
pub struct Measure<V> {
    /// Its name.
    pub name: String,
    /// The results of each server.
    pub results: Vec<Results<V>>,
}

/// All results, by measure in the order of their first appearance, then by server.
pub struct Table<V> {
    /// The names of the servers.
    pub servers: Vec<String>,
    /// The rows.
    pub measures: Vec<Measure<V>>,
}

impl<V> Table<V> {
    /// A table without rows.
    #[must_use]
    pub fn new(servers: Vec<String>) -> Self {
        Self { servers, measures: Vec::new() }
    }

    /// Adds what a repetition gave for a server.
    pub fn add(&mut self, server: usize, Sample { measure, result }: Sample<V>) {
        let at = self.measures.iter().position(|it| it.name == measure);
        let at = at.unwrap_or_else(|| {
            let results = self.servers.iter().map(|_| Results(Vec::new())).collect();
            self.measures.push(Measure { name: measure, results });
            self.measures.len() - 1
        });
        self.measures[at].results[server].0.push(result);
    }

    /// How many runs were void.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.measures.iter().flat_map(|measure| &measure.results).map(Results::failed).sum()
    }

    /// A table in Markdown of the measures whose name contains `only`. `show` gives the cells of one.
    pub fn markdown(
        &self,
        title: &str,
        only: &str,
        show: impl Fn(&Measure<V>) -> Vec<String>,
    ) -> String {
        let space = if title.is_empty() { "" } else { " " };
        let lines = "---|".repeat(self.servers.len() + 1);
        let mut text = format!("|{space}{title} | {} |\n|{lines}\n", self.servers.join(" | "));
        for measure in self.measures.iter().filter(|measure| measure.name.contains(only)) {
            let _ = writeln!(text, "| {} | {} |", measure.name, show(measure).join(" | "));
        }
        text
    }
}
