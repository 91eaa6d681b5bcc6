//! The tables.

use std::fmt::Write;

use crate::{
    process::Spec,
    run::Measurement,
    scenario::{Sample, Value},
};

/// All samples, by measure in the order of their first appearance, then by server.
pub(crate) struct Report<'a> {
    servers: &'a [Spec],
    measures: Vec<(String, Vec<Vec<Value>>)>,
}

/// Median, lowest and highest of the repetitions.
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(lower, upper), low, high })
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(servers: &'a [Spec]) -> Self {
        Self { servers, measures: Vec::new() }
    }

    pub(crate) fn add(&mut self, server: usize, samples: Vec<Sample>) {
        for Sample { measure, value } in samples {
            let at = self.measures.iter().position(|(name, _)| *name == measure);
            let at = at.unwrap_or_else(|| {
                self.measures.push((measure, vec![Vec::new(); self.servers.len()]));
                self.measures.len() - 1
            });
            self.measures[at].1[server].push(value);
        }
    }

    pub(crate) fn failures(&self) -> usize {
        let values = self.measures.iter().flat_map(|(_, servers)| servers.iter().flatten());
        values.filter(|value| matches!(value, Value::Failed(_))).count()
    }

    /// A block for each measure, with everything that was counted.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (measure, servers) in &self.measures {
            let unit = if is_memory(servers) { "kB" } else { "µs CPU" };
            let _ = writeln!(
                text,
                "{measure}\n  {:<10} {unit:>8}  {:>15} {:>7} {:>10} {:>8} {:>8} {:>11} {:>7}",
                "server", "min–max", "ratio", "each s", "server", "load", "overtaking", "failed",
            );
            let base = spread(&servers[0]).map(|spread| spread.median);
            for (spec, values) in self.servers.iter().zip(servers) {
                let _ = writeln!(text, "  {}", row(&spec.name, values, base));
            }
            text.push('\n');
        }
        text
    }

    /// A row for each measure: median, lowest and highest, ratio to the first server.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("| |");
        for spec in self.servers {
            let _ = write!(text, " {} |", spec.name);
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(self.servers.len()));
        for (measure, servers) in &self.measures {
            let _ = write!(text, "\n| {measure} |");
            let base = spread(&servers[0]).map(|spread| spread.median);
            for (number, values) in servers.iter().enumerate() {
                let _ = write!(text, " {} |", cell(values, base.filter(|_| number > 0)));
            }
        }
        text.push('\n');
        text
    }
}

fn is_memory(servers: &[Vec<Value>]) -> bool {
    servers.iter().flatten().any(|value| matches!(value, Value::Memory(_)))
}

fn spread(values: &[Value]) -> Option<Spread> {
    let number = |value: &Value| match value {
        Value::Traffic(measured) => Some(measured.cpu_micros),
        Value::Memory(kilobytes) => Some(*kilobytes),
        Value::Failed(_) => None,
    };
    Spread::of(values.iter().filter_map(number).collect())
}

fn failed(values: &[Value]) -> usize {
    values.iter().filter(|value| matches!(value, Value::Failed(_))).count()
}

fn row(name: &str, values: &[Value], base: Option<f64>) -> String {
    let Some(Spread { median, low, high }) = spread(values) else {
        return format!("{name:<10} all {} runs failed", values.len());
    };
    let measured: Vec<&Measurement> = values
        .iter()
        .filter_map(|value| match value {
            Value::Traffic(measured) => Some(measured),
            _ => None,
        })
        .collect();
    let middle = |field: fn(&Measurement) -> f64| {
        let values = measured.iter().map(|measured| field(measured)).collect();
        Spread::of(values).map(|spread| spread.median)
    };
    let percent = |share: Option<f64>| {
        share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0))
    };
    let rate = middle(|measured| measured.per_second);
    let overtaking = middle(|measured| measured.overtaking as f64 / measured.delivered as f64);
    format!(
        "{name:<10} {median:>8.2}  {:>15} {:>7} {:>10} {:>8} {:>8} {:>11} {:>7}",
        format!("{low:.2}–{high:.2}"),
        base.map_or_else(String::new, |base| format!("{:.2}", median / base)),
        rate.map_or_else(String::new, |rate| format!("{rate:.0}")),
        percent(middle(|measured| measured.server_cores)),
        percent(middle(|measured| measured.own_cores)),
        overtaking.map_or_else(String::new, |share| format!("{:.2} %", share * 100.0)),
        failed(values),
    )
}

fn cell(values: &[Value], base: Option<f64>) -> String {
    let Some(Spread { median, low, high }) = spread(values) else {
        return "failed".to_owned();
    };
    let mut cell = format!("{median:.2} ({low:.2}–{high:.2})");
    if let Some(base) = base {
        let _ = write!(cell, " · **{:.2}**", median / base);
    }
    match failed(values) {
        0 => {}
        failed => {
            let _ = write!(cell, ", {failed} failed");
        }
    }
    cell
}
