//! Sessions that wait for their client, in Redis, in the form of
//! `@socket.io/redis-streams-adapter`: whoever left a Node.js server comes back here, and the other
//! way round.
//!
//! A record is taken once. A companion key beside it holds whose turn it is and what was written
//! last. So a node that stood still does not overwrite what a later owner of the session has
//! written, be that one of ours or a Node.js server.

mod record;
#[cfg(feature = "redis")]
mod redis;

use std::{fmt, time::Duration};

#[allow(unused_imports, reason = "part of a session")]
pub(crate) use record::Ours;
pub(crate) use record::Session;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisSessions;

use crate::future::BoxFuture;

/// The answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Written,
    /// The session belongs to a later owner now. Nothing was written.
    Overtaken,
}

/// A session as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) session: Session,
    /// Another one after each change.
    stamp: String,
}

/// Redis did not answer in time, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sessions in Redis cannot be reached")]
pub(crate) struct Unreachable;

/// Keeps sessions where every node finds them.
pub(crate) trait Sessions: fmt::Debug + Send + Sync {
    /// Writes a session, to be kept for this time. A new session has the turn 1; whoever has taken
    /// one writes with the turn that it was given.
    fn put(
        &self,
        session: &Session,
        turn: u64,
        keep: Duration,
    ) -> BoxFuture<'_, Result<Put, Unreachable>>;

    /// Looks at a session.
    fn look(&self, pid: &str) -> BoxFuture<'_, Result<Option<Seen>, Unreachable>>;

    /// Takes a session that has not changed since it was seen, and returns the turn with which its
    /// new owner writes from now on. Its former owner writes in vain. `keep` is as for
    /// [`put`](Self::put).
    fn take(&self, seen: &Seen, keep: Duration) -> BoxFuture<'_, Result<Option<u64>, Unreachable>>;

    /// Ends a session, unless it belongs to a later owner.
    fn remove(&self, pid: &str, turn: u64) -> BoxFuture<'_, Result<(), Unreachable>>;
}
