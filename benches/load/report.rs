//! The tables.

use std::fmt::Write;

use bench_support::{
    spread::{Spread, ratio},
    table::{Measure, Results, Table},
};

use crate::scenario::{Figures, Value};

/// A block for each measure, with everything that was counted.
pub(crate) fn text(table: &Table<Value>) -> String {
    let mut text = String::new();
    for measure in &table.measures {
        let unit = if is_memory(measure) { "kB" } else { "µs CPU" };
        let _ = writeln!(
            text,
            "{}\n  {:<10} {unit:>8}  {:>15} {:>7} {:>10} {:>8} {:>8} {:>11} {:>7}",
            measure.name,
            "server",
            "min–max",
            "ratio",
            "each s",
            "server",
            "load",
            "overtaking",
            "failed",
        );
        let base = measure.results[0].median(cost);
        for (server, results) in table.servers.iter().zip(&measure.results) {
            let _ = writeln!(text, "  {}", row(server, results, base));
        }
        text.push('\n');
    }
    text
}

/// A row for each measure: median, lowest and highest, ratio to the first server.
pub(crate) fn markdown(table: &Table<Value>) -> String {
    table.markdown("", "", |measure| {
        let base = measure.results[0].median(cost);
        let cell = |(number, results): (usize, &Results<Value>)| {
            results.cell(cost, 2, &[base.filter(|_| number > 0)])
        };
        measure.results.iter().enumerate().map(cell).collect()
    })
}

fn is_memory(measure: &Measure<Value>) -> bool {
    let mut values = measure.results.iter().flat_map(Results::values);
    values.any(|value| matches!(value, Value::Memory(_)))
}

/// What is compared.
fn cost(value: &Value) -> Option<f64> {
    Some(match value {
        Value::Traffic(figures) => figures.cpu_micros,
        Value::Memory(kilobytes) => *kilobytes,
    })
}

fn row(server: &str, results: &Results<Value>, base: Option<f64>) -> String {
    let Some(Spread { median, low, high }) = results.spread(cost) else {
        return format!("{server:<10} all {} runs failed", results.failed());
    };
    let middle = |figure: fn(&Figures) -> f64| {
        results.median(|value| match value {
            Value::Traffic(figures) => Some(figure(figures)),
            Value::Memory(_) => None,
        })
    };
    let percent = |share: Option<f64>, places: usize| {
        share.map_or_else(String::new, |share| format!("{:.places$} %", share * 100.0))
    };
    let rate = middle(|figures| figures.per_second);
    format!(
        "{server:<10} {median:>8.2}  {:>15} {:>7} {:>10} {:>8} {:>8} {:>11} {:>7}",
        format!("{low:.2}–{high:.2}"),
        ratio(median, base),
        rate.map_or_else(String::new, |rate| format!("{rate:.0}")),
        percent(middle(|figures| figures.server_cores), 0),
        percent(middle(|figures| figures.own_cores), 0),
        percent(middle(|figures| figures.overtaking), 2),
        results.failed(),
    )
}
