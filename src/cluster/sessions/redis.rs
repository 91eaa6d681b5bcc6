//! Sessions in Redis. Each operation is one script, and so one step.

use std::{sync::LazyLock, time::Duration};

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult};
use tokio::time::timeout;

use super::{Put, Seen, Session, Sessions, Unreachable};
use crate::{
    future::BoxFuture,
    link::redis::{client::Redis, rights::Try, script::Script},
};

/// Largest record that is read, in bytes. A larger one counts as none.
const LARGEST: &str = "1048576";

/// The sessions in Redis.
#[derive(Debug)]
pub(crate) struct RedisSessions {
    redis: Redis,
    /// As `redis.session_prefix`.
    prefix: Box<str>,
    patience: Duration,
}

/// `KEYS`: the record and its companion. `ARGV`: what to do, and what that needs.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../sessions.lua")));

impl RedisSessions {
    pub(crate) fn new(redis: Redis, prefix: &str, patience: Duration) -> Self {
        Self { redis, prefix: prefix.into(), patience }
    }

    /// The commands on sessions, in forms that change nothing.
    pub(crate) fn tries(prefix: &str) -> Vec<Try> {
        let [record, companion] = keys(prefix, "rights");
        let mut tries = Vec::new();
        for key in [record, companion] {
            tries.push(Try::new("GET", &[&key]));
            tries.push(Try::new("DEL", &[&key]));
            // An expiry that no Redis takes.
            tries.push(Try::new("SET", &[&key, "", "PX", "0"]));
        }
        tries
    }

    async fn run<T: FromRedisValue>(&self, pid: &str, words: &[&[u8]]) -> Result<T, Unreachable> {
        let mut call = SCRIPT.call(&keys(&self.prefix, pid));
        words.iter().for_each(|word| _ = call.arg(*word));
        match timeout(self.patience, self.ask(&call)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a session cannot be read or written");
                Err(Unreachable)
            }
            Err(_) => Err(Unreachable),
        }
    }

    async fn ask<T: FromRedisValue>(&self, call: &Cmd) -> RedisResult<T> {
        let away = || RedisError::from((ErrorKind::Io, "there is no link"));
        let mut commands = self.redis.commands().ok_or_else(away)?;
        commands.run_script(&SCRIPT, call).await
    }
}

/// The key of a record, which is that of Node.js, and its companion. In a Redis Cluster both are in
/// one slot, since neither the prefix nor a `pid` holds a brace.
fn keys(prefix: &str, pid: &str) -> [String; 2] {
    let record = format!("{prefix}{pid}");
    let companion = format!("{{{record}}}:turn");
    [record, companion]
}

/// Whether this can be the secret of a session: of Node.js, or of ours. Anything else is not even
/// looked up.
fn is_pid(pid: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&pid.len()) && pid.bytes().all(is_plain)
}

fn millis(keep: Duration) -> String {
    keep.as_millis().max(1).to_string()
}

impl Sessions for RedisSessions {
    fn put(
        &self,
        session: &Session,
        turn: u64,
        keep: Duration,
    ) -> BoxFuture<'_, Result<Put, Unreachable>> {
        let (pid, record) = (session.pid.clone(), session.write());
        Box::pin(async move {
            let (turn, keep) = (turn.to_string(), millis(keep));
            let words = [b"put", turn.as_bytes(), keep.as_bytes(), record.as_bytes()];
            Ok(match self.run(&pid, &words).await? {
                true => Put::Written,
                false => Put::Overtaken,
            })
        })
    }

    fn look(&self, pid: &str) -> BoxFuture<'_, Result<Option<Seen>, Unreachable>> {
        let pid = pid.to_owned();
        Box::pin(async move {
            if !is_pid(&pid) {
                return Ok(None);
            }
            let words = [b"look".as_slice(), LARGEST.as_bytes()];
            let seen: Option<(Vec<u8>, String)> = self.run(&pid, &words).await?;
            Ok(seen.and_then(|(record, stamp)| {
                // It says itself whose it is.
                let session = Session::read(&record).filter(|session| session.pid == pid)?;
                Some(Seen { session, stamp })
            }))
        })
    }

    fn take(&self, seen: &Seen, keep: Duration) -> BoxFuture<'_, Result<Option<u64>, Unreachable>> {
        let (pid, stamp, keep) = (seen.session.pid.clone(), seen.stamp.clone(), millis(keep));
        Box::pin(async move {
            let words = [b"take", LARGEST.as_bytes(), keep.as_bytes(), stamp.as_bytes()];
            self.run(&pid, &words).await
        })
    }

    fn remove(&self, pid: &str, turn: u64) -> BoxFuture<'_, Result<(), Unreachable>> {
        let pid = pid.to_owned();
        Box::pin(async move {
            let turn = turn.to_string();
            self.run(&pid, &[b"remove", turn.as_bytes()]).await
        })
    }
}

#[cfg(test)]
mod tests;
