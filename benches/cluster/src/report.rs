//! The tables.

use std::fmt::Write;

use crate::{
    options::Peer,
    run::{Measured, Sample},
};

type Results = Vec<Result<Measured, String>>;

/// All samples, by measure in the order of their first appearance, then by peer.
pub(crate) struct Report<'a> {
    peers: &'a [Peer],
    measures: Vec<(String, Vec<Results>)>,
}

/// Median, lowest and highest of the repetitions.
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(results: &Results, field: impl Fn(&Measured) -> f64) -> Option<Self> {
        let mut values: Vec<f64> = results.iter().flatten().map(field).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(lower, upper), low, high })
    }
}

fn median(results: &Results, field: impl Fn(&Measured) -> f64) -> Option<f64> {
    Spread::of(results, field).map(|spread| spread.median)
}

impl<'a> Report<'a> {
    pub(crate) fn new(peers: &'a [Peer]) -> Self {
        Self { peers, measures: Vec::new() }
    }

    pub(crate) fn add(&mut self, peer: usize, Sample { measure, result }: Sample) {
        let at = self.measures.iter().position(|(name, _)| *name == measure);
        let at = at.unwrap_or_else(|| {
            self.measures.push((measure, vec![Vec::new(); self.peers.len()]));
            self.measures.len() - 1
        });
        self.measures[at].1[peer].push(result);
    }

    pub(crate) fn failures(&self) -> usize {
        let results = self.measures.iter().flat_map(|(_, peers)| peers.iter().flatten());
        results.filter(|result| result.is_err()).count()
    }

    fn base(&self, peers: &[Results], name: &str) -> Option<f64> {
        let at = self.peers.iter().position(|peer| peer.spec.name == name)?;
        median(&peers[at], |it| it.cpu_micros)
    }

    /// A block for each measure, with everything that was counted.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (measure, peers) in &self.measures {
            let remote = peers.iter().find_map(|results| median(results, |it| it.remote));
            let _ = writeln!(
                text,
                "{measure} ({:.0} % of the deliveries on another node)\n  {:<14} {:>8}  {:>15} {:>6} \
                 {:>6} {:>8} {:>8} {:>8} {:>8} {:>6} {:>10} {:>7} {:>6}",
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
            let bases = [self.base(peers, "sio"), self.base(peers, "node")];
            for (peer, results) in self.peers.iter().zip(peers) {
                if !results.is_empty() {
                    let _ = writeln!(text, "  {}", row(&peer.spec.name, results, bases));
                }
            }
            text.push('\n');
        }
        text
    }

    /// The CPU of each measure, the latency of the open ones, and the idle node.
    pub(crate) fn markdown(&self) -> String {
        let mut text = self.head("µs of CPU for each delivery");
        for (measure, peers) in &self.measures {
            let bases = [self.base(peers, "sio"), self.base(peers, "node")];
            let cells = self.peers.iter().zip(peers).map(|(peer, results)| {
                let compare = !matches!(peer.spec.name.as_str(), "sio" | "node");
                cell(results, bases.filter_all(compare))
            });
            let _ = writeln!(text, "| {measure} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        text.push('\n');
        text.push_str(&self.head("of it Redis"));
        self.rows(&mut text, "", |it| Some(format!("{:.1}", median(it, |it| it.redis_micros)?)));
        text.push('\n');
        text.push_str(&self.head("ms to another node, p50 / p99"));
        self.rows(&mut text, "s, open", |it| {
            let (p50, p99) = (median(it, |it| it.p50_ms)?, median(it, |it| it.p99_ms)?);
            Some(format!("{p50:.2} / {p99:.2}"))
        });
        text.push('\n');
        text.push_str(&self.head("µs of an idle node for each emit elsewhere"));
        self.rows(&mut text, "idle", |it| {
            let idle = Spread::of(it, |it| it.idle_micros.unwrap_or(f64::NAN))?;
            // What is left of the noise when nothing is spent may be below zero.
            let [median, low, high] = [idle.median, idle.low, idle.high].map(|it| it.max(0.0));
            Some(format!("{median:.1} ({low:.1}–{high:.1})"))
        });
        text
    }

    fn head(&self, title: &str) -> String {
        let names: Vec<&str> = self.peers.iter().map(|peer| peer.spec.name.as_str()).collect();
        let lines = "---|".repeat(names.len() + 1);
        format!("| {title} | {} |\n|{lines}\n", names.join(" | "))
    }

    fn rows(&self, text: &mut String, only: &str, show: impl Fn(&Results) -> Option<String>) {
        for (measure, peers) in self.measures.iter().filter(|(name, _)| name.contains(only)) {
            let cells = peers.iter().map(|results| show(results).unwrap_or_default());
            let _ = writeln!(text, "| {measure} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

trait FilterAll {
    fn filter_all(self, keep: bool) -> Self;
}

impl FilterAll for [Option<f64>; 2] {
    fn filter_all(self, keep: bool) -> Self {
        self.map(|it| it.filter(|_| keep))
    }
}

fn ratio(value: f64, base: Option<f64>) -> String {
    base.map_or_else(String::new, |base| format!("{:.2}", value / base))
}

fn row(name: &str, results: &Results, [sio, node]: [Option<f64>; 2]) -> String {
    let failed = results.iter().filter(|result| result.is_err()).count();
    let Some(Spread { median: cpu, low, high }) = Spread::of(results, |it| it.cpu_micros) else {
        return format!("{name:<14} all {failed} runs failed");
    };
    let middle = |field: fn(&Measured) -> f64| median(results, field).unwrap_or(f64::NAN);
    format!(
        "{name:<14} {cpu:>8.2}  {:>15} {:>6} {:>6} {:>8.2} {:>8.2} {:>8.2} {:>8.0} {:>4.0} % {:>8.2} % \
         {:>7.2} {failed:>6}",
        format!("{low:.2}–{high:.2}"),
        ratio(cpu, sio),
        ratio(cpu, node),
        middle(|it| it.redis_micros),
        middle(|it| it.p50_ms),
        middle(|it| it.p99_ms),
        middle(|it| it.per_second),
        middle(|it| it.own_cores * 100.0),
        middle(|it| it.overtaking * 100.0),
        middle(|it| it.idle_micros.unwrap_or(f64::NAN)),
    )
}

fn cell(results: &Results, [sio, node]: [Option<f64>; 2]) -> String {
    if results.is_empty() {
        return String::new();
    }
    let Some(Spread { median: cpu, low, high }) = Spread::of(results, |it| it.cpu_micros) else {
        return "failed".to_owned();
    };
    let mut cell = format!("{cpu:.1} ({low:.1}–{high:.1})");
    if sio.is_some() || node.is_some() {
        let _ = write!(cell, " · **{} / {}**", ratio(cpu, sio), ratio(cpu, node));
    }
    match results.iter().filter(|result| result.is_err()).count() {
        0 => {}
        failed => _ = write!(cell, ", {failed} failed"),
    }
    cell
}
