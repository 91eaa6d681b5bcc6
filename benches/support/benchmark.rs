//! The order in which everything is run: repetitions of scenarios against servers, in turn.

use std::process::ExitCode;

use crate::{
    generator::{Pace, Times},
    options::{self, Options, Usage},
    proc::open_files_limit,
    report,
    result::Result,
    server::Spec,
    table::{Figures, Sample, Table, Void},
};

/// What is done with a server, once in each repetition.
pub trait Scenario {
    /// How it is called, for `--only` and `--list`.
    fn name(&self) -> String;

    /// How many clients connect.
    fn clients(&self) -> usize;

    /// Whether it is run for that server: no, where it would be the same as for another one.
    fn takes_part(&self, _server: &Spec) -> bool {
        true
    }

    /// Whether Node.js is what it is compared with. A quick run leaves it out elsewhere.
    fn needs_node(&self) -> bool {
        false
    }

    /// Runs once against fresh processes of the server.
    fn repeat_once(&self, server: &Spec, times: Times) -> Vec<Sample>;
}

/// Runs a benchmark as the arguments want it. Fails if a server failed, or nothing is left to compare.
pub fn main(
    usage: &Usage,
    arguments: impl IntoIterator<Item = String>,
    scenarios: &dyn Fn(bool) -> Vec<Box<dyn Scenario>>,
) -> ExitCode {
    match run(usage, arguments, scenarios) {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(failures) => {
            failures.iter().for_each(|failure| eprintln!("{failure}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything and returns what failed.
fn run(
    usage: &Usage,
    arguments: impl IntoIterator<Item = String>,
    scenarios: &dyn Fn(bool) -> Vec<Box<dyn Scenario>>,
) -> Result<Vec<String>> {
    let Some(options) = Options::parse(arguments, usage)? else {
        println!("{}", options::help(usage));
        return Ok(Vec::new());
    };
    let mut scenarios = scenarios(options.quick);
    scenarios.retain(|scenario| options.wants(&scenario.name()));
    if scenarios.is_empty() {
        return Err("no scenario has that in its name, see --list".into());
    }
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{}", scenario.name()));
        return Ok(Vec::new());
    }
    let servers =
        options.servers.iter().map(|name| Spec::named(name)).collect::<Result<Vec<_>>>()?;
    check_limits(&scenarios)?;

    let mut table = Table::new(servers.iter().map(|server| server.name.clone()).collect());
    for repetition in 0..options.repetitions {
        for scenario in &scenarios {
            // Each repetition begins with another server, so that none is always the first.
            for turn in 0..servers.len() {
                let number = (turn + repetition) % servers.len();
                let server = &servers[number];
                let left_out = options.quick && !options.named && server.name == "node";
                if !scenario.takes_part(server) || (left_out && !scenario.needs_node()) {
                    continue;
                }
                for sample in scenario.repeat_once(server, options.times) {
                    let result = match &sample.result {
                        Ok(Figures { cost, unit, .. }) => format!("{cost:.2} {unit}"),
                        Err(void) => void.to_string(),
                    };
                    let Spec { name, .. } = server;
                    eprintln!("{:>2} {name:<14} {}: {result}", repetition + 1, sample.measure);
                    table.add(number, sample);
                }
            }
        }
    }
    print!("{}", if options.markdown { report::markdown(&table) } else { report::text(&table) });
    Ok(table.failures())
}

/// Refuses to start what the limit of open files would end in the middle.
fn check_limits(scenarios: &[Box<dyn Scenario>]) -> Result<()> {
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

/// The paces of a scenario, each with its name: first the usual number of messages in flight.
#[must_use]
pub fn paces(scenario: &str, closed: &[usize], open: u32) -> Vec<(String, Pace)> {
    let closed = closed.iter().enumerate().map(|(number, in_flight)| {
        let few = if number == 0 { String::new() } else { format!(", {in_flight} in flight") };
        (format!("{scenario}, closed{few}"), Pace::Closed(*in_flight))
    });
    closed.chain([(format!("{scenario}, open"), Pace::Open(open))]).collect()
}

/// Measures each pace, under the name beside it, with what `connect` gives.
pub fn each_pace<C>(
    paces: Vec<(String, Pace)>,
    connect: impl FnOnce() -> Result<C>,
    measure: impl Fn(&mut C, Pace) -> Result<Figures, Void>,
) -> Vec<Sample> {
    let mut connected = connect().map_err(Void::from);
    let mut samples = Vec::new();
    for (name, pace) in paces {
        let result = match &mut connected {
            Ok(connected) => measure(connected, pace),
            Err(void) => Err(void.clone()),
        };
        if let Err(void @ Void::Failed(_)) = &result {
            // What is still under way would be taken for messages of the next pace.
            connected = Err(void.clone());
        }
        samples.push(Sample { measure: name, result });
    }
    samples
}
