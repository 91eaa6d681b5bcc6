//! The seam that carries bytes between nodes: what the node needs of it, and what a program may bring.

pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;

mod brought;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod dispatcher;
pub(crate) mod lapses;
mod seam;
#[cfg(test)]
mod suite;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

pub(crate) use self::brought::Brought;
use self::lapses::Lapses;
pub use self::seam::{Broker, BrokerError, Receiver};
use super::log::{Entry, EntryId, NewEntry, Returned};
use crate::{
    future::BoxFuture,
    link::{Link, LinkError},
    telemetry::durations::Durations,
};

/// The name of a channel, as it stands in Redis.
pub(crate) type Channel = Arc<str>;

/// A channel, or several, to listen to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    /// One channel.
    Channel(Channel),
    /// All channels whose names start so. Sharded brokers cannot do this.
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

/// Takes what comes from the other nodes, one after the other, in order.
pub(crate) trait Receive: Send + Sync {
    /// A frame of another node, or one's own.
    fn frame(&self, channel: &str, frame: &Bytes);

    /// An entry of the log, by another node.
    fn entry(&self, entry: &Entry);
}

/// For tests and for emitters: the log is not looked at.
impl<F: Fn(&str, &Bytes) + Send + Sync> Receive for F {
    fn frame(&self, channel: &str, frame: &Bytes) {
        self(channel, frame);
    }

    fn entry(&self, _: &Entry) {}
}

pub(crate) type Inbound = Arc<dyn Receive>;

/// The link is down, or what carries the frames does not answer. So none or not all of the other
/// nodes were asked, or reached.
///
/// ```
/// use switchboard::cluster::Disconnected;
/// use tokio::sync::oneshot;
///
/// /// Waits for the word of the connection's task, which is gone if the connection is.
/// async fn confirmed(taken: oneshot::Receiver<()>) -> Result<(), Disconnected> {
///     taken.await.map_err(|_| Disconnected)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other nodes cannot be reached: the link is down, or Redis does not do its part")]
pub struct Disconnected;

/// The frames that a broker had published at some moment. See [`Carrier::taken`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Mark {
    /// For each lane the numbers of frames that were published and that were lost.
    lanes: Vec<(u64, u64)>,
    /// The same for each stream.
    streams: Vec<(u64, u64)>,
}

/// The counts of a broker since it was made, and its present queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BrokerCounts {
    /// Frames that were published.
    pub(crate) published: u64,
    /// The number of connections that Redis gave them to. `None` where Redis does not tell.
    pub(crate) delivered: Option<u64>,
    /// Frames that were refused, or may not have gone out.
    pub(crate) publish_errors: u64,
    /// Frames dropped because the link was down for too long, or too many waited.
    pub(crate) dropped_down: u64,
    /// Frames dropped because a link lagged behind.
    pub(crate) dropped_full: u64,
    /// Frames received, one's own among them.
    pub(crate) received: u64,
    /// How often the link was mended.
    pub(crate) reconnects: u64,
    /// Frames that wait to be sent.
    pub(crate) queued: usize,
    /// The bytes of the waiting frames.
    pub(crate) queued_bytes: usize,
    /// How often the log had lost what this node had not read yet.
    pub(crate) log_gaps: u64,
    /// Entries of the log that are none of a message.
    pub(crate) log_malformed: u64,
}

impl BrokerCounts {
    /// Frames that were published and may not have reached the others.
    pub(crate) fn lost(&self) -> u64 {
        self.dropped_down + self.dropped_full + self.publish_errors
    }
}

/// Carries opaque frames between nodes, and never decodes them: all that the node makes use of. A
/// program brings a [`Broker`], which is less; [`Brought`] makes up for the rest.
///
/// At most once. The frames of one node arrive at each node in the order of the calls, or not at
/// all (on a sharded broker: in order within a channel). A node hears itself.
///
/// While the link is down, frames wait for a while and up to a size; the oldest of too many are
/// dropped and counted. A frame that was sent without an answer may have arrived, and is not sent
/// again. [`lapses`](Self::lapses) tells of possible losses.
///
/// A channel that is listened to both by name and by a prefix may be heard twice, so use one of
/// them.
pub(crate) trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// What the link leads to, for operators.
    fn name(&self) -> &'static str {
        "redis"
    }

    /// Whether the frames of one node arrive in one order, whatever their channels. In a Redis Cluster
    /// that depends on the kind as well, and is known by the configuration.
    fn is_in_one_order(&self) -> bool {
        true
    }

    /// Makes the link and keeps it from then on. A lost link is mended with a growing, random
    /// pause, and all topics are listened to again. With `wait` a first failure is mended, too.
    ///
    /// # Errors
    /// If the link cannot be made at first.
    fn start(&self, inbound: Inbound, wait: bool) -> BoxFuture<'_, Result<(), LinkError>>;

    /// Sends a frame. Never blocks.
    fn publish(&self, channel: &str, frame: Bytes);

    /// Adds an entry to the log. Never blocks. While the link is down it waits as frames do; but
    /// whether Redis has taken it is found out afterwards, so that it is there once.
    ///
    /// An ordered broker calls `returned` when the entry comes back. Any other calls it with `None`
    /// before this returns.
    fn append(&self, entry: NewEntry, returned: Option<Returned>);

    /// Whether own entries come back in the order of the log.
    fn is_ordered(&self) -> bool {
        false
    }

    /// The place up to which this node has read the log of a namespace.
    fn read_up_to(&self, _namespace: &str) -> Option<EntryId> {
        None
    }

    /// The present moment, for [`taken`](Self::taken).
    fn mark(&self) -> Mark;

    /// Ends when every frame published since has been taken, or when one of them is lost and
    /// counted. A frame that waits for a link is not taken. Frames to other shards are not waited
    /// for.
    ///
    /// # Errors
    /// If a frame was lost. It may be a frame of another caller.
    fn taken(&self, since: Mark) -> BoxFuture<'_, Result<(), Disconnected>>;

    /// Whether a frame that was published between these two moments is larger than what can ever be
    /// sent. Known when it is not taken.
    fn is_too_big(&self, _since: &Mark, _until: &Mark) -> bool {
        false
    }

    /// Listens to a topic. Before the start this is only noted. Calls count: a topic that was
    /// listened to twice must be left twice.
    fn listen(&self, topic: Topic);
    fn unlisten(&self, topic: &Topic);

    /// Ends when every earlier [`listen`](Self::listen) to these topics is in force, or waits for a
    /// link that is down.
    fn settled(&self, topics: &[Topic]) -> BoxFuture<'_, ()>;

    /// How many nodes listen to each of these channels by name.
    fn listeners(&self, channels: Vec<Channel>) -> BoxFuture<'_, Result<Vec<usize>, Disconnected>>;

    /// The state of the link, now and from now on.
    fn link(&self) -> watch::Receiver<Link>;

    /// The possible losses, each told once.
    fn lapses(&self) -> &Lapses;

    /// Why the link is down, if that is known. `None` while it is up.
    fn reason(&self) -> Option<String> {
        None
    }

    /// The commands that are refused to this node.
    fn refused(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Why the others cannot be reached although the link is up. `None`: they can.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// The counts so far, for metrics.
    fn counts(&self) -> BrokerCounts;

    /// How long each frame waited from the call to its confirmation. `None` where nothing is
    /// confirmed.
    fn waits(&self) -> Option<Arc<Durations>> {
        None
    }

    /// Sends the waiting frames and ends the link. For a node that leaves.
    fn stop(&self) -> BoxFuture<'_, ()>;
}
