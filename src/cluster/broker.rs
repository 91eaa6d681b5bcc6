//! The seam that carries bytes between nodes.

pub(crate) mod memory;
pub(crate) mod redis;

mod ears;
pub(crate) mod lapses;
#[cfg(test)]
mod suite;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use self::lapses::Lapses;
use crate::{
    future::BoxFuture,
    link::{LinkError, state::Link},
    telemetry::durations::Durations,
};

/// The name of a channel, as it stands in Redis.
pub(crate) type Channel = Arc<str>;

/// What is listened to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    /// One channel.
    Channel(Channel),
    /// Every channel whose name starts so. Only brokers without shards can.
    Prefix(Channel),
}

impl Topic {
    /// The channel, or the start of its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Channel(name) | Self::Prefix(name) => name,
        }
    }
}

/// Gets each frame that others published, and one's own, on one task, in order.
pub(crate) type Inbound = Arc<dyn Fn(&str, &Bytes) + Send + Sync>;

/// The link is down, or Redis does not answer; so the others were not asked, or not all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other nodes cannot be reached: the link is down, or Redis does not do its part")]
pub(crate) struct Disconnected;

/// What a broker had published at some moment. See [`Broker::taken`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Mark(Vec<(u64, u64)>);

/// What a broker has done since it was made, and what is waiting in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BrokerCounts {
    /// Frames that are on their way to the others.
    pub(crate) published: u64,
    /// How many connections Redis gave them to; none where it does not tell.
    pub(crate) delivered: Option<u64>,
    /// Frames of which it is not known whether they went out, or that were refused.
    pub(crate) publish_errors: u64,
    /// Frames dropped because the link was down, for too long or for too many of them.
    pub(crate) dropped_down: u64,
    /// Frames dropped because a link lagged behind.
    pub(crate) dropped_full: u64,
    /// Frames heard, one's own among them.
    pub(crate) received: u64,
    /// How often the link was mended.
    pub(crate) reconnects: u64,
    /// Frames that wait to be sent.
    pub(crate) queued: usize,
    /// The bytes of those.
    pub(crate) queued_bytes: usize,
}

impl BrokerCounts {
    /// Frames that were published and did not, or may not have, reached the others.
    pub(crate) fn lost(&self) -> u64 {
        self.dropped_down + self.dropped_full + self.publish_errors
    }
}

/// Carries opaque frames between nodes. Never decodes them.
///
/// At most once. Frames that one node publishes arrive at each node in the order of the calls, or
/// not at all (on a sharded broker: in order within a channel). A node hears itself.
///
/// While the link is down frames wait, for a while and up to a size; the oldest of too many are
/// dropped and counted. A frame that was sent without an answer may have arrived, and is not sent
/// again. What may have been lost is told by [`lapses`](Self::lapses).
///
/// A name that is listened to both as a channel and by a prefix may be heard twice; do one of them.
pub(crate) trait Broker: fmt::Debug + Send + Sync + 'static {
    /// Makes the link and keeps it from then on: lost, it is mended with a growing, random pause,
    /// and every topic is listened to again. With `wait` a first failure is mended, too.
    ///
    /// # Errors
    /// If the link cannot be made at first.
    fn start(&self, inbound: Inbound, wait: bool) -> BoxFuture<'_, Result<(), LinkError>>;

    /// Sends a frame. Never blocks.
    fn publish(&self, channel: &str, frame: Bytes);

    /// The present; for [`taken`](Self::taken).
    fn mark(&self) -> Mark;

    /// Ends when every frame that was published since has been taken, or one of them is lost and
    /// counted. A frame that waits for a link is not taken. What travels on other ways, to other
    /// shards, is not waited for.
    ///
    /// # Errors
    /// If one was lost. Which of them is not known: it may be one of somebody else.
    fn taken(&self, since: Mark) -> BoxFuture<'_, Result<(), Disconnected>>;

    /// Listens to a topic, or no more. Before the start this is only noted. Calls count: a topic
    /// that was listened to twice is to be left twice.
    fn listen(&self, topic: Topic);
    fn unlisten(&self, topic: &Topic);

    /// Ends when every [`listen`](Self::listen) to these topics before it is in force, or waits for a
    /// link that is down.
    fn settled(&self, topics: &[Topic]) -> BoxFuture<'_, ()>;

    /// How many nodes listen to each of these channels by name.
    fn listeners(&self, channels: Vec<Channel>) -> BoxFuture<'_, Result<Vec<usize>, Disconnected>>;

    /// The state of the link, now and from now on.
    fn link(&self) -> watch::Receiver<Link>;

    /// What may have been lost on the way, told once.
    fn lapses(&self) -> &Lapses;

    /// Why the link is down, if that is known; none while it is up.
    fn reason(&self) -> Option<String> {
        None
    }

    /// What it has done so far; for metrics.
    fn counts(&self) -> BrokerCounts;

    /// How long each published frame waited, from the call until it was confirmed; none where
    /// nothing is confirmed.
    fn waits(&self) -> Option<Arc<Durations>> {
        None
    }

    /// Sends what was published before and ends the link; for a node that leaves.
    fn stop(&self) -> BoxFuture<'_, ()>;
}
