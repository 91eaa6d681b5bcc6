//! How long deliveries take, and how many of them are on another node than their sender.

use std::time::{Duration, Instant};

use crate::{generator::Watch, groups::Groups};

/// Watches one run. Latency is taken in the open pace: in the closed one it is the queue's length.
pub struct Latency<'a> {
    groups: &'a Groups,
    /// The node of each client, where only deliveries on another one count.
    nodes: Option<&'a [usize]>,
    takes_time: bool,
    measuring: bool,
    counted: u64,
    /// When each message of a group was sent.
    sent_at: Vec<Vec<Instant>>,
    /// How long those that count took.
    took: Vec<Duration>,
}

impl<'a> Latency<'a> {
    /// With `nodes`, the node of each client, only deliveries on another node than the sender's count.
    #[must_use]
    pub fn new(groups: &'a Groups, nodes: Option<&'a [usize]>, takes_time: bool) -> Self {
        Self {
            groups,
            nodes,
            takes_time,
            measuring: false,
            counted: 0,
            sent_at: vec![Vec::new(); groups.groups.len()],
            took: Vec::new(),
        }
    }

    /// How many of the deliveries in the measured time count.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// The time that this share of the deliveries stayed below, in milliseconds.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Option<f64> {
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
        let sender = self.groups.groups[group].sender;
        if self.measuring && self.nodes.is_none_or(|nodes| nodes[client] != nodes[sender]) {
            self.counted += 1;
            self.took.extend(self.sent_at[group].get(number as usize).map(Instant::elapsed));
        }
    }
}
