//! What is measured: a program, the environment it gets, and what it promises.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{process::Listening, result::Result};

/// The lines of the help that explain `--server`.
pub const HELP: &str = "  \
  --server NAME     what to measure; may be repeated. The ratios are to `floor`, `plain` and `node`.
                    floor          tokio and tungstenite, no more than a delivery needs
                    bare           the same, past tungstenite on the way out
                    plain          socketioxide with mimalloc, in a cluster socketioxide-redis
                    plain-thread   the same on a current-thread runtime
                    node           Node.js, in a cluster with @socket.io/redis-adapter
                    node-sharded   the same with its sharded adapter
                    node-streams   the same with its streams adapter
                    node-recovery  node, and clients that were cut off get their sessions back
                    w0, w1, w2     bench_server with that many worker threads
                    all            w0, one pattern for all rooms instead of a channel for each
                    sharded        w0, sharded format instead of the classic one
                    streams        w0, streams format instead of the classic one
                    recovery       w0, and clients that were cut off get their sessions back
                    NAME=PATH[,VARIABLE=VALUE]…  another server that takes its port from PORT";

/// A server to measure. It takes its port from the variable `PORT`.
#[derive(Clone, Debug)]
pub struct Spec {
    /// How the tables call it.
    pub name: String,
    /// What is started.
    pub program: PathBuf,
    /// What its environment has beside this program's own.
    pub variables: Vec<(String, String)>,
    /// Whether the events of one sender must not overtake each other.
    pub keeps_order: bool,
    /// Whether it knows HTTP long-polling.
    pub polls: bool,
    /// Whether clients that were cut off get their sessions back.
    pub recovers: bool,
}

impl Spec {
    /// The server of that name, or what `NAME=PATH[,VARIABLE=VALUE]…` says.
    ///
    /// # Errors
    /// If there is none, or it is not built.
    pub fn named(name: &str) -> Result<Self> {
        let own = |program: &str| env::current_exe().map(|path| path.with_file_name(program));
        let (program, variables): (_, &[_]) = match name {
            "floor" => (own("floor")?, &[]),
            "bare" => (own("floor")?, &[("WRITES", "bare")]),
            "plain" => (own("plain")?, &[]),
            "plain-thread" => (own("plain")?, &[("THREADS", "0")]),
            "node" => (node(), &[("PROTOCOL", "classic")]),
            "node-sharded" => (node(), &[("PROTOCOL", "sharded")]),
            "node-streams" => (node(), &[("PROTOCOL", "streams")]),
            "node-recovery" => (node(), &[("RECOVERY", "1")]),
            "w0" => (switchboard(), &[("WORKERS", "0")]),
            "w1" => (switchboard(), &[("WORKERS", "1")]),
            "w2" => (switchboard(), &[("WORKERS", "2")]),
            "all" => (switchboard(), &[("SUBSCRIBE", "all")]),
            "sharded" => (switchboard(), &[("PROTOCOL", "sharded")]),
            "streams" => (switchboard(), &[("PROTOCOL", "streams")]),
            "recovery" => (switchboard(), &[("RECOVERY", "1")]),
            other => return Self::parse(other),
        };
        Self::new(name, program, variables.iter().copied())
    }

    fn new<'a>(
        name: &str,
        program: PathBuf,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        if !program.exists() {
            let path = program.display();
            return Err(format!("{path} is not there; the scripts in benches/ build all").into());
        }
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let variables: Vec<_> = variables.into_iter().map(own).collect();
        Ok(Self {
            name: name.to_owned(),
            program,
            recovers: variables.iter().any(|(name, _)| name == "RECOVERY"),
            variables,
            // socketioxide runs each handler as a task of its own.
            keeps_order: !name.starts_with("plain"),
            polls: !matches!(name, "floor" | "bare"),
        })
    }

    fn parse(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once('=').ok_or(format!("unknown {text}, see --help"))?;
        let mut parts = rest.split(',');
        let path = parts.next().unwrap_or_default();
        let variable = |part| {
            str::split_once(part, '=').ok_or_else(|| format!("{part} is not VARIABLE=VALUE"))
        };
        let variables = parts.map(variable).collect::<Result<Vec<_>, _>>()?;
        Self::new(name, path.into(), variables)
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// # Errors
    /// See [`Listening::start`].
    pub fn start(&self) -> Result<Listening> {
        Listening::start(&self.name, |address| {
            let mut command = Command::new(&self.program);
            command.env("PORT", address.port().to_string()).envs(self.variables.iter().cloned());
            command
        })
    }
}

/// The script says where it has put what it built; Cargo's layout is the same everywhere.
fn switchboard() -> PathBuf {
    let built = env::var_os("BENCH_SERVERS").map_or_else(|| "target/release".into(), PathBuf::from);
    built.join("examples/bench_server")
}

fn node() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node/server.mjs")
}
