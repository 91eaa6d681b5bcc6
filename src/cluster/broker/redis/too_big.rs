//! Frames that Redis cannot pass on.
//!
//! Redis closes a listening connection when more waits for it than `client-output-buffer-limit
//! pubsub` allows. A frame above that limit closes the connection of every listening node, and
//! arrives nowhere. So it is refused, where Redis tells the limit.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::RedisResult;
use tracing::warn;

use super::{
    Node,
    outgoing::{Fate, Flight, Frame},
    output_limit::Limit,
    speaker::Speaker,
};
use crate::rate::LastLine;

/// A connection that closes this soon after a big frame was closed because of it.
const SOON: Duration = Duration::from_secs(2);
/// The pause after a big frame where the limit is not known. A node that was closed because of it
/// needs a moment to come back.
const REST: Duration = Duration::from_millis(25);

/// The knowledge about big frames.
#[derive(Default)]
pub(super) struct BigFrames {
    last: Mutex<Option<Big>>,
    told: LastLine,
}

/// A big frame that was sent.
struct Big {
    size: usize,
    channel: Box<str>,
    sent: Instant,
    limit: Limit,
}

impl Node {
    /// Refuses a big frame that no node could hear, and notes one that perhaps cannot be heard.
    /// Such a frame comes alone.
    ///
    /// # Errors
    /// If the connection has ended.
    pub(super) async fn refuse_too_big(
        &self,
        flight: &mut Flight<'_>,
        speaker: &Speaker,
    ) -> RedisResult<()> {
        let Some(frame) = flight.frames.first().filter(|frame| frame.is_big()) else {
            return Ok(());
        };
        let size = frame.payload.len();
        // Asked each time: the limit may change while Redis runs, and big frames are rare.
        let limit = speaker.limit().await?;
        if let Limit::Bytes(limit) = limit
            && size >= limit
        {
            if self.big.told.is_due(tokio::time::Instant::now()) {
                warn!(
                    size,
                    limit,
                    channel = &*frame.channel,
                    "a message is too big for Redis and reaches no other node: it is above \
                     client-output-buffer-limit pubsub"
                );
            }
            flight.fates.fill(Fate::TooBig);
            return Ok(());
        }
        let (channel, sent) = (frame.channel.clone(), Instant::now());
        *self.big.last.lock() = Some(Big { size, channel, sent, limit });
        Ok(())
    }

    /// Pauses the lane if its last frame may have been too big.
    pub(super) fn rest_after_big(&self, lane: usize, flight: &Flight<'_>) {
        let is_big = flight.frames.first().is_some_and(Frame::is_big);
        let last = || self.big.last.lock().as_ref().map(|big| big.limit);
        if is_big && last() == Some(Limit::Unknown) {
            self.outgoing.hold_back(lane, REST);
        }
    }

    /// Redis has closed a listening connection. Logs it if a big frame of ours may be the cause.
    pub(super) fn closed_after_big(&self) {
        let last = self.big.last.lock().take();
        let Some(Big { size, channel, limit, .. }) = last.filter(|big| big.sent.elapsed() < SOON)
        else {
            return;
        };
        if self.big.told.is_due(tokio::time::Instant::now()) {
            let limit = match limit {
                Limit::Bytes(limit) => Some(limit),
                Limit::None | Limit::Unknown => None,
            };
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
