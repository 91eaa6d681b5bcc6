//! Whether messages reach the other nodes.

use std::sync::atomic::Ordering;

use super::Peers;
use crate::cluster::broker::{Disconnected, Mark};

impl Peers {
    /// Watches whether messages from now on reach the others.
    pub(crate) fn reaching(&self) -> Reaching<'_> {
        Reaching { peers: self, mark: self.broker.mark(), unsendable: self.unsendable() }
    }

    fn unsendable(&self) -> u64 {
        self.counts.unsendable.load(Ordering::Relaxed)
    }
}

/// See [`Peers::reaching`].
pub(crate) struct Reaching<'a> {
    peers: &'a Peers,
    mark: Mark,
    unsendable: u64,
}

impl Reaching<'_> {
    /// Waits until every message has been taken. The loss of another message meanwhile counts as a
    /// failure, too.
    ///
    /// # Errors
    /// If a message is not taken, or not in time.
    pub(crate) async fn all(self) -> Result<(), Disconnected> {
        let taken = self.peers.broker.taken(self.mark);
        let taken = tokio::time::timeout(self.peers.timeout, taken).await;
        match self.peers.unsendable() == self.unsendable {
            true => taken.unwrap_or(Err(Disconnected)),
            false => Err(Disconnected),
        }
    }
}
