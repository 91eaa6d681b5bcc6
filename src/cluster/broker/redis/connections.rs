//! The state of the link, made of all its connections, and the reasons of those that are down.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::link::Link;
use crate::link::redis::state::LinkState;

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Speaking,
    Listening,
}

/// The link is up while all its parts are.
pub(super) struct Connections {
    state: LinkState,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    lanes: BTreeMap<usize, Lane>,
    was_up: bool,
    is_up: bool,
    ended: bool,
    mended: u64,
}

struct Lane {
    /// The lane's name, where there are several.
    name: Option<String>,
    /// The parts that are down.
    down: BTreeSet<Side>,
    /// Why the last of them is down. Empty if that is not known yet.
    reason: String,
}

impl Connections {
    pub(super) fn new(state: LinkState) -> Self {
        Self { state, parts: Mutex::default() }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Link> {
        self.state.watch()
    }

    /// Why the link is down.
    pub(super) fn reason(&self) -> Option<String> {
        self.state.reason()
    }

    /// How often the link was mended.
    pub(super) fn mended(&self) -> u64 {
        self.parts.lock().mended
    }

    /// Sets the present lanes, with their names. New ones are down.
    pub(super) fn lanes(&self, lanes: &[(usize, Option<String>)]) {
        let mut parts = self.parts.lock();
        parts.lanes.retain(|lane, _| lanes.iter().any(|(known, _)| known == lane));
        for (lane, name) in lanes {
            let new = || {
                let down = [Side::Speaking, Side::Listening].into();
                Lane { name: None, down, reason: String::new() }
            };
            parts.lanes.entry(*lane).or_insert_with(new).name = name.clone();
        }
        self.tell(&mut parts);
    }

    pub(super) fn up(&self, lane: usize, side: Side) {
        self.change(lane, |lane| _ = lane.down.remove(&side));
    }

    pub(super) fn down(&self, lane: usize, side: Side, reason: String) {
        self.change(lane, |lane| {
            lane.down.insert(side);
            lane.reason = reason;
        });
    }

    /// No lane is known.
    pub(super) fn unreachable(&self, reason: &str) {
        self.state.down(reason);
    }

    /// We ended the link.
    pub(super) fn end(&self) {
        self.parts.lock().ended = true;
        self.state.end();
    }

    fn change(&self, lane: usize, change: impl FnOnce(&mut Lane)) {
        let mut parts = self.parts.lock();
        // Reports of a lane that was given up do not count.
        if let Some(lane) = parts.lanes.get_mut(&lane) {
            change(lane);
            self.tell(&mut parts);
        }
    }

    fn tell(&self, parts: &mut Parts) {
        if parts.ended {
            return;
        }
        let is_up =
            !parts.lanes.is_empty() && parts.lanes.values().all(|lane| lane.down.is_empty());
        let was_up = std::mem::replace(&mut parts.is_up, is_up);
        match is_up {
            true if was_up => {}
            true => {
                parts.mended += u64::from(parts.was_up);
                parts.was_up = true;
                self.state.up();
            }
            false => {
                let reasons = parts.reasons();
                if !reasons.is_empty() {
                    self.state.down(&reasons);
                }
            }
        }
    }
}

impl Parts {
    /// Why the link is down; empty if no reason is known yet.
    fn reasons(&self) -> String {
        let down = self.lanes.values().filter(|lane| !lane.down.is_empty());
        let reasons = down.filter(|lane| !lane.reason.is_empty()).map(|lane| match &lane.name {
            Some(name) => format!("{name}: {}", lane.reason),
            None => lane.reason.clone(),
        });
        let mut reasons: Vec<_> = reasons.collect();
        // What lanes without a name have in common is said once.
        reasons.dedup();
        reasons.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_have_in_common_is_said_once() {
        let connections = Connections::new(LinkState::new("frames", "here".into()));
        connections.lanes(&[(0, None), (1, None), (2, Some("stream a".into()))]);
        for (lane, reason) in [(0, "closed"), (1, "closed"), (2, "no memory")] {
            connections.down(lane, Side::Speaking, reason.into());
        }
        assert_eq!(connections.parts.lock().reasons(), "closed; stream a: no memory");
    }

    #[test]
    fn the_link_is_up_while_every_part_is_and_says_which_are_not() {
        let connections = Connections::new(LinkState::new("frames", "here".into()));
        let link = connections.watch();
        let is_up = || *link.borrow() == Link::Up;
        connections.lanes(&[(1, Some("a:1 (2 slots)".into())), (2, Some("b:2 (3 slots)".into()))]);
        for side in [Side::Speaking, Side::Listening] {
            connections.up(1, side);
            assert!(!is_up());
            connections.up(2, side);
        }
        assert!(is_up() && connections.mended() == 0);
        connections.down(2, Side::Speaking, "closed".into());
        connections.down(2, Side::Listening, "closed".into());
        connections.down(1, Side::Listening, "silent".into());
        let reasons = connections.parts.lock().reasons();
        assert_eq!(reasons, "a:1 (2 slots): silent; b:2 (3 slots): closed");
        assert!(!is_up());
        // the lost lane is given up
        connections.lanes(&[(1, Some("a:1 (5 slots)".into()))]);
        connections.down(2, Side::Speaking, "never mind".into());
        assert!(!is_up());
        connections.up(1, Side::Listening);
        assert!(is_up() && connections.mended() == 1);
    }
}
