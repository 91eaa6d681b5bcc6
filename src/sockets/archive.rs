//! The archive: where events to rooms are kept, as the sockets see it. What is kept, and where, is not
//! their business; without an archive nothing of this is done.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::MutexGuard;
use smallvec::SmallVec;
use socketioxide_core::adapter::Room;

use crate::{future::BoxFuture, id::UserId, payload::Payload, recovery::EventId};

/// Keeps events to rooms.
pub(crate) trait Archive: Send + Sync {
    /// Whether events to this room are kept.
    fn keeps(&self, room: &str) -> bool;

    /// How many of the last events a socket gets when it joins this room.
    fn on_join(&self, room: &str) -> usize;

    /// Held while an event to these rooms is kept and delivered, so that both are done in one order.
    fn in_order<'a>(&'a self, rooms: &[Room]) -> InOrder<'a>;

    /// Keeps an event under its name. Never waits.
    fn keep(&self, id: EventId, event: ToKeep);

    /// The last events of a room, the oldest first: all that a node has kept before the question. `None`
    /// if they cannot be had just now. Takes some seconds at most.
    fn last<'a>(
        &'a self,
        namespace: &'a str,
        room: &'a str,
        count: usize,
    ) -> BoxFuture<'a, Option<Vec<Kept>>>;

    /// How long an event may be under way to a socket after it was kept.
    fn under_way(&self) -> Duration;

    /// A name for an event of a node that stands alone.
    fn name(&self) -> EventId;
}

/// The turn of an event among those to its rooms.
pub(crate) type InOrder<'a> = SmallVec<[MutexGuard<'a, ()>; 1]>;

/// An event to be kept for rooms.
#[derive(Debug, Clone)]
pub(crate) struct ToKeep {
    pub(crate) namespace: String,
    pub(crate) rooms: SmallVec<[Room; 1]>,
    pub(crate) event: String,
    /// An array in MessagePack.
    pub(crate) args: Bytes,
    /// The user whose socket has sent it. `None`: the server, or a guest.
    pub(crate) from: Option<UserId>,
}

/// An event that was kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) id: EventId,
    pub(crate) payload: Payload,
}
