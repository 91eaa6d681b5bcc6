//! The order in which everything is run: repetitions of scenarios against servers, in turn.

use std::process::ExitCode;

use crate::{
    generator::{Pace, Times},
    options::{self, Options, Usage},
    proc::open_files_limit,
    result::Result,
    server::Spec,
    table::{Sample, Table},
};

/// What is done with a server, once in each repetition.
pub trait Scenario {
    /// What one repetition measures.
    type Value;

    /// How it is called, for `--only` and `--list`.
    fn name(&self) -> String;

    /// How many clients connect.
    fn clients(&self) -> usize;

    /// Whether it is run for that server: no, where it would be the same as for another one.
    fn takes_part(&self, _server: &Spec) -> bool {
        true
    }

    /// Runs once against fresh processes of the server.
    fn repeat_once(&self, server: &Spec, times: Times) -> Vec<Sample<Self::Value>>;
}

/// A benchmark: its servers, its scenarios and its tables.
pub trait Benchmark {
    /// Its scenarios.
    type Scenario: Scenario<Value = Self::Value>;
    /// What one repetition measures.
    type Value;

    /// What the command line takes.
    const USAGE: Usage;

    /// The servers that are measured if none is named.
    fn usual_servers(quick: bool) -> &'static [&'static str];

    /// The server that is called so.
    ///
    /// # Errors
    /// If there is none.
    fn server(name: &str) -> Result<Spec>;

    /// All scenarios; with `quick` those, and of a size, that show whether they work.
    fn scenarios(quick: bool) -> Vec<Self::Scenario>;

    /// A value in a few words.
    fn in_short(value: &Self::Value) -> String;

    /// Everything that was measured, for a terminal.
    fn text(table: &Table<Self::Value>) -> String;

    /// The tables of `benches/README.md`.
    fn markdown(table: &Table<Self::Value>) -> String;
}

/// Runs a benchmark as the arguments want it. Fails if a run was void.
pub fn main<B: Benchmark>(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    match run::<B>(arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            eprintln!("{failures} runs failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything and returns how many runs were void.
fn run<B: Benchmark>(arguments: impl IntoIterator<Item = String>) -> Result<usize> {
    let Some(options) = Options::parse(arguments, &B::USAGE)? else {
        println!("{}", options::help(&B::USAGE));
        return Ok(0);
    };
    let mut scenarios = B::scenarios(options.quick);
    scenarios.retain(|scenario| options.wants(&scenario.name()));
    if scenarios.is_empty() {
        return Err("no scenario has that in its name, see --list".into());
    }
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{}", scenario.name()));
        return Ok(0);
    }
    let servers: Vec<Spec> = match options.servers.as_slice() {
        [] => {
            let names = B::usual_servers(options.quick);
            names.iter().map(|name| B::server(name)).collect::<Result<_>>()?
        }
        named => named.iter().map(|name| B::server(name)).collect::<Result<_>>()?,
    };
    check_limits(&scenarios)?;

    let mut table = Table::new(servers.iter().map(|server| server.name.clone()).collect());
    for repetition in 0..options.repetitions {
        for scenario in &scenarios {
            // Each repetition begins with another server, so that none is always the first.
            for turn in 0..servers.len() {
                let number = (turn + repetition) % servers.len();
                let server = &servers[number];
                if !scenario.takes_part(server) {
                    continue;
                }
                for sample in scenario.repeat_once(server, options.times) {
                    let result = match &sample.result {
                        Ok(value) => B::in_short(value),
                        Err(reason) => format!("FAILED: {reason}"),
                    };
                    let Spec { name, .. } = server;
                    eprintln!("{:>2} {name:<14} {}: {result}", repetition + 1, sample.measure);
                    table.add(number, sample);
                }
            }
        }
    }
    print!("{}", if options.markdown { B::markdown(&table) } else { B::text(&table) });
    Ok(table.failures())
}

/// Refuses to start what the limit of open files would end in the middle.
fn check_limits<S: Scenario>(scenarios: &[S]) -> Result<()> {
    let limit = open_files_limit()?;
    for scenario in scenarios {
        let needed = scenario.clients() + 100;
        if needed > limit {
            let name = scenario.name();
            let advice = format!("{name}: raise the limit of open files: ulimit -n {needed}");
            return Err(advice.into());
        }
    }
    Ok(())
}

/// Measures each pace, under the name beside it, with what `connect` gives.
pub fn each_pace<C, V>(
    paces: Vec<(String, Pace)>,
    connect: impl FnOnce() -> Result<C>,
    measure: impl Fn(&mut C, Pace) -> Result<V>,
) -> Vec<Sample<V>> {
    let mut connected = match connect() {
        Ok(connected) => connected,
        Err(error) => {
            let reason = error.to_string();
            let sample = |(measure, _)| Sample { measure, result: Err(reason.clone()) };
            return paces.into_iter().map(sample).collect();
        }
    };
    let mut samples = Vec::new();
    for (name, pace) in paces {
        let result = measure(&mut connected, pace).map_err(|error| error.to_string());
        let failed = result.is_err();
        samples.push(Sample { measure: name, result });
        if failed {
            // What is still under way would be taken for messages of the next pace.
            break;
        }
    }
    samples
}
