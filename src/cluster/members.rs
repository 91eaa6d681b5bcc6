//! The nodes of ours that were there lately.
//!
//! A node that hangs is taken for dead when its lease is over, but Redis still counts it as a
//! listener. A node that remembers it does not take it for a node of another kind, which has no
//! lease, and does not wait for its answers.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::id::NodeId;

/// The time between two looks at the list of nodes: well within a lease, so that a node is known
/// before it can be taken for dead.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// The time before an early look, and the number of early looks after the start.
pub(super) const SOON: Duration = Duration::from_secs(2);
pub(super) const FIRST_LOOKS: usize = 5;
/// How long a departed node is remembered. A link of a node that hangs may last as long as Redis
/// and the network allow.
const MEMORY: Duration = Duration::from_secs(3600);

/// Nodes by their ids on the wire.
#[derive(Debug, Default)]
pub(super) struct Members(Mutex<HashMap<String, Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    last: Instant,
    /// The time since which it is known to be gone.
    gone: Option<Instant>,
}

impl Members {
    /// Notes the present nodes, and returns the former ones that are not there any more.
    pub(super) fn update(&self, there: &HashMap<String, NodeId>, now: Instant) -> Vec<String> {
        let mut seen = self.0.lock();
        seen.extend(there.keys().map(|id| (id.clone(), Seen { last: now, gone: None })));
        seen.retain(|_, node| now.duration_since(node.last) < MEMORY);
        let gone = seen.iter_mut().filter(|(id, _)| !there.contains_key(*id));
        gone.map(|(id, node)| {
            node.gone.get_or_insert(now);
            id.clone()
        })
        .collect()
    }

    /// Whether a departed node may have lived after `since`.
    pub(super) fn has_lost_one(&self, since: Instant) -> bool {
        self.0.lock().values().any(|node| node.gone.is_some_and(|gone| gone >= since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_is_remembered_for_an_hour() {
        let members = Members::default();
        let roster = |ids: &[&str]| -> HashMap<String, NodeId> {
            ids.iter().map(|id| (id.to_string(), NodeId::named(id))).collect()
        };
        let start = Instant::now();
        assert!(members.update(&roster(&["a", "b"]), start).is_empty());
        assert_eq!(members.update(&roster(&["a"]), start + LOOK), ["b"]);
        assert!(members.update(&roster(&["a", "b"]), start + 2 * LOOK).is_empty());
        assert!(members.update(&roster(&["a"]), start + 2 * LOOK + MEMORY).is_empty());
    }

    #[test]
    fn a_node_was_there_until_it_was_looked_for_and_not_found() {
        let members = Members::default();
        let roster = |ids: &[&str]| -> HashMap<String, NodeId> {
            ids.iter().map(|id| (id.to_string(), NodeId::named(id))).collect()
        };
        let at = |looks| Instant::now() + looks * LOOK;
        let (first, second, third) = (at(0), at(1), at(2));
        members.update(&roster(&["a", "b"]), first);
        assert!(!members.has_lost_one(first));
        members.update(&roster(&["a"]), second);
        members.update(&roster(&["a"]), third);
        assert!(members.has_lost_one(first) && members.has_lost_one(second));
        assert!(!members.has_lost_one(third));
        members.update(&roster(&["a", "b"]), third);
        assert!(!members.has_lost_one(first));
    }
}
