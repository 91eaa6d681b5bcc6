//! The benchmark of clusters: starts nodes and a Redis, loads them, and prints what a message costs.
//!
//! `make bench-cluster`; see `benches/README.md` for what is measured and how. The generator, the
//! accounts and the options are in `benches/support`. A module imports only from those above it:
//! `peers` (what is measured), `layout` (the scenarios), `nodes` and `latency`, `run`, `report`.

mod latency;
mod layout;
mod nodes;
mod peers;
mod report;
mod run;

use std::{env, process::ExitCode, time::Duration};

use bench_support::{
    benchmark::{self, Benchmark},
    generator::Times,
    options::Usage,
    result::Result,
    server::Spec,
    table::Table,
};
use layout::Scenario;
use run::Figures;

fn main() -> ExitCode {
    benchmark::main::<Clusters>(env::args().skip(1))
}

struct Clusters;

impl Benchmark for Clusters {
    type Scenario = Scenario;
    type Value = Figures;

    // V8 compiles in the warm-up what it has seen to be called often.
    const USAGE: Usage = Usage {
        about: "Measures what nodes of a cluster pay for a message",
        server: "--peer",
        servers: peers::HELP,
        times: Times { warm_up: Duration::from_millis(800), measured: Duration::from_millis(1200) },
        quick_times: Times {
            warm_up: Duration::from_millis(400),
            measured: Duration::from_millis(500),
        },
    };

    fn usual_servers(_: bool) -> &'static [&'static str] {
        peers::USUAL
    }

    fn server(name: &str) -> Result<Spec> {
        peers::peer(name)
    }

    fn scenarios(quick: bool) -> Vec<Scenario> {
        layout::all(quick)
    }

    fn in_short(Figures { cpu_micros, redis_micros, p99_ms, .. }: &Figures) -> String {
        let p99_ms = p99_ms.unwrap_or(f64::NAN);
        format!("{cpu_micros:.2} µs, of which Redis {redis_micros:.2}, p99 {p99_ms:.2} ms")
    }

    fn text(table: &Table<Figures>) -> String {
        report::text(table)
    }

    fn markdown(table: &Table<Figures>) -> String {
        report::markdown(table)
    }
}
