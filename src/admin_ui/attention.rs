//! Whether an admin is connected to any node. Otherwise a node reports nothing.
//!
//! A node with an admin says so to the others every now and then, and they believe it for a while.
//! Node.js nodes do not say it, so while the namespace has any of them an admin may always be
//! there. No clock: the time is an argument.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time between two messages of a node with an admin.
pub(super) const PERIOD: Duration = Duration::from_secs(3);

/// The time for which other nodes believe such a message. Two of them may get lost.
const BELIEVED: Duration = Duration::from_secs(10);

/// The places where admins may be.
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
