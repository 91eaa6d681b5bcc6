//! The benchmark: starts servers, loads them, and prints what a message costs each of them.
//!
//! `cargo bench --bench load`; see `benches/README.md` for what is measured and how.

mod fleet;
mod floor;
mod options;
mod plain;
mod process;
mod report;
mod run;
mod scenario;
mod tally;
mod wire;

use std::{env, process::ExitCode};

use options::Options;
use report::Report;
use scenario::{Sample, Value};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let done = match env::args().nth(1).as_deref() {
        Some(process::SERVE_PLAIN) => plain::serve().map(|()| true),
        Some(process::SERVE_FLOOR) => floor::serve().map(|()| true),
        _ => benchmark(),
    };
    match done {
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
    for scenario in &options.scenarios {
        scenario.check_limits()?;
    }
    let mut report = Report::new(&options.servers);
    for scenario in &options.scenarios {
        for repetition in 0..options.repetitions {
            // Each repetition begins with another server, so that none is always the first.
            for turn in 0..options.servers.len() {
                let number = (turn + repetition) % options.servers.len();
                let spec = &options.servers[number];
                let samples = scenario.repeat_once(spec, options.times);
                samples.iter().for_each(|sample| progress(repetition, &spec.name, sample));
                report.add(number, samples);
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

fn progress(repetition: usize, server: &str, Sample { measure, value }: &Sample) {
    let result = match value {
        Value::Traffic(measured) => format!("{:.2} µs", measured.cpu_micros),
        Value::Memory(kilobytes) => format!("{kilobytes:.2} kB"),
        Value::Failed(reason) => format!("FAILED: {reason}"),
    };
    eprintln!("{:>2} {server:<10} {measure}: {result}", repetition + 1);
}
