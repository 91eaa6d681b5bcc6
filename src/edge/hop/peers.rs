//! The other nodes, as far as requests are sent to them: how many are under way to each, and whether
//! it has answered lately.
//!
//! A node that hangs takes connections and answers nothing, and whoever waits for it waits in vain.
//! So a node that was silent for a while is asked for a sign of life. If there is none, it is
//! *suspect*: whoever waits for it is told, nobody else is sent there, and it is asked again and
//! again until it answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Requests under way to one node. Each has a connection of its own.
const AT_ONCE: usize = 16_384;

/// More nodes than any cluster has at one time. Those of former times are forgotten then.
const MOST: usize = 256;

/// One other node.
pub(super) struct Peer {
    pub(super) name: Box<str>,
    places: Arc<Semaphore>,
    suspect: watch::Sender<bool>,
    /// When it was last heard of, in ms since `started`, plus one. 0: never.
    heard: AtomicU64,
    started: Instant,
    /// Held while it is asked for a sign of life.
    pub(super) asking: tokio::sync::Mutex<()>,
}

impl Peer {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            suspect: watch::Sender::new(false),
            heard: AtomicU64::new(0),
            started: Instant::now(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// A place for a request. `None`: there are too many.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// It has answered.
    pub(super) fn heard(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now.saturating_add(1), Relaxed);
    }

    /// Whether it has answered within this time.
    pub(super) fn was_heard_within(&self, time: Duration) -> bool {
        let heard = self.heard.load(Relaxed);
        heard > 0 && self.started.elapsed() < Duration::from_millis(heard - 1) + time
    }

    pub(super) fn is_suspect(&self) -> bool {
        *self.suspect.borrow()
    }

    /// Returns whether this is news.
    pub(super) fn suspect(&self, suspect: bool) -> bool {
        self.suspect.send_if_modified(|now| std::mem::replace(now, suspect) != suspect)
    }

    /// Ends when the node is suspect.
    pub(super) async fn becomes_suspect(&self) {
        // it fails when the sender is gone, and that is ours
        let _ = self.suspect.subscribe().wait_for(|suspect| *suspect).await;
    }

    fn is_idle(&self) -> bool {
        self.places.available_permits() == AT_ONCE && !self.is_suspect()
    }
}

/// All of them, by name.
#[derive(Default)]
pub(super) struct Peers(DashMap<Box<str>, Arc<Peer>>);

impl Peers {
    pub(super) fn get(&self, name: &str) -> Arc<Peer> {
        if let Some(peer) = self.0.get(name) {
            return peer.clone();
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, peer| !peer.is_idle());
        }
        self.0.entry(name.into()).or_insert_with(|| Arc::new(Peer::new(name))).clone()
    }

    /// Whether any request is under way.
    pub(super) fn are_busy(&self) -> bool {
        self.0.iter().any(|peer| peer.places.available_permits() < AT_ONCE)
    }

    pub(super) fn suspects(&self) -> usize {
        self.0.iter().filter(|peer| peer.is_suspect()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_so_many_places() {
        let peers = Peers::default();
        let places: Vec<_> = (0..AT_ONCE).map_while(|_| peers.get("n1").place()).collect();
        assert_eq!(places.len(), AT_ONCE);
        assert!(peers.get("n1").place().is_none());
        assert!(peers.get("n2").place().is_some(), "another node has its own");
        drop(places);
        assert!(peers.get("n1").place().is_some());
    }

    #[test]
    fn nodes_of_former_times_are_forgotten() {
        let peers = Peers::default();
        let _kept = peers.get("busy").place().expect("a place");
        peers.get("hangs").suspect(true);
        for n in 0..10 * MOST {
            peers.get(&format!("n{n}"));
        }
        assert!(peers.0.len() <= MOST);
        assert!(peers.0.contains_key("busy") && peers.0.contains_key("hangs"));
        assert_eq!(peers.suspects(), 1);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_node_hears_that_it_hangs() {
        let peers = Peers::default();
        let peer = peers.get("n1");
        let waits = tokio::spawn({
            let peer = peer.clone();
            async move { peer.becomes_suspect().await }
        });
        assert!(peer.suspect(true));
        assert!(!peer.suspect(true), "that is no news");
        test_kit::waiting::within("it hears", waits).await.expect("no panic");
        assert!(peer.suspect(false));
    }

    #[test]
    fn a_new_node_was_not_heard_yet() {
        let peer = Peer::new("n1");
        assert!(!peer.was_heard_within(Duration::from_secs(60)));
        peer.heard();
        assert!(peer.was_heard_within(Duration::from_secs(60)));
        assert!(!peer.was_heard_within(Duration::ZERO));
    }
}
