//! What the outbox counts on this node.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::telemetry::meters::Counter;

use super::table::Depth;

/// The counts, and how things stand.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) sent: Counter,
    pub(crate) set_aside: Counter,
    /// Events that are sent once more, since it is not known whether they had reached everybody.
    pub(crate) repeated: Counter,
    pub(crate) partitions: AtomicUsize,
    /// The database answers.
    pub(crate) is_up: AtomicBool,
    /// Notifications are heard.
    pub(crate) listens: AtomicBool,
    waiting: AtomicU64,
    dead: AtomicU64,
    oldest_millis: AtomicU64,
}

impl Meters {
    /// How the table was found.
    pub(super) fn found(&self, depth: &Depth) {
        self.waiting.store(depth.waiting, Relaxed);
        self.dead.store(depth.dead, Relaxed);
        self.oldest_millis.store((depth.oldest * 1000.0) as u64, Relaxed);
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    pub(crate) fn dead(&self) -> u64 {
        self.dead.load(Relaxed)
    }

    pub(crate) fn oldest_seconds(&self) -> f64 {
        self.oldest_millis.load(Relaxed) as f64 / 1000.0
    }
}
