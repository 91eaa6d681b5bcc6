//! Whether messages reach the other nodes.

use std::sync::atomic::Ordering;

use super::Peers;
use crate::cluster::broker::{Disconnected, Mark};

/// A moment among the messages of this node.
pub(crate) struct Moment {
    mark: Mark,
    /// How many could not be written before.
    unwritten: u64,
}

impl Peers {
    /// The present moment.
    pub(crate) fn now(&self) -> Moment {
        let unwritten = self.counts.unsendable.load(Ordering::Relaxed);
        Moment { mark: self.broker.mark(), unwritten }
    }

    /// Watches whether messages from now on reach the others.
    pub(crate) fn reaching(&self) -> Reaching<'_> {
        Reaching { peers: self, since: self.now() }
    }

    /// Whether a message between these two moments never reaches the others, however often it is sent:
    /// it could not be written, or is larger than what Redis passes on. The latter is known once it was
    /// not taken.
    pub(crate) fn is_hopeless(&self, [since, until]: &[Moment; 2]) -> bool {
        since.unwritten != until.unwritten || self.broker.is_too_big(&since.mark, &until.mark)
    }
}

/// See [`Peers::reaching`].
pub(crate) struct Reaching<'a> {
    peers: &'a Peers,
    since: Moment,
}

impl Reaching<'_> {
    /// Waits until every message has been taken. The loss of another message meanwhile counts as a
    /// failure, too.
    ///
    /// # Errors
    /// If a message is not taken, or not in time.
    pub(crate) async fn all(self) -> Result<(), Disconnected> {
        let Self { peers, since } = self;
        let taken = tokio::time::timeout(peers.timeout, peers.broker.taken(since.mark)).await;
        match peers.counts.unsendable.load(Ordering::Relaxed) == since.unwritten {
            true => taken.unwrap_or(Err(Disconnected)),
            false => Err(Disconnected),
        }
    }
}
