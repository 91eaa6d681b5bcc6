//! The traffic through the transports of a node, counted only for the Admin UI.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use socketioxide_core::Sid;
use tokio::sync::mpsc::Sender;

/// The traffic since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Sessions that began.
    pub(crate) opened: u64,
    /// Sessions that ended.
    pub(crate) closed: u64,
    /// Bytes of websocket frames and of request bodies.
    pub(crate) bytes_in: u64,
    /// Bytes of websocket frames and of response bodies.
    pub(crate) bytes_out: u64,
}

/// The counters.
#[derive(Debug)]
pub(super) struct Counted {
    opened: AtomicU64,
    closed: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    upgrades: Sender<Sid>,
}

impl Counted {
    pub(super) fn new(upgrades: Sender<Sid>) -> Self {
        let [opened, closed, bytes_in, bytes_out] = Default::default();
        Self { opened, closed, bytes_in, bytes_out, upgrades }
    }

    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self) {
        self.closed.fetch_add(1, Relaxed);
    }

    pub(super) fn came(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn went(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// Reports a session that was upgraded to websocket. A listener that does not keep up misses
    /// it.
    pub(super) fn upgraded(&self, sid: Sid) {
        let _ = self.upgrades.try_send(sid);
    }

    pub(super) fn so_far(&self) -> Traffic {
        Traffic {
            opened: self.opened.load(Relaxed),
            closed: self.closed.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
        }
    }
}
