//! The benchmark of one node: starts servers, loads them, and prints what a message costs each of
//! them.
//!
//! `cargo bench --bench load`; see `benches/README.md` for what is measured and how. The generator,
//! the accounts and the options are in `benches/support`. A module imports only from those above it:
//! `floor` and `plain` (servers to compare with), `servers` (what is measured), `scenario`, `report`.

mod floor;
mod plain;
mod report;
mod scenario;
mod servers;

use std::{env, process::ExitCode, time::Duration};

use bench_support::{
    benchmark::{self, Benchmark},
    generator::Times,
    options::Usage,
    result::Result,
    server::Spec,
    table::Table,
};
use scenario::{Scenario, Value};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let served = match arguments.first().map(String::as_str) {
        Some(plain::ARGUMENT) => plain::serve(),
        Some(floor::ARGUMENT) => floor::serve(),
        _ => {
            // Cargo gives `--bench` for `cargo bench`, and not when it only tests that benches work.
            let all = arguments.len();
            arguments.retain(|argument| argument != "--bench");
            if arguments.len() == all {
                arguments.push("--quick".to_owned());
            }
            return benchmark::main::<Load>(arguments);
        }
    };
    if let Err(error) = served {
        eprintln!("{error}");
    }
    ExitCode::FAILURE
}

struct Load;

impl Benchmark for Load {
    type Scenario = Scenario;
    type Value = Value;

    const USAGE: Usage = Usage {
        about: "Measures what servers pay for a message and for a connection",
        server: "--server",
        servers: servers::HELP,
        times: Times { warm_up: Duration::from_millis(500), measured: Duration::from_millis(3000) },
        quick_times: Times {
            warm_up: Duration::from_millis(50),
            measured: Duration::from_millis(200),
        },
    };

    fn usual_servers(quick: bool) -> &'static [&'static str] {
        if quick { &["plain", "floor", "w0", "w2"] } else { &["plain", "floor", "w0", "w1", "w2"] }
    }

    fn server(name: &str) -> Result<Spec> {
        servers::server(name)
    }

    fn scenarios(quick: bool) -> Vec<Scenario> {
        scenario::all(quick)
    }

    fn in_short(value: &Value) -> String {
        match value {
            Value::Traffic(figures) => format!("{:.2} µs", figures.cpu_micros),
            Value::Memory(kilobytes) => format!("{kilobytes:.2} kB"),
        }
    }

    fn text(table: &Table<Value>) -> String {
        report::text(table)
    }

    fn markdown(table: &Table<Value>) -> String {
        report::markdown(table)
    }
}
