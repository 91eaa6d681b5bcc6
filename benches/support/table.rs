//! The results of all repetitions.

use crate::spread::Spread;

/// What one repetition gave.
#[derive(Clone)]
pub struct Figures {
    /// What is compared.
    pub cost: f64,
    /// In what: `µs CPU`, `kB`, `ms`.
    pub unit: &'static str,
    /// What else was counted, each with the name of its column.
    pub others: Vec<(&'static str, f64)>,
}

impl Figures {
    /// A figure by the name of its column.
    #[must_use]
    pub fn other(&self, name: &str) -> Option<f64> {
        self.others.iter().find_map(|(column, value)| (*column == name).then_some(*value))
    }
}

/// Why a run does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Void {
    /// The server did not do what it should: the benchmark fails.
    Failed(String),
    /// The generator was slower than the server: the run is left out.
    Bottleneck(String),
}

impl From<Box<dyn std::error::Error>> for Void {
    fn from(error: Box<dyn std::error::Error>) -> Self {
        Self::Failed(error.to_string())
    }
}

impl std::fmt::Display for Void {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Failed(reason) | Self::Bottleneck(reason)) = self;
        write!(text, "void: {reason}")
    }
}

/// What one repetition gave, under the name that the table has for it.
pub struct Sample {
    /// The row of the table.
    pub measure: String,
    /// Or why the run is void.
    pub result: Result<Figures, Void>,
}

/// What all repetitions gave.
#[derive(Default)]
pub struct Results(Vec<Result<Figures, Void>>);

impl Results {
    /// Whether nothing was run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that count.
    pub fn figures(&self) -> impl Iterator<Item = &Figures> {
        self.0.iter().flatten()
    }

    /// Why others do not count.
    pub fn voids(&self) -> impl Iterator<Item = &Void> {
        self.0.iter().filter_map(|result| result.as_ref().err())
    }

    /// A figure of those that have it.
    pub fn spread(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.figures().filter_map(figure))
    }

    /// The costs.
    #[must_use]
    pub fn costs(&self) -> Option<Spread> {
        self.spread(|figures| Some(figures.cost))
    }
}

/// A row: what was measured.
pub struct Measure {
    /// Its name.
    pub name: String,
    /// The results of each server.
    pub results: Vec<Results>,
}

/// All results, by measure in the order of their first appearance, then by server.
pub struct Table {
    /// The names of the servers.
    pub servers: Vec<String>,
    /// The rows.
    pub measures: Vec<Measure>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(servers: Vec<String>) -> Self {
        Self { servers, measures: Vec::new() }
    }

    /// Adds what a repetition gave for a server.
    pub fn add(&mut self, server: usize, Sample { measure, result }: Sample) {
        let at = self.measures.iter().position(|it| it.name == measure);
        let at = at.unwrap_or_else(|| {
            let results = self.servers.iter().map(|_| Results::default()).collect();
            self.measures.push(Measure { name: measure, results });
            self.measures.len() - 1
        });
        self.measures[at].results[server].0.push(result);
    }

    /// What makes the benchmark fail: servers that failed, and where nothing is left to compare.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for measure in &self.measures {
            for (server, results) in self.servers.iter().zip(&measure.results) {
                let mut voids = results.voids();
                let failed = results.voids().find(|void| matches!(void, Void::Failed(_)));
                let nothing_left = voids.next().filter(|_| results.costs().is_none());
                if let Some(void) = failed.or(nothing_left) {
                    failures.push(format!("{server}, {}: {void}", measure.name));
                }
            }
        }
        failures
    }
}
