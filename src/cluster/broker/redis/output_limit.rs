//! The size at which Redis closes a listening connection: `client-output-buffer-limit pubsub`.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use redis::{RedisResult, aio::MultiplexedConnection};

use crate::link::redis::refusal::is_of_connection;

/// The limit, as far as Redis tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Bytes(usize),
    None,
    /// Redis does not tell.
    Unknown,
}

/// Whether Redis tells its limits. True until it has refused to.
pub(super) struct Tells(AtomicBool);

impl Default for Tells {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Tells {
    /// Asks for the limit.
    ///
    /// # Errors
    /// If the connection has ended.
    pub(super) async fn ask(&self, mut connection: MultiplexedConnection) -> RedisResult<Limit> {
        if !self.0.load(Ordering::Relaxed) {
            return Ok(Limit::Unknown);
        }
        let mut question = redis::cmd("CONFIG");
        question.arg("GET").arg("client-output-buffer-limit");
        let answer: RedisResult<HashMap<String, String>> =
            question.query_async(&mut connection).await;
        match answer {
            Ok(answer) => Ok(answer.values().next().map_or(Limit::Unknown, |all| hard_limit(all))),
            Err(error) if is_of_connection(&error) => Err(error),
            Err(_) => {
                self.0.store(false, Ordering::Relaxed);
                Ok(Limit::Unknown)
            }
        }
    }
}

/// The limit of the class `pubsub` in `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432
/// 8388608 60`.
fn hard_limit(limits: &str) -> Limit {
    let mut words = limits.split_whitespace().skip_while(|word| *word != "pubsub").skip(1);
    match words.next().and_then(|word| word.parse().ok()) {
        Some(0) => Limit::None,
        Some(limit) => Limit::Bytes(limit),
        None => Limit::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_that_of_pubsub() {
        let limits = |pubsub| format!("normal 1 0 0 slave 268435456 67108864 60 pubsub {pubsub}");
        assert_eq!(hard_limit(&limits("33554432 8388608 60")), Limit::Bytes(32 << 20));
        assert_eq!(hard_limit(&limits("0 8388608 60")), Limit::None);
        assert_eq!(hard_limit("normal 1 0 0"), Limit::Unknown);
    }
}
