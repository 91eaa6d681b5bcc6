//! The command line.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Result,
    layout::{self, Scenario},
    process::{Program, Spec},
    run::Times,
};

pub(crate) const HELP: &str = "\
Measures what nodes of a cluster pay for a message; see benches/README.md.

  --only TEXT       scenarios whose name contains TEXT; may be repeated
  --peer NAME       what to measure; may be repeated. The ratios are to `sio` and `node`.
                    sio            socketioxide with socketioxide-redis
                    sio-thread     the same on a current-thread runtime (not a default)
                    node           socket.io with @socket.io/redis-adapter
                    node-sharded   the same, sharded
                    interest       Switchboard, classic format, a channel for each room
                    all            the same, one pattern for all rooms
                    sharded        Switchboard, sharded format, a channel for each room
                    NAME=PATH[,VARIABLE=VALUE]…  another build of bench_server
  --reps N          repetitions, 3 by default
  --seconds N       length of each measurement, 1.2 by default
  --markdown        print the tables as benches/README.md has them
  --quick           one short repetition of a part of the scenarios
  --list            print the names of the scenarios";

const DEFAULT: [&str; 6] = ["sio", "node", "node-sharded", "interest", "all", "sharded"];

/// What is measured.
pub(crate) struct Peer {
    pub(crate) spec: Spec,
    /// Whether the events of one sender must not overtake each other.
    pub(crate) keeps_order: bool,
}

impl Peer {
    /// One node is the same for either format, so the variants are left out there.
    pub(crate) fn takes_part(&self, scenario: &Scenario) -> bool {
        scenario.nodes > 1 || !matches!(self.spec.name.as_str(), "node-sharded" | "all")
    }
}

pub(crate) struct Options {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) repetitions: usize,
    pub(crate) times: Times,
    pub(crate) markdown: bool,
    pub(crate) list: bool,
}

impl Options {
    /// Reads the arguments; none if help was asked for.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut arguments = arguments;
        let (mut only, mut peers) = (Vec::new(), Vec::new());
        let (mut repetitions, mut seconds) = (None, None);
        let (mut markdown, mut list, mut quick) = (false, false, false);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--only" => only.push(value()?),
                "--peer" => peers.push(peer(&value()?)?),
                "--reps" => repetitions = Some(value()?.parse::<usize>()?.max(1)),
                "--seconds" => seconds = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
                "--markdown" => markdown = true,
                "--quick" => quick = true,
                "--list" => list = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unknown option {other}, see --help").into()),
            }
        }
        let mut scenarios = layout::all(quick);
        scenarios.retain(|scenario| {
            only.is_empty() || only.iter().any(|text| scenario.name().contains(text.as_str()))
        });
        if scenarios.is_empty() {
            return Err("no scenario has that in its name, see --list".into());
        }
        if peers.is_empty() {
            peers = DEFAULT.iter().map(|name| peer(name)).collect::<Result<_>>()?;
        }
        let measured = seconds.unwrap_or(Duration::from_millis(if quick { 500 } else { 1200 }));
        // V8 compiles in this time what it has seen to be called often.
        let warm_up = Duration::from_millis(if quick { 400 } else { 800 });
        Ok(Some(Self {
            scenarios,
            peers,
            repetitions: repetitions.unwrap_or(if quick { 1 } else { 3 }),
            times: Times { warm_up, measured },
            markdown,
            list,
        }))
    }
}

fn peer(name: &str) -> Result<Peer> {
    // The script puts the build directory here; Cargo's layout is the same everywhere.
    let examples =
        env::var_os("BENCH_SERVERS").map_or_else(|| "target/release".into(), PathBuf::from);
    let switchboard = examples.join("examples/bench_server");
    let own = env::current_exe()?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let sio = beside.join("socketioxide_redis");
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/server.mjs");
    let (path, variables): (PathBuf, Vec<(&str, &str)>) = match name {
        "sio" => (sio, vec![]),
        "sio-thread" => (sio, vec![("THREADS", "0")]),
        "node" => (node, vec![("PROTOCOL", "classic")]),
        "node-sharded" => (node, vec![("PROTOCOL", "sharded")]),
        "interest" => (switchboard, vec![("PROTOCOL", "classic"), ("SUBSCRIBE", "interest")]),
        "all" => (switchboard, vec![("PROTOCOL", "classic"), ("SUBSCRIBE", "all")]),
        "sharded" => (switchboard, vec![("PROTOCOL", "sharded"), ("SUBSCRIBE", "interest")]),
        other => {
            let (_, rest) = other.split_once('=').ok_or(format!("unknown peer {other}"))?;
            let mut parts = rest.split(',');
            let path = parts.next().unwrap_or_default();
            (path.into(), parts.filter_map(|part| part.split_once('=')).collect())
        }
    };
    if !path.exists() {
        return Err(format!("{} is not there; benches/cluster.sh builds it", path.display()).into());
    }
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let variables = variables.into_iter().map(own).collect();
    let short = name.split('=').next().unwrap_or(name).to_owned();
    let spec = Spec { name: short, program: Program::At(path), variables };
    Ok(Peer { spec, keeps_order: !name.starts_with("sio") })
}
