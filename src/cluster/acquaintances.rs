//! Which nodes of ours there have been lately.
//!
//! A node that hangs is taken for dead when its lease is over, but Redis goes on counting it among
//! those that listen. Whoever has known it does not take it for a node of another kind, which has no
//! lease, and does not wait for its answers.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::id::NodeId;

/// How often it is looked who is there: well within a lease, so that a node is known before it can
/// be taken for dead.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// How long a node is remembered that is not there any more. A link of a node that hangs may last
/// as long as Redis and the network let it.
const MEMORY: Duration = Duration::from_secs(3600);

/// Ids of nodes on the wire, and when each was there last.
#[derive(Debug, Default)]
pub(super) struct Acquaintances(Mutex<HashMap<String, Instant>>);

impl Acquaintances {
    /// Notes who is there, and lists who was and is not any more.
    pub(super) fn meet(&self, there: &HashMap<String, NodeId>, now: Instant) -> Vec<String> {
        let mut seen = self.0.lock();
        seen.extend(there.keys().map(|id| (id.clone(), now)));
        seen.retain(|_, last| now.duration_since(*last) < MEMORY);
        seen.keys().filter(|id| !there.contains_key(*id)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_is_remembered_for_an_hour() {
        let acquaintances = Acquaintances::default();
        let roster = |ids: &[&str]| -> HashMap<String, NodeId> {
            ids.iter().map(|id| (id.to_string(), NodeId::named(id))).collect()
        };
        let start = Instant::now();
        assert!(acquaintances.meet(&roster(&["a", "b"]), start).is_empty());
        assert_eq!(acquaintances.meet(&roster(&["a"]), start + LOOK), ["b"]);
        assert!(acquaintances.meet(&roster(&["a", "b"]), start + 2 * LOOK).is_empty());
        assert!(acquaintances.meet(&roster(&["a"]), start + 2 * LOOK + MEMORY).is_empty());
    }
}
