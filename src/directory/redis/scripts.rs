//! The Lua scripts, and how they are run.

use std::{sync::LazyLock, time::Duration};

use futures_util::future::join_all;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use crate::redis::commands::Commands;

/// How long an answer is waited for before Redis counts as away.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A script and the name under which Redis knows it.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }
}

/// Each works on the keys of one bucket, or on those of the nodes, and may be run twice.
pub(super) struct Scripts {
    pub(super) enter: Script,
    pub(super) leave: Script,
    pub(super) register: Script,
    pub(super) sweep: Script,
    pub(super) tick: Script,
    pub(super) page: Script,
    pub(super) beat: Script,
    pub(super) close: Script,
    pub(super) nodes: Script,
}

macro_rules! of_bucket {
    ($file:literal) => {
        Script::new(concat!(include_str!("prelude.lua"), include_str!($file)))
    };
}

pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    enter: of_bucket!("enter.lua"),
    leave: of_bucket!("leave.lua"),
    register: of_bucket!("register.lua"),
    sweep: of_bucket!("sweep.lua"),
    tick: of_bucket!("tick.lua"),
    page: of_bucket!("page.lua"),
    beat: Script::new(include_str!("beat.lua")),
    close: Script::new(include_str!("close.lua")),
    nodes: Script::new(include_str!("nodes.lua")),
});

impl Scripts {
    fn all(&self) -> [&Script; 9] {
        let Self { enter, leave, register, sweep, tick, page, beat, close, nodes } = self;
        [enter, leave, register, sweep, tick, page, beat, close, nodes]
    }
}

/// A call of a script; arguments are added to it.
pub(super) fn call(script: &Script, keys: &[String]) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(&script.hash).arg(keys.len()).arg(keys);
    command
}

/// Runs groups of commands, side by side. The commands of a group run in order and touch one slot
/// of a Redis Cluster. Answers for each command, in the same shape. Never waits much longer than
/// [`PATIENCE`].
pub(super) async fn run(
    commands: &Commands,
    groups: Vec<Vec<Cmd>>,
) -> Vec<Vec<RedisResult<Value>>> {
    let running = groups.into_iter().map(async |group| {
        let mut answers = in_order(commands, &group).await;
        let is_unknown = |answer: &RedisResult<Value>| {
            answer.as_ref().is_err_and(|error| error.kind() == NO_SCRIPT)
        };
        if let Some(first) = answers.iter().position(is_unknown) {
            load(commands).await;
            // All from there on once more, though some may have run: another node may have brought
            // the scripts in between, and a leave must not end up before its enter.
            let again = in_order(commands, &group[first..]).await;
            for (answer, again) in answers[first..].iter_mut().zip(again) {
                if answer.is_err() || again.is_err() {
                    *answer = again;
                }
            }
        }
        answers
    });
    join_all(running).await
}

const NO_SCRIPT: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);

async fn in_order(commands: &Commands, group: &[Cmd]) -> Vec<RedisResult<Value>> {
    let asked = tokio::time::timeout(PATIENCE, commands.run_in_order(group)).await;
    let failed = match asked {
        Ok(Ok(answers)) if answers.len() == group.len() => return answers,
        Ok(Ok(_)) => RedisError::from((ErrorKind::Parse, "too few answers")),
        Ok(Err(error)) => error,
        Err(_) => RedisError::from((ErrorKind::Io, "no answer in time")),
    };
    group.iter().map(|_| Err(failed.clone())).collect()
}

/// Runs one command.
pub(super) async fn run_one(commands: &Commands, command: Cmd) -> RedisResult<Value> {
    let answer = run(commands, vec![vec![command]]).await.pop().and_then(|mut group| group.pop());
    answer.unwrap_or_else(|| Err((ErrorKind::Parse, "no answer").into()))
}

/// Brings the scripts to Redis, in a Redis Cluster to every master. A failure shows when they run.
async fn load(commands: &Commands) {
    let loads = SCRIPTS.all().map(|script| {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(script.code);
        load
    });
    for load in loads {
        let mut commands = commands.clone();
        let _ = tokio::time::timeout(PATIENCE, commands.run::<Value>(&load)).await;
    }
}
