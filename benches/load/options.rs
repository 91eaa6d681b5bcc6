//! The command line.

use std::{env, path::PathBuf, time::Duration};

use crate::{
    Result,
    process::{Program, SERVE_FLOOR, SERVE_PLAIN, Spec},
    run::Times,
    scenario::{self, Scenario},
};

pub(crate) const HELP: &str = "\
Measures what servers pay for a message and for a connection; see benches/README.md.

  --only TEXT       scenarios whose name contains TEXT; may be repeated
  --server SPEC     a server to measure, the first one being what the others are compared with;
                    may be repeated. SPEC is `plain`, `floor`, `w0`, `w1`, `w2` (bench_server
                    with WORKERS set), or NAME=PATH[,VARIABLE=VALUE]…, PATH `self` being the plain
                    server. Default: plain floor w0 w1 w2
  --reps N          repetitions, 3 by default
  --seconds N       length of each measurement, 3 by default
  --markdown        print the table as benches/README.md has it
  --quick           a run of some seconds that shows whether everything works
  --list            print the names of the scenarios";

pub(crate) struct Options {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) servers: Vec<Spec>,
    pub(crate) repetitions: usize,
    pub(crate) times: Times,
    pub(crate) markdown: bool,
    pub(crate) list: bool,
}

impl Options {
    /// Reads the arguments; none if help was asked for.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut arguments = arguments;
        let (mut only, mut servers) = (Vec::new(), Vec::new());
        let (mut repetitions, mut seconds) = (None, None);
        let (mut markdown, mut list, mut quick) = (false, false, false);
        // Cargo gives `--bench` for `cargo bench`, and not when it only tests that benches work.
        let mut bench = false;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => bench = true,
                "--only" => only.push(value()?),
                "--server" => servers.push(server(&value()?)?),
                "--reps" => repetitions = Some(value()?.parse::<usize>()?.max(1)),
                "--seconds" => seconds = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
                "--markdown" => markdown = true,
                "--quick" => quick = true,
                "--list" => list = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unknown option {other}, see --help").into()),
            }
        }
        quick |= !bench;
        let mut scenarios = scenario::all(quick);
        scenarios.retain(|scenario| {
            only.is_empty() || only.iter().any(|text| scenario.name().contains(text.as_str()))
        });
        if scenarios.is_empty() {
            return Err("no scenario has that in its name, see --list".into());
        }
        if servers.is_empty() {
            let names: &[&str] = match quick {
                true => &["plain", "floor", "w0", "w2"],
                false => &["plain", "floor", "w0", "w1", "w2"],
            };
            servers = names.iter().map(|name| server(name)).collect::<Result<_>>()?;
        }
        let measured = seconds.unwrap_or(Duration::from_millis(if quick { 200 } else { 3000 }));
        let warm_up = Duration::from_millis(if quick { 50 } else { 500 });
        Ok(Some(Self {
            scenarios,
            servers,
            repetitions: repetitions.unwrap_or(if quick { 1 } else { 3 }),
            times: Times { warm_up, measured },
            markdown,
            list,
        }))
    }
}

fn server(spec: &str) -> Result<Spec> {
    if let Some(workers) = spec.strip_prefix('w').filter(|workers| workers.parse::<u8>().is_ok()) {
        return Ok(Spec {
            name: spec.to_owned(),
            program: Program::At(bench_server()?),
            variables: vec![("WORKERS".to_owned(), workers.to_owned())],
        });
    }
    let (name, rest) = spec.split_once('=').unwrap_or((spec, spec));
    let mut parts = rest.split(',');
    let program = match parts.next() {
        Some("plain" | "self") => Program::Own(SERVE_PLAIN),
        Some("floor") => Program::Own(SERVE_FLOOR),
        Some(path) if rest != spec => Program::At(path.into()),
        _ => return Err(format!("unknown server {spec}, see --help").into()),
    };
    let variable = |part: &str| {
        let (name, value) = part.split_once('=').ok_or(format!("{part} is not NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    let variables = parts.map(variable).collect::<Result<_>>()?;
    Ok(Spec { name: name.to_owned(), program, variables })
}

/// Cargo puts this program into `<profile>/deps` and the example into `<profile>/examples`.
fn bench_server() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let profile = own.parent().and_then(|deps| deps.parent()).ok_or("cannot find target")?;
    let path = profile.join("examples/bench_server");
    if !path.exists() {
        let advice = "bench_server is not built: cargo build --release --example bench_server";
        return Err(advice.into());
    }
    Ok(path)
}
