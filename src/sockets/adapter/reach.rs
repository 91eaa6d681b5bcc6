//! Whether packets reach a socket, and the memory that waits because of its client.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use socketioxide_core::Sid;

use crate::edge::{Load, Transports};

/// Whether packets reach a socket, and the memory that waits because of its client.
#[derive(Default)]
pub(super) struct Reach {
    /// Whether it is in the namespace. Before that it only has rooms.
    pub(super) is_inside: AtomicBool,
    /// Looked up when it is first needed.
    load: OnceLock<Arc<Load>>,
}

impl Reach {
    pub(super) fn load(&self, sid: Sid, transports: &Transports) -> Option<&Arc<Load>> {
        if !self.is_inside.load(Ordering::Acquire) {
            return None;
        }
        if let Some(load) = self.load.get() {
            return Some(load);
        }
        let load = transports.load(sid)?;
        Some(self.load.get_or_init(|| load))
    }
}
