//! The pause between two attempts to reach Redis: growing, bounded, random.

use std::time::Duration;

use rand::RngExt as _;

/// Short enough to be unnoticed when Redis only restarts.
const FIRST: Duration = Duration::from_millis(50);
/// Long enough to be no burden for a Redis in trouble.
const LONGEST: Duration = Duration::from_secs(2);

/// Counts failed attempts.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next attempt: 50 ms, doubled each time up to 2 s. A random part of up
    /// to half is taken off, so that the nodes of a cluster do not come all at once.
    pub(crate) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Whether nothing has failed yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_its_limit_and_starts_again() {
        let mut backoff = Backoff::default();
        for full in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let pause = backoff.next();
            let full = Duration::from_millis(full);
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
