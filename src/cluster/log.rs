//! The log of a cluster: the stream of Redis that holds messages in one order for all nodes.
//!
//! Only `redis.protocol = "streams"` has one. An entry is a message, and its id is its place in the
//! log. Node.js nodes hand that id to their clients as the offset.

mod names;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::sync::Arc;

use bytes::Bytes;

pub(crate) use names::StreamNames;

pub(crate) use crate::recovery::EntryId;

/// A message to be added to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEntry {
    /// The sender's id on the wire.
    pub(crate) from: Arc<str>,
    pub(crate) namespace: Box<str>,
    /// The type of the message.
    pub(crate) kind: u8,
    /// The message without its frame, as text.
    pub(crate) data: Vec<u8>,
}

impl NewEntry {
    /// Its part of the bounds for what waits.
    pub(crate) fn size(&self) -> usize {
        self.namespace.len() + self.data.len()
    }
}

/// A message in the log, as it was read. Everybody who reaches Redis can write one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `None` if the entry stands in a stream that is not its namespace's own. Such an entry has no
    /// place among the others.
    pub(crate) at: Option<EntryId>,
    /// The sender's id on the wire.
    pub(crate) from: Option<Box<str>>,
    pub(crate) namespace: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) data: Bytes,
}

/// Called once, when an own message comes back from the log. `Some` is its place, and it is its
/// turn. With `None` it has no place: Redis did not take it in time, or that is not known.
///
/// It runs on the task that reads the log, and must not block.
pub(crate) type Returned = Box<dyn FnOnce(Option<EntryId>) + Send>;
