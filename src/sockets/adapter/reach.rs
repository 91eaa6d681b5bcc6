//! Whether packets reach a socket, and what waits for its client.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use socketioxide_core::Sid;

use crate::edge::{Load, Transports};

/// Whether packets reach a socket, and what waits for its client.
#[derive(Default)]
pub(super) struct Reach {
    /// Whether it is in the namespace; before that it only has rooms.
    pub(super) is_inside: AtomicBool,
    /// Found out when it is first asked for.
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
