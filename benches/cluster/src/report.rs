//! The tables.

use std::fmt::Write;

use bench_support::{
    spread::{Spread, ratio},
    table::{Measure, Results, Table},
};

use crate::run::Figures;

/// A block for each measure, with everything that was counted.
pub(crate) fn text(table: &Table<Figures>) -> String {
    let mut text = String::new();
    for measure in &table.measures {
        let remote =
            measure.results.iter().find_map(|results| results.median(|it| Some(it.remote)));
        let _ = writeln!(
            text,
            "{} ({:.0} % of the deliveries on another node)\n  {:<14} {:>8}  {:>15} {:>6} \
             {:>6} {:>8} {:>8} {:>8} {:>8} {:>6} {:>10} {:>7} {:>6}",
            measure.name,
            remote.unwrap_or_default() * 100.0,
            "peer",
            "µs CPU",
            "min–max",
            "/sio",
            "/node",
            "Redis µs",
            "p50 ms",
            "p99 ms",
            "each s",
            "load",
            "overtaking",
            "idle µs",
            "failed",
        );
        let bases = bases(table, measure);
        for (peer, results) in table.servers.iter().zip(&measure.results) {
            if !results.is_empty() {
                let _ = writeln!(text, "  {}", row(peer, results, bases));
            }
        }
        text.push('\n');
    }
    text
}

/// The CPU of each measure, the latency of the open ones, and the idle node.
pub(crate) fn markdown(table: &Table<Figures>) -> String {
    let cpu = table.markdown("µs of CPU for each delivery", "", |measure| {
        let bases = bases(table, measure);
        let cells = table.servers.iter().zip(&measure.results).map(|(peer, results)| {
            let compare = !matches!(peer.as_str(), "sio" | "node");
            results.cell(cost, 1, &bases.map(|base| base.filter(|_| compare)))
        });
        cells.collect()
    });
    let redis = rows(table, "of it Redis", "", |it| {
        Some(format!("{:.1}", it.median(|it| Some(it.redis_micros))?))
    });
    let latency = rows(table, "ms to another node, p50 / p99", "s, open", |it| {
        let (p50, p99) = (it.median(|it| it.p50_ms)?, it.median(|it| it.p99_ms)?);
        Some(format!("{p50:.2} / {p99:.2}"))
    });
    let idle = rows(table, "µs of an idle node for each emit elsewhere", "idle", |it| {
        let idle = it.spread(|it| it.idle_micros)?;
        // What is left of the noise when nothing is spent may be below zero.
        let [median, low, high] = [idle.median, idle.low, idle.high].map(|it| it.max(0.0));
        Some(format!("{median:.1} ({low:.1}–{high:.1})"))
    });
    [cpu, redis, latency, idle].join("\n")
}

fn rows(
    table: &Table<Figures>,
    title: &str,
    only: &str,
    show: impl Fn(&Results<Figures>) -> Option<String>,
) -> String {
    table.markdown(title, only, |measure| {
        measure.results.iter().map(|results| show(results).unwrap_or_default()).collect()
    })
}

/// What is compared.
fn cost(figures: &Figures) -> Option<f64> {
    Some(figures.cpu_micros)
}

/// The medians of the peers that the others are compared with.
fn bases(table: &Table<Figures>, measure: &Measure<Figures>) -> [Option<f64>; 2] {
    ["sio", "node"].map(|name| {
        let at = table.servers.iter().position(|server| server == name)?;
        measure.results[at].median(cost)
    })
}

fn row(name: &str, results: &Results<Figures>, [sio, node]: [Option<f64>; 2]) -> String {
    let failed = results.failed();
    let Some(Spread { median: cpu, low, high }) = results.spread(cost) else {
        return format!("{name:<14} all {failed} runs failed");
    };
    let middle = |figure: fn(&Figures) -> Option<f64>| results.median(figure).unwrap_or(f64::NAN);
    format!(
        "{name:<14} {cpu:>8.2}  {:>15} {:>6} {:>6} {:>8.2} {:>8.2} {:>8.2} {:>8.0} {:>4.0} % {:>8.2} % \
         {:>7.2} {failed:>6}",
        format!("{low:.2}–{high:.2}"),
        ratio(cpu, sio),
        ratio(cpu, node),
        middle(|it| Some(it.redis_micros)),
        middle(|it| it.p50_ms),
        middle(|it| it.p99_ms),
        middle(|it| Some(it.per_second)),
        middle(|it| Some(it.own_cores * 100.0)),
        middle(|it| Some(it.overtaking * 100.0)),
        middle(|it| it.idle_micros),
    )
}
