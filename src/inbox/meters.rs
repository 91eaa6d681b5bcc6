//! The counts of the inbox on this node.

use std::{sync::atomic::AtomicBool, time::SystemTime};

use parking_lot::Mutex;

use crate::{store::inbox::Depth, telemetry::meters::Counter};

/// The counts of the inbox on this node.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// Messages that were kept.
    pub(crate) kept: Counter,
    /// Messages whose id was known.
    pub(crate) known: Counter,
    /// Messages for which there was no place.
    pub(crate) full: Counter,
    /// Messages that were sent to a device.
    pub(crate) delivered: Counter,
    /// Those of them that this node had sent before.
    pub(crate) redelivered: Counter,
    pub(crate) acknowledged: Counter,
    /// Messages that ran out before every device had them, removed by this node.
    pub(crate) expired: Counter,
    /// Messages that could not be said to the node that delivers them. It finds them in the store.
    pub(crate) unsaid: Counter,
    /// Whether the store answered when it was last asked.
    pub(crate) is_up: AtomicBool,
    depth: Mutex<Depth>,
}

impl Meters {
    pub(super) fn set_depth(&self, depth: Depth) {
        *self.depth.lock() = depth;
    }

    /// What is kept for all users, as of the last time this node looked.
    pub(crate) fn depth(&self) -> Depth {
        *self.depth.lock()
    }

    /// The age of the oldest message in seconds.
    pub(crate) fn oldest_seconds(&self) -> f64 {
        let age = |oldest| SystemTime::now().duration_since(oldest).unwrap_or_default();
        self.depth().oldest.map_or(0.0, |oldest| age(oldest).as_secs_f64())
    }
}
