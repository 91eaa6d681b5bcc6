//! The one place where frames are handed to the node: in turn, and never by an abandoned link.

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

use super::{Inbound, Receive};
use crate::cluster::log::{Entry, EntryId, Returned};

/// Hands frames to the node, one at a time, from all connections.
pub(super) struct Dispatcher {
    inbound: Inbound,
    turn: Mutex<()>,
    received: AtomicU64,
}

/// The path from one connection to the node. A connection that was given up may still deliver,
/// until its handle is closed.
pub(super) struct DispatchHandle {
    dispatcher: Arc<Dispatcher>,
    /// Read and written by the holder of the turn.
    open: AtomicBool,
}

impl Dispatcher {
    pub(super) fn new(inbound: Inbound) -> Self {
        Self { inbound, turn: Mutex::new(()), received: AtomicU64::new(0) }
    }

    /// A handle for a new connection.
    pub(super) fn handle(self: &Arc<Self>) -> DispatchHandle {
        DispatchHandle { dispatcher: self.clone(), open: AtomicBool::new(true) }
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl DispatchHandle {
    /// Hands over a frame, unless the handle is closed. A panic of the receiver is logged and stops
    /// here, for it would silently end the connection's task.
    pub(super) fn dispatch(&self, channel: &str, frame: &Bytes) {
        self.in_turn(|inbound| inbound.frame(channel, frame));
    }

    /// Hands over an entry of the log in the same way.
    pub(super) fn dispatch_entry(&self, entry: &Entry) {
        self.in_turn(|inbound| inbound.entry(entry));
    }

    /// Gives an own message back, in turn with those of others.
    pub(super) fn give_back(&self, returned: Returned, at: Option<EntryId>) {
        self.in_turn(|_| returned(at));
    }

    fn in_turn(&self, hand_over: impl FnOnce(&dyn Receive)) {
        let Dispatcher { inbound, turn, received } = &*self.dispatcher;
        let _turn = turn.lock();
        if !self.open.load(Ordering::Relaxed) {
            return;
        }
        received.fetch_add(1, Ordering::Relaxed);
        if catch_unwind(AssertUnwindSafe(|| hand_over(&**inbound))).is_err() {
            error!("a frame from another node caused a panic and is skipped");
        }
    }

    /// Afterwards no frame is handed over.
    pub(super) fn close(&self) {
        let _turn = self.dispatcher.turn.lock();
        self.open.store(false, Ordering::Relaxed);
    }
}
