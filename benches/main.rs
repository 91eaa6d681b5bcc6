//! The benchmark: starts servers, loads them, and prints what a message and a connection cost them.
//!
//! `benches/run.sh`; see `benches/README.md` for what is measured and how. The generator, the accounts,
//! the options and the tables are in `benches/support`, the servers to compare with in
//! `benches/peers` and `benches/node`. Here are the scenarios: `load` has those of one server, `cluster`
//! those of nodes with a Redis, `recovery` those of clients that are cut and come back.

mod cluster;
mod load;
mod recovery;

use std::{env, process::ExitCode, time::Duration};

use bench_support::{
    benchmark::{self, Scenario},
    generator::Times,
    options::Usage,
};

const USAGE: Usage = Usage {
    about: "Measures what servers pay for a message and for a connection",
    servers: &["floor", "plain", "node", "w0"],
    // V8 compiles in the warm-up what it has seen to be called often.
    times: Times { warm_up: Duration::from_millis(800), measured: Duration::from_millis(2000) },
    quick_times: Times {
        warm_up: Duration::from_millis(150),
        measured: Duration::from_millis(250),
    },
};

fn main() -> ExitCode {
    let scenarios = |quick| -> Vec<Box<dyn Scenario>> {
        let one = load::all(quick).into_iter().chain(recovery::all(quick));
        one.chain(cluster::all(quick)).collect()
    };
    benchmark::main(&USAGE, env::args().skip(1), &scenarios)
}
