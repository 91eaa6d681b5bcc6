//! The rate of a socket's events: a bucket of tokens. No clock: the time is an argument.

use tokio::time::Instant;

/// A bucket with room for twice its rate: `rate` events a second in the long run, bursts of twice
/// that.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f32,
    filled_at: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: u32, now: Instant) -> Self {
        Self { tokens: capacity(rate), filled_at: now }
    }

    /// Takes one token, if there is one. The rate may change between calls.
    pub(crate) fn take(&mut self, rate: u32, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f32();
        self.filled_at = now;
        self.tokens = (self.tokens + elapsed * rate as f32).min(capacity(rate));
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

fn capacity(rate: u32) -> f32 {
    rate as f32 * 2.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_of_twice_the_rate_passes_and_no_more() {
        let now = Instant::now();
        let mut bucket = Bucket::full(10, now);
        assert_eq!((0..30).filter(|_| bucket.take(10, now)).count(), 20);
    }

    #[test]
    fn it_fills_at_its_rate_and_never_over_its_size() {
        let now = Instant::now();
        let mut bucket = Bucket::full(10, now);
        while bucket.take(10, now) {}
        let later = now + Duration::from_millis(1_050);
        assert_eq!((0..30).filter(|_| bucket.take(10, later)).count(), 10);
        let much_later = later + Duration::from_secs(3_600);
        assert_eq!((0..30).filter(|_| bucket.take(10, much_later)).count(), 20);
    }
}
