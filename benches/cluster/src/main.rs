//! The benchmark of clusters: starts nodes and a Redis, loads them, and prints what a message costs.
//!
//! `make bench-cluster`; see `benches/README.md` for what is measured and how. Clients, processes
//! and the accounts of what was delivered are those of `benches/load`.

mod cluster;
#[path = "../../load/fleet.rs"]
mod fleet;
mod layout;
mod options;
#[path = "../../load/process.rs"]
#[expect(dead_code, reason = "memory and the plain server are measured there only")]
mod process;
mod report;
mod run;
#[path = "../../load/tally.rs"]
mod tally;
#[path = "../../load/wire.rs"]
#[expect(dead_code, reason = "echo and `events` are measured there only")]
mod wire;

use std::{env, process::ExitCode};

use options::Options;
use report::Report;
use run::{Measured, Sample};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    match benchmark() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything; false if a run failed.
fn benchmark() -> Result<bool> {
    let Some(options) = Options::parse(env::args().skip(1))? else {
        println!("{}", options::HELP);
        return Ok(true);
    };
    if options.list {
        options.scenarios.iter().for_each(|scenario| println!("{}", scenario.name()));
        return Ok(true);
    }
    let mut report = Report::new(&options.peers);
    for repetition in 0..options.repetitions {
        for scenario in &options.scenarios {
            // Each repetition begins with another peer, so that none is always the first.
            for turn in 0..options.peers.len() {
                let number = (turn + repetition) % options.peers.len();
                let peer = &options.peers[number];
                if !peer.takes_part(scenario) {
                    continue;
                }
                for sample in run::once(scenario, peer, options.times) {
                    progress(repetition, &peer.spec.name, &sample);
                    report.add(number, sample);
                }
            }
        }
    }
    print!("{}", if options.markdown { report.markdown() } else { report.text() });
    let failures = report.failures();
    if failures > 0 {
        eprintln!("{failures} runs failed");
    }
    Ok(failures == 0)
}

fn progress(repetition: usize, peer: &str, Sample { measure, result }: &Sample) {
    let result = match result {
        Ok(Measured { cpu_micros, redis_micros, p99_ms, .. }) => {
            format!("{cpu_micros:.2} µs, of which Redis {redis_micros:.2}, p99 {p99_ms:.2} ms")
        }
        Err(reason) => format!("FAILED: {reason}"),
    };
    eprintln!("{:>2} {peer:<14} {measure}: {result}", repetition + 1);
}
