//! Frames that Redis cannot pass on.
//!
//! Redis closes a connection that listens when more waits for it than `client-output-buffer-limit
//! pubsub` allows. A frame above that limit closes the connection of every node that listens, and
//! arrives nowhere. So it is refused, where Redis tells the limit.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::{RedisResult, aio::MultiplexedConnection};
use tracing::warn;

use super::{
    Node,
    outgoing::{Fate, Flight},
    speaker::Speaker,
};

/// Smaller ones are not looked at: no sane limit is below.
const BIG: usize = 256 << 10;
/// A connection that is closed so soon after a big frame was closed because of it.
const SOON: Duration = Duration::from_secs(2);
/// At most one line in the log in so long.
const EVERY: Duration = Duration::from_secs(10);

/// What is known of big frames.
#[derive(Default)]
pub(super) struct BigFrames {
    last: Mutex<Option<Big>>,
    told: Mutex<Option<Instant>>,
}

/// One that was sent.
struct Big {
    size: usize,
    channel: Box<str>,
    sent: Instant,
    limit: Option<usize>,
}

impl BigFrames {
    /// Whether a line is due.
    fn tell(&self) -> bool {
        let mut told = self.told.lock();
        let due = told.is_none_or(|told| told.elapsed() >= EVERY);
        if due {
            *told = Some(Instant::now());
        }
        due
    }
}

/// Whether Redis tells its limits: until it has refused to.
pub(super) struct Tells(AtomicBool);

impl Default for Tells {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Node {
    /// Refuses the frames of a batch that no node could hear, and notes the last big one.
    ///
    /// # Errors
    /// If the connection is over.
    pub(super) async fn refuse_too_big(
        &self,
        flight: &mut Flight<'_>,
        speaker: &Speaker,
    ) -> RedisResult<()> {
        if flight.frames.iter().all(|frame| frame.payload.len() < BIG) {
            return Ok(());
        }
        // Asked each time: it may be changed while Redis runs, and big frames are rare.
        let limit = speaker.limit().await?;
        for (frame, fate) in flight.frames.iter().zip(&mut flight.fates) {
            let size = frame.payload.len();
            if size < BIG {
                continue;
            }
            if limit.is_some_and(|limit| size >= limit) {
                *fate = Fate::Refused;
                if self.big.tell() {
                    warn!(
                        size,
                        limit,
                        channel = &*frame.channel,
                        "a message is too big for Redis and reaches no other node: it is above \
                         client-output-buffer-limit pubsub"
                    );
                }
            } else {
                let (channel, sent) = (frame.channel.clone(), Instant::now());
                *self.big.last.lock() = Some(Big { size, channel, sent, limit });
            }
        }
        Ok(())
    }

    /// Redis has closed a connection that listens: because of a big frame of ours?
    pub(super) fn closed_after_big(&self) {
        let last = self.big.last.lock().take();
        let Some(Big { size, channel, limit, .. }) = last.filter(|big| big.sent.elapsed() < SOON)
        else {
            return;
        };
        if self.big.tell() {
            warn!(
                size,
                limit,
                channel = &*channel,
                "Redis closed the connection that listens right after a big message: probably \
                 client-output-buffer-limit pubsub is below its size, and no other node has it"
            );
        }
    }
}

impl Tells {
    /// The size at which Redis closes a connection that listens. None if there is no such limit, or
    /// Redis does not tell.
    ///
    /// # Errors
    /// If the connection is over.
    pub(super) async fn ask(
        &self,
        mut connection: MultiplexedConnection,
    ) -> RedisResult<Option<usize>> {
        if !self.0.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut question = redis::cmd("CONFIG");
        question.arg("GET").arg("client-output-buffer-limit");
        let answer: RedisResult<HashMap<String, String>> =
            question.query_async(&mut connection).await;
        match answer {
            Ok(answer) => Ok(answer.values().find_map(|limits| hard_limit(limits))),
            Err(error) if error.is_io_error() || error.is_connection_dropped() => Err(error),
            Err(_) => {
                self.0.store(false, Ordering::Relaxed);
                Ok(None)
            }
        }
    }
}

/// Of the class `pubsub` in `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`.
fn hard_limit(limits: &str) -> Option<usize> {
    let mut words = limits.split_whitespace();
    words.by_ref().find(|word| *word == "pubsub")?;
    words.next()?.parse().ok().filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_that_of_pubsub_and_none_without_one() {
        let limits = |pubsub| format!("normal 1 0 0 slave 268435456 67108864 60 pubsub {pubsub}");
        assert_eq!(hard_limit(&limits("33554432 8388608 60")), Some(32 << 20));
        assert_eq!(hard_limit(&limits("0 8388608 60")), None);
        assert_eq!(hard_limit("normal 1 0 0"), None);
    }
}
