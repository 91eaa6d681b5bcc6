//! Whether anybody looks, on whatever node. While nobody does, a node tells nothing.
//!
//! A node with an admin says so to the others every now and then; they believe it for a while. Node.js
//! nodes do not say it, so while there are any in the namespace somebody may always be looking. No
//! clock: the time comes in.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often a node with an admin says so.
pub(super) const PERIOD: Duration = Duration::from_secs(3);

/// How long the others believe it: two of these messages may be lost.
const BELIEVED: Duration = Duration::from_secs(10);

/// Who may be looking.
#[derive(Debug, Default)]
pub(super) struct Attention(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    here: bool,
    nodejs: bool,
    elsewhere: Option<Instant>,
}

impl Attention {
    /// Whether this node has an admin.
    pub(super) fn here(&self, here: bool) {
        self.0.lock().here = here;
    }

    /// Whether there are Node.js nodes, with or without an admin.
    pub(super) fn nodejs(&self, nodejs: bool) {
        self.0.lock().nodejs = nodejs;
    }

    /// Another node says that it has an admin.
    pub(super) fn elsewhere(&self, now: Instant) {
        self.0.lock().elsewhere = Some(now);
    }

    pub(super) fn is_paid(&self, now: Instant) -> bool {
        let known = self.0.lock();
        let is_believed = |said: Instant| now.saturating_duration_since(said) < BELIEVED;
        known.here || known.nodejs || known.elsewhere.is_some_and(is_believed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_looked_at_while_there_is_an_admin_somewhere() {
        let (attention, now) = (Attention::default(), Instant::now());
        assert!(!attention.is_paid(now));
        attention.here(true);
        assert!(attention.is_paid(now));
        attention.here(false);
        assert!(!attention.is_paid(now));
        attention.nodejs(true);
        assert!(attention.is_paid(now));
        attention.nodejs(false);
        attention.elsewhere(now);
        assert!(attention.is_paid(now + PERIOD * 3));
        assert!(!attention.is_paid(now + BELIEVED));
    }
}
