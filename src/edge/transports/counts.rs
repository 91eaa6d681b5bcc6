//! The counts of a node's transports.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use socketioxide_core::Sid;
use tokio::sync::mpsc::Sender;

use super::Transports;
use crate::edge::{
    inbound::Connects,
    reasons::{KillReason, RefuseReason},
    traffic::{Counted, Traffic},
    transport::Phase,
};

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) probes: AtomicU64,
    pub(super) upgraded: AtomicU64,
    pub(super) probes_failed: AtomicU64,
    pub(super) killed: [AtomicU64; KillReason::ALL.len()],
    pub(super) refused: [AtomicU64; RefuseReason::ALL.len()],
    pub(super) unknown_namespaces: Arc<AtomicU64>,
}

/// The connections of a node's clients, and the transports cut and requests refused since its
/// start.
///
/// ```
/// use switchboard::{Gateway, Switchboard};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
/// let counts = server.transports();
/// assert_eq!(counts.websocket + counts.polling, 0);
/// for (reason, cut) in &counts.killed {
///     println!("{}: {cut}", reason.as_str());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportCounts {
    /// Sessions connected by polling now.
    pub polling: u64,
    /// Sessions connected by a websocket now.
    pub websocket: u64,
    /// Upgrades from polling to websocket that are under way now.
    pub upgrading: u64,
    /// Upgrades that succeeded.
    pub upgraded: u64,
    /// Upgrades that failed.
    pub upgrades_failed: u64,
    /// Transports cut by the server, by reason.
    pub killed: Vec<(KillReason, u64)>,
    /// Requests refused before the engine knew of them, by reason.
    pub refused: Vec<(RefuseReason, u64)>,
    /// Attempts to join a namespace that does not exist.
    pub unknown_namespaces: u64,
}

impl Transports {
    /// The present counts. Walks over all sessions.
    pub(crate) fn counts(&self) -> TransportCounts {
        let counters = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let websocket = self
            .shared
            .by_sid
            .iter()
            .filter(|transport| transport.phase() == Phase::Websocket)
            .count();
        TransportCounts {
            polling: self.shared.by_sid.len().saturating_sub(websocket) as u64,
            websocket: websocket as u64,
            upgrading: load(&counters.probes),
            upgraded: load(&counters.upgraded),
            upgrades_failed: load(&counters.probes_failed),
            killed: KillReason::ALL.into_iter().zip(counters.killed.iter().map(load)).collect(),
            refused: RefuseReason::ALL.into_iter().zip(counters.refused.iter().map(load)).collect(),
            unknown_namespaces: load(&counters.unknown_namespaces),
        }
    }

    /// Counts the CONNECTs to namespaces that `exists` does not know. Called once, before there are
    /// sessions.
    pub(crate) fn count_unknown_namespaces(
        &self,
        exists: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) {
        let counter = self.shared.counters.unknown_namespaces.clone();
        let connects = Connects::new(move |namespace| {
            if !exists(namespace) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _ = self.shared.connects.set(connects);
    }

    /// Takes the CONNECTs of clients.
    pub(in crate::edge) fn connects(&self) -> Connects {
        self.shared.connects.get().cloned().unwrap_or_default()
    }

    /// Counts the traffic from now on, and reports each session that was upgraded to websocket
    /// while the channel has room. Called once, before there are sessions.
    pub(crate) fn count_traffic(&self, upgrades: Sender<Sid>) {
        let _ = self.shared.traffic.set(Counted::new(upgrades));
    }

    /// The traffic, if it is counted.
    pub(crate) fn traffic(&self) -> Traffic {
        self.shared.traffic.get().map(Counted::so_far).unwrap_or_default()
    }

    #[inline]
    pub(in crate::edge) fn counted(&self, count: impl FnOnce(&Counted)) {
        if let Some(traffic) = self.shared.traffic.get() {
            count(traffic);
        }
    }

    pub(in crate::edge) fn count_refused(&self, reason: RefuseReason) {
        self.shared.counters.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::edge) fn probe_began(&self) {
        self.shared.counters.probes.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::edge) fn probe_ended(&self, sid: Sid, upgraded: bool) {
        if upgraded {
            self.counted(|traffic| traffic.upgraded(sid));
        }
        let counters = &self.shared.counters;
        counters.probes.fetch_sub(1, Ordering::Relaxed);
        let outcome = if upgraded { &counters.upgraded } else { &counters.probes_failed };
        outcome.fetch_add(1, Ordering::Relaxed);
    }
}
