//! The benchmark of clusters: starts nodes and a Redis, loads them, and prints what a message costs.
//!
//! `make bench-cluster`; see `benches/README.md` for what is measured and how. The generator, the
//! accounts and the options are in `benches/support`. A module imports only from those above it:
//! `layout` (the scenarios), `nodes`, `run`.

mod layout;
mod nodes;
mod run;

use std::{env, process::ExitCode, time::Duration};

use bench_support::{
    benchmark::{self, Benchmark},
    generator::Times,
    options::Usage,
};
use layout::Scenario;

fn main() -> ExitCode {
    benchmark::main::<Clusters>(env::args().skip(1))
}

struct Clusters;

impl Benchmark for Clusters {
    type Scenario = Scenario;

    // V8 compiles in the warm-up what it has seen to be called often.
    const USUAL_SERVERS: &'static [&'static str] =
        &["floor", "plain", "node", "node-sharded", "w0", "all", "sharded"];

    const USAGE: Usage = Usage {
        about: "Measures what nodes of a cluster pay for a message",
        times: Times { warm_up: Duration::from_millis(800), measured: Duration::from_millis(1200) },
        quick_times: Times {
            warm_up: Duration::from_millis(400),
            measured: Duration::from_millis(500),
        },
    };

    fn scenarios(quick: bool) -> Vec<Scenario> {
        layout::all(quick)
    }
}
