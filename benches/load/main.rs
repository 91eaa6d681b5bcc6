//! The benchmark of one node: starts servers, loads them, and prints what a message costs each of
//! them.
//!
//! `benches/run.sh`; see `benches/README.md` for what is measured and how. The generator,
//! the accounts and the options are in `benches/support`. A module imports only from those above it:
//! `scenario`.

mod scenario;

use std::{env, process::ExitCode, time::Duration};

use bench_support::{
    benchmark::{self, Benchmark},
    generator::Times,
    options::Usage,
};
use scenario::Scenario;

fn main() -> ExitCode {
    benchmark::main::<Load>(env::args().skip(1))
}

struct Load;

impl Benchmark for Load {
    type Scenario = Scenario;

    const USUAL_SERVERS: &'static [&'static str] = &["floor", "plain", "w0"];

    const USAGE: Usage = Usage {
        about: "Measures what servers pay for a message and for a connection",
        times: Times { warm_up: Duration::from_millis(500), measured: Duration::from_millis(3000) },
        quick_times: Times {
            warm_up: Duration::from_millis(50),
            measured: Duration::from_millis(200),
        },
    };

    fn scenarios(quick: bool) -> Vec<Scenario> {
        scenario::all(quick)
    }
}
