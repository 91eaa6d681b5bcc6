//! The lease of this node, by its own clock: it ends here before it ends in the store.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::store::inbox::LEASE;

/// How much earlier the lease ends here. Clocks run at different speeds, and what was written to a
/// client before the end is still on its way.
const EARLIER: Duration = Duration::from_secs(2);

/// The lease of this node.
pub(super) struct Lease {
    began: Instant,
    /// In milliseconds since `began`. 0: there is none.
    until: AtomicU64,
}

impl Lease {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), until: AtomicU64::new(0) }
    }

    /// Whether this node may deliver what it holds.
    pub(super) fn is_valid(&self) -> bool {
        self.at(Instant::now()) < self.until.load(Relaxed)
    }

    /// It was renewed by a question that was asked at this moment.
    pub(super) fn renewed(&self, asked: Instant) {
        self.until.fetch_max(self.at(asked + LEASE - EARLIER), Relaxed);
    }

    fn at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_before_that_of_the_store() {
        let lease = Lease::new();
        assert!(!lease.is_valid(), "there is none yet");
        lease.renewed(Instant::now());
        assert!(lease.is_valid());
        let (old, now) = (Lease::new(), Instant::now());
        let Some(long_ago) = now.checked_sub(LEASE - EARLIER) else { return };
        old.renewed(long_ago);
        assert!(!old.is_valid());
    }
}
