//! The one place where frames are handed to the node: in turn, and never by a link that is gone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::error;

use super::Inbound;

/// Hands frames to the node, one at a time, whichever connection they come from.
pub(super) struct Ears {
    inbound: Inbound,
    turn: Mutex<()>,
    received: AtomicU64,
}

/// The way of one connection to the node. A connection that was given up may still be at it; it
/// delivers until its ear is closed.
pub(super) struct Ear {
    ears: Arc<Ears>,
    /// Read and written by whoever has the turn.
    open: AtomicBool,
}

impl Ears {
    pub(super) fn new(inbound: Inbound) -> Self {
        Self { inbound, turn: Mutex::new(()), received: AtomicU64::new(0) }
    }

    /// For a new connection.
    pub(super) fn open(self: &Arc<Self>) -> Ear {
        Ear { ears: self.clone(), open: AtomicBool::new(true) }
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Ear {
    /// Hands over a frame, unless the ear is closed. A panic in there is logged and goes no
    /// further: it would end the connection's task without a word.
    pub(super) fn hear(&self, channel: &str, frame: &Bytes) {
        let Ears { inbound, turn, received } = &*self.ears;
        let _turn = turn.lock();
        if !self.open.load(Ordering::Relaxed) {
            return;
        }
        received.fetch_add(1, Ordering::Relaxed);
        if catch_unwind(AssertUnwindSafe(|| inbound(channel, frame))).is_err() {
            error!("a frame of another node made this one panic; it is skipped");
        }
    }

    /// Afterwards nothing is handed over any more.
    pub(super) fn close(&self) {
        let _turn = self.ears.turn.lock();
        self.open.store(false, Ordering::Relaxed);
    }
}
