//! The Lua scripts, and how they are run.

use std::{sync::LazyLock, time::Duration};

use futures_util::future::join_all;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};
use tokio::time::timeout;

use super::keys::Keys;
use crate::link::redis::{
    commands::Commands,
    rights::Try,
    script::{Script, is_unknown},
};

/// Each works on the keys of one bucket, or on those of the nodes, and may be run twice.
pub(super) struct Scripts {
    pub(super) enter: Script,
    pub(super) leave: Script,
    pub(super) register: Script,
    pub(super) sweep: Script,
    pub(super) tick: Script,
    pub(super) page: Script,
    pub(super) online: Script,
    pub(super) sockets: Script,
    pub(super) retell: Script,
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
    online: of_bucket!("online.lua"),
    sockets: of_bucket!("sockets.lua"),
    retell: of_bucket!("retell.lua"),
    beat: Script::new(include_str!("beat.lua")),
    close: Script::new(include_str!("close.lua")),
    nodes: Script::new(include_str!("nodes.lua")),
});

impl Scripts {
    fn all(&self) -> [&Script; 12] {
        let Self { enter, leave, register, sweep, tick, page, online, .. } = self;
        let Self { sockets, retell, beat, close, nodes, .. } = self;
        [enter, leave, register, sweep, tick, page, online, sockets, retell, beat, close, nodes]
    }
}

/// A connection, and the longest wait for an answer on it.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) commands: Commands,
    pub(super) patience: Duration,
}

impl Access {
    /// Runs groups of commands, side by side; see [`run_group`](Self::run_group).
    pub(super) async fn run(&self, groups: Vec<Vec<Cmd>>) -> Vec<Vec<RedisResult<Value>>> {
        join_all(groups.into_iter().map(|group| self.run_group(group))).await
    }

    /// Runs commands in order, in one round trip. They touch one slot of a Redis Cluster. Returns
    /// an answer for each.
    pub(super) async fn run_group(&self, group: Vec<Cmd>) -> Vec<RedisResult<Value>> {
        let mut answers = self.in_order(&group).await;
        let is_of_unknown = |answer: &RedisResult<Value>| answer.as_ref().is_err_and(is_unknown);
        if let Some(first) = answers.iter().position(is_of_unknown) {
            self.load().await;
            // All from there on run once more, though some may have run: another node may have
            // loaded the scripts in between, and a leave must not come before its enter.
            let again = self.in_order(&group[first..]).await;
            for (answer, again) in answers[first..].iter_mut().zip(again) {
                if answer.is_err() || again.is_err() {
                    *answer = again;
                }
            }
        }
        answers
    }

    async fn in_order(&self, group: &[Cmd]) -> Vec<RedisResult<Value>> {
        let asked = timeout(self.patience, self.commands.run_in_order(group)).await;
        let failed = match asked {
            Ok(Ok(answers)) if answers.len() == group.len() => return answers,
            Ok(Ok(_)) => RedisError::from((ErrorKind::Parse, "too few answers")),
            Ok(Err(error)) => error,
            Err(_) => RedisError::from((ErrorKind::Io, "no answer in time")),
        };
        group.iter().map(|_| Err(failed.clone())).collect()
    }

    /// Runs one command.
    pub(super) async fn run_one(&self, command: Cmd) -> RedisResult<Value> {
        let answer = self.run_group(vec![command]).await.pop();
        answer.unwrap_or_else(|| Err((ErrorKind::Parse, "no answer").into()))
    }

    /// Loads the scripts into Redis; in a Redis Cluster, into every master. A failure shows when
    /// they run.
    async fn load(&self) {
        let loads = SCRIPTS.all().map(Script::load);
        let loading = loads.iter().map(|load| {
            let mut commands = self.commands.clone();
            async move { commands.run::<Value>(load).await }
        });
        let _ = timeout(self.patience, join_all(loading)).await;
    }
}

/// All commands of the directory, in forms that change nothing.
pub(crate) fn tries(prefix: &str) -> Vec<Try> {
    let keys = Keys::new(prefix);
    let ([sockets, leaving], [alive, dying]) = (keys.bucket(0), keys.nodes());
    // A key of its own, for commands that have no such form on the real keys. It is a set for a
    // moment, so a command for another type fails for that reason if it is allowed.
    let probe = keys.probe();
    vec![
        Try::new("SCRIPT|LOAD", &[SCRIPTS.nodes.code()]),
        Try::new("EVALSHA", &[SCRIPTS.nodes.hash(), "1", alive]),
        Try::new("TIME", &[]),
        Try::new("ZADD", &[sockets, "XX", "0", "rights"]),
        Try::new("ZREM", &[leaving, "rights"]),
        Try::new("ZSCORE", &[sockets, "rights"]),
        Try::new("ZRANGE", &[leaving, "0", "0"]),
        Try::new("ZRANGEBYSCORE", &[leaving, "0", "0", "LIMIT", "0", "1"]),
        Try::new("ZRANGEBYLEX", &[sockets, "-", "+", "LIMIT", "0", "1"]),
        Try::new("ZLEXCOUNT", &[sockets, "-", "-"]),
        Try::new("SADD", &[probe, "x"]),
        Try::new("PEXPIRE", &[probe, "1000"]),
        Try::new("PERSIST", &[leaving]),
        Try::new("HSET", &[probe, "x", "x"]),
        Try::new("HDEL", &[alive, "rights"]),
        Try::new("HEXISTS", &[alive, "rights"]),
        Try::new("HGETALL", &[probe]),
        Try::new("HKEYS", &[probe]),
        Try::new("SMEMBERS", &[dying]),
        Try::new("SREM", &[probe, "x"]),
    ]
}

/// A time as the scripts take it.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
