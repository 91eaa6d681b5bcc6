//! The seam of history: the last events of rooms, in one order for each room.
//!
//! An event has an id, by which it is there once, however often it is told. The oldest go first: by
//! their number in the room, and by their age.

#[cfg(test)]
pub(crate) mod suite;

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::StoreError;
use crate::{future::BoxFuture, id::UserId};

/// An event to be kept for a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEvent {
    pub(crate) namespace: String,
    pub(crate) room: String,
    /// Names the event among those of the room.
    pub(crate) id: String,
    pub(crate) event: String,
    /// An array in MessagePack.
    pub(crate) args: Bytes,
    pub(crate) from: Option<UserId>,
    /// How many events the room has at most, this one included.
    pub(crate) count: u64,
    pub(crate) ttl: Duration,
}

impl NewEvent {
    /// About the memory that it takes.
    pub(crate) fn size(&self) -> usize {
        let names = self.namespace.len() + self.room.len() + self.id.len() + self.event.len();
        size_of::<Self>() + names + self.args.len() + self.from.as_ref().map_or(0, |it| it.len())
    }
}

/// An event that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PastEvent {
    pub(crate) id: String,
    pub(crate) event: String,
    /// An array in MessagePack.
    pub(crate) args: Bytes,
    pub(crate) from: Option<UserId>,
    pub(crate) at: SystemTime,
}

/// Some events of a room, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Page {
    pub(crate) events: Vec<PastEvent>,
    /// There are older ones.
    pub(crate) more: bool,
}

/// Keeps the last events of rooms.
pub(crate) trait HistoryStore: Send + Sync + 'static {
    /// Keeps events, in this order, all or none. An event whose id its room has already changes
    /// nothing. A room forgets its oldest events above the count of the last one kept.
    fn append(&self, events: Vec<NewEvent>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Events of a room that are not too old, the newest first: at most `limit`, and no more bytes
    /// than `bytes`, but at least one if there is one. With `before` those that are older than the event
    /// with this id; none if the room does not have it.
    fn list<'a>(
        &'a self,
        namespace: &'a str,
        room: &'a str,
        before: Option<&'a str>,
        limit: usize,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>>;

    /// Removes at most `rows` events that are too old. Returns how many it were.
    fn sweep(&self, rows: usize) -> BoxFuture<'_, Result<u64, StoreError>>;
}
