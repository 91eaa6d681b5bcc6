//! An event's name among all nodes, by which it is known again if it comes on two ways.

use serde::{Deserialize, Serialize};

use crate::id::fnv1a;

/// The sender of an event, hashed, and the sender's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct EventId(pub(super) u64, pub(super) u64);

impl EventId {
    /// The name of an event that this sender has given this number.
    pub(crate) fn of(sender: &str, number: u64) -> Self {
        Self(fnv1a(sender.as_bytes()), number)
    }
}
