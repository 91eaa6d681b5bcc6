//! The one place where frames are handed to the node: in turn, and never by a link that is gone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::error;

use super::Inbound;

/// Hands frames to the node. Several connections may deliver at once, and one that was given up may
/// still be at it; so each carries the number of its session, and delivers while that is current.
pub(super) struct Ears {
    inbound: Inbound,
    /// Held during the call, which makes it one at a time.
    session: Mutex<u64>,
    received: AtomicU64,
}

impl Ears {
    pub(super) fn new(inbound: Inbound) -> Self {
        Self { inbound, session: Mutex::new(0), received: AtomicU64::new(0) }
    }

    /// A new session, the only one from now on.
    pub(super) fn begin(&self) -> u64 {
        let mut session = self.session.lock();
        *session += 1;
        *session
    }

    /// Hands over a frame, unless the session is over. A panic in there is logged and goes no
    /// further: it would end the connection's task without a word.
    pub(super) fn hear(&self, session: u64, channel: &str, frame: &Bytes) {
        let current = self.session.lock();
        if *current != session {
            return;
        }
        self.received.fetch_add(1, Ordering::Relaxed);
        if catch_unwind(AssertUnwindSafe(|| (self.inbound)(channel, frame))).is_err() {
            error!("a frame of another node made this one panic; it is skipped");
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}
