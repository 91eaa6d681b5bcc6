//! Tells whether a connection to Redis is alive and still of use.

use std::{collections::HashMap, time::Duration};

use redis::{ErrorKind, FromRedisValue as _, RedisError, RedisResult, Value, aio::ConnectionLike};
use tokio::time::timeout;

use super::target::RESPONSE_TIMEOUT;

/// With [`RESPONSE_TIMEOUT`] a Redis that hangs, or a wire that was cut without a word, is found
/// within 3 s.
const INTERVAL: Duration = Duration::from_secs(1);

/// What Redis says of itself. `HELLO` is the one question that every user may ask at any time,
/// while Redis loads its data or is busy with a script, too.
#[derive(Debug)]
pub(crate) struct Hello {
    /// `standalone`, `cluster` or `sentinel`.
    pub(crate) mode: String,
    role: String,
}

impl Hello {
    pub(crate) fn is_master(&self) -> bool {
        self.role == "master"
    }
}

/// Asks for it.
///
/// # Errors
/// If there is no answer in time, or one that is none.
pub(crate) async fn hello<C: ConnectionLike>(connection: &mut C) -> RedisResult<Hello> {
    let answer: HashMap<String, Value> = redis::cmd("HELLO").query_async(connection).await?;
    let text = |key: &str| {
        answer
            .get(key)
            .and_then(|value| String::from_redis_value_ref(value).ok())
            .unwrap_or_default()
    };
    Ok(Hello { mode: text("mode"), role: text("role") })
}

/// Asks again and again and ends with the reason once the connection is of no use any more.
///
/// `heard` counts what else has arrived on it: answers queue up behind a burst of frames, and a
/// connection that delivers is alive.
pub(crate) async fn until_dead<C: ConnectionLike>(
    mut connection: C,
    wants_master: bool,
    heard: impl Fn() -> u64,
) -> RedisError {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let before = heard();
        match timeout(RESPONSE_TIMEOUT, hello(&mut connection)).await {
            Ok(Ok(hello)) if wants_master && !hello.is_master() => return degraded(),
            Ok(Ok(_)) => {}
            Ok(Err(error)) if !error.is_timeout() => return error,
            _ if heard() != before => {}
            Ok(Err(error)) => return error,
            Err(_) => return silent(),
        }
    }
}

fn silent() -> RedisError {
    (ErrorKind::Io, "no answer in time").into()
}

fn degraded() -> RedisError {
    (ErrorKind::Client, "the node is not a master any more").into()
}
