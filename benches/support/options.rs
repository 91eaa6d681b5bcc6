//! The command line.

use std::time::Duration;

use crate::{generator::Times, result::Result, server};

/// What a benchmark says of its own options.
pub struct Usage {
    /// What it measures, in a sentence.
    pub about: &'static str,
    /// The servers that are measured if none is named.
    pub servers: &'static [&'static str],
    /// How long is measured.
    pub times: Times,
    /// The times with `--quick`.
    pub quick_times: Times,
}

/// What was asked for.
pub struct Options {
    /// What the names of scenarios must contain, one of them; none means all scenarios.
    pub only: Vec<String>,
    /// The servers to measure.
    pub servers: Vec<String>,
    /// Whether they were named.
    pub named: bool,
    /// How often everything is run.
    pub repetitions: usize,
    /// How long is measured.
    pub times: Times,
    /// Whether the tables are printed as `benches/README.md` has them.
    pub markdown: bool,
    /// Whether it is enough to see that everything works.
    pub quick: bool,
    /// Whether only the names of the scenarios are printed.
    pub list: bool,
}

impl Options {
    /// Reads the arguments; none if help was asked for.
    ///
    /// # Errors
    /// If an argument is unknown or has no proper value.
    pub fn parse(
        arguments: impl IntoIterator<Item = String>,
        usage: &Usage,
    ) -> Result<Option<Self>> {
        let mut arguments = arguments.into_iter();
        let (mut only, mut servers) = (Vec::new(), Vec::new());
        let (mut repetitions, mut seconds) = (None, None);
        let (mut markdown, mut list, mut quick) = (false, false, false);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--only" => only.push(value()?),
                "--server" => servers.push(value()?),
                "--reps" => repetitions = Some(value()?.parse::<usize>()?.max(1)),
                "--seconds" => seconds = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
                "--markdown" => markdown = true,
                "--quick" => quick = true,
                "--list" => list = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unknown option {other}, see --help").into()),
            }
        }
        let named = !servers.is_empty();
        if !named {
            servers.extend(usage.servers.iter().map(|name| (*name).to_owned()));
        }
        let mut times = if quick { usage.quick_times } else { usage.times };
        times.measured = seconds.unwrap_or(times.measured);
        let repetitions = repetitions.unwrap_or(if quick { 1 } else { 3 });
        Ok(Some(Self { only, servers, named, repetitions, times, markdown, quick, list }))
    }

    /// Whether the scenario of that name is asked for.
    #[must_use]
    pub fn wants(&self, scenario: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| scenario.contains(text.as_str()))
    }
}

/// What `--help` prints.
#[must_use]
pub fn help(usage: &Usage) -> String {
    let Usage { about, servers: usual, times, .. } = usage;
    let (servers, usual) = (server::HELP, usual.join(", "));
    format!(
        "\
{about}; see benches/README.md.

  --only TEXT       scenarios whose name contains TEXT; may be repeated
{servers}
                    Default: {usual}; with --quick, node only where it is what counts
  --reps N          repetitions, 3 by default
  --seconds N       length of each measurement, {} by default
  --markdown        print the tables as benches/README.md has them
  --quick           one short repetition of everything, less than five minutes
  --list            print the names of the scenarios",
        times.measured.as_secs_f64()
    )
}
