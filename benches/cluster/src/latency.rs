//! How many deliveries are on another node than their sender, and how long those take.

use std::time::{Duration, Instant};

use bench_support::generator::Watch;

use crate::layout::Layout;

/// Watches one run. Latency is taken in the open pace: in the closed one it is the queue's length.
pub(crate) struct Latency<'a> {
    layout: &'a Layout,
    takes_time: bool,
    measuring: bool,
    remote: u64,
    /// When each message of a group was sent.
    sent_at: Vec<Vec<Instant>>,
    /// How long remote deliveries took.
    took: Vec<Duration>,
}

impl<'a> Latency<'a> {
    pub(crate) fn new(layout: &'a Layout, takes_time: bool) -> Self {
        Self {
            layout,
            takes_time,
            measuring: false,
            remote: 0,
            sent_at: vec![Vec::new(); layout.groups.groups.len()],
            took: Vec::new(),
        }
    }

    /// How many of the deliveries in the measured time were remote.
    pub(crate) fn remote(&self) -> u64 {
        self.remote
    }

    /// The time that this share of the remote deliveries stayed below, in milliseconds.
    pub(crate) fn percentile(&self, share: f64) -> Option<f64> {
        let at = (self.took.len().saturating_sub(1) as f64 * share).round() as usize;
        self.took.get(at).map(|took| took.as_secs_f64() * 1e3)
    }
}

impl Watch for Latency<'_> {
    /// Short, because what is read late has a long latency.
    const PAUSE: Duration = Duration::from_micros(100);

    fn measuring(&mut self, begins: bool) {
        self.measuring = begins;
        if !begins {
            self.took.sort_unstable();
        }
    }

    fn sent(&mut self, group: usize, _: u64) {
        if self.takes_time {
            self.sent_at[group].push(Instant::now());
        }
    }

    fn delivered(&mut self, client: usize, group: usize, number: u64) {
        let sender = self.layout.groups.groups[group].sender;
        if self.measuring && self.layout.nodes[client] != self.layout.nodes[sender] {
            self.remote += 1;
            self.took.extend(self.sent_at[group].get(number as usize).map(Instant::elapsed));
        }
    }
}
