//! A histogram of durations that many threads write to without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Upper bounds of the buckets, in microseconds. One more bucket takes all longer durations.
const BOUNDS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

/// The durations of something.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

/// The start of a duration.
#[derive(Clone, Copy)]
pub(crate) struct Started(Option<Instant>);

impl Started {
    pub(crate) fn now() -> Self {
        // As in `Counter`. Reading the clock is most of the cost of counting.
        Self((!cfg!(uncounted)).then(Instant::now))
    }
}

impl Durations {
    pub(crate) fn record_since(&self, Started(started): Started) {
        if let Some(started) = started {
            self.record(started.elapsed());
        }
    }

    pub(crate) fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// The sum in seconds, the number of durations, and the number in each bucket alone, by the
    /// bucket's upper bound in seconds.
    pub(crate) fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.zip(self.buckets.iter().map(|count| count.load(Relaxed))).collect();
        // Counted from the buckets, so that the last one and the count always agree.
        let count = buckets.iter().map(|(_, count)| count).sum();
        (self.sum_ns.load(Relaxed) as f64 / 1e9, count, buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_of_the_next_bound() {
        let durations = Durations::default();
        for us in [0, 100, 101, 10_000_000, 11_000_000] {
            durations.record(Duration::from_micros(us));
        }
        let (sum, count, buckets) = durations.read();
        assert_eq!(count, 5);
        assert!((sum - 21.000_201).abs() < 1e-9, "{sum}");
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.000_1, 2), (0.000_25, 1), (10.0, 1), (f64::INFINITY, 1)]);
    }
}
