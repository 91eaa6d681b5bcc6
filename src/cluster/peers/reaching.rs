//! Whether messages reach the other nodes.

use std::sync::atomic::Ordering;

use super::Peers;
use crate::cluster::broker::Mark;

impl Peers {
    /// Watches whether messages from now on reach the others.
    pub(crate) fn reaching(&self) -> Reaching<'_> {
        Reaching { peers: self, mark: self.broker.mark(), unwritten: self.unwritten() }
    }

    fn unwritten(&self) -> u64 {
        self.counts.unsendable.load(Ordering::Relaxed)
    }
}

/// See [`Peers::reaching`].
pub(crate) struct Reaching<'a> {
    peers: &'a Peers,
    mark: Mark,
    unwritten: u64,
}

/// Why messages do not reach the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// The link is down or slow, or Redis does not do its part. That passes.
    Now,
    /// One of them cannot be written, or is larger than what Redis ever passes on.
    Ever,
}

impl Reaching<'_> {
    /// Waits until every message has been taken that was sent before this is awaited. Those of others in
    /// the same time count, too.
    ///
    /// # Errors
    /// If a message is not taken, or not in time.
    pub(crate) async fn all(self) -> Result<(), Unreached> {
        let Self { peers, mark, unwritten } = self;
        let until = peers.broker.mark();
        let is_unwritten = peers.unwritten() != unwritten;
        let taken = tokio::time::timeout(peers.timeout, peers.broker.taken(mark.clone())).await;
        match taken {
            Ok(Ok(())) if !is_unwritten => Ok(()),
            _ if is_unwritten || peers.broker.is_too_big(&mark, &until) => Err(Unreached::Ever),
            _ => Err(Unreached::Now),
        }
    }
}
