//! How often something may happen: the events of a socket (a bucket of tokens), and lines in the log.
//! No clock: the time is an argument.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The pause between two lines about the same thing.
const PAUSE: Duration = Duration::from_secs(10);

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

/// Counts what happens again and again, and says when it is worth a line in the log: the first time,
/// the second, the fourth, the eighth …
#[derive(Debug, Default)]
pub(crate) struct Occasions(AtomicU64);

impl Occasions {
    /// It has happened. Returns how often by now, if that is to be logged.
    pub(crate) fn next(&self) -> Option<u64> {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        count.is_power_of_two().then_some(count)
    }

    /// How often it has happened.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// When the log was last told of what may happen very often.
#[derive(Debug, Default)]
pub(crate) struct LastLine(Mutex<Option<Instant>>);

impl LastLine {
    /// Whether another line is due. If so, it counts as written.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

fn capacity(rate: u32) -> f32 {
    rate as f32 * 2.0
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_happens_often_is_logged_ever_less_often() {
        let drops = Occasions::default();
        let logged: Vec<_> = (0..1000).filter_map(|_| drops.next()).collect();
        assert_eq!(logged, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(drops.count(), 1000);
    }

    #[test]
    fn a_line_is_due_once_in_each_pause() {
        let (line, start) = (LastLine::default(), Instant::now());
        let at = [0, 1, 9_999, 10_000, 10_001, 20_000];
        let due = at.map(|millis| line.is_due(start + Duration::from_millis(millis)));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
