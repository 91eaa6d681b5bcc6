//! What servers have lately changed about the sockets of a namespace, with places in the log: a
//! session that comes from another node, or has waited in Redis, is brought up to date with it.

use std::collections::VecDeque;

use socketioxide_core::adapter::Room;

use super::{history::History, log::Scope, offset::Position};

/// Most changes, and most bytes of them, that are remembered.
const MOST: usize = 1024;
const BYTES: usize = 1 << 20;

/// What happens to the selected sockets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Join(Box<[Room]>),
    Leave(Box<[Room]>),
    /// They are disconnected.
    End,
}

/// A change, and its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changed {
    pub(crate) at: Position,
    pub(crate) scope: Scope,
    pub(crate) change: Change,
}

impl Changed {
    fn size(&self) -> usize {
        let rooms = match &self.change {
            Change::Join(rooms) | Change::Leave(rooms) => &rooms[..],
            Change::End => &[],
        };
        let rooms = rooms.iter().chain(&self.scope.rooms).chain(&self.scope.except);
        rooms.map(|room| room.len() + 32).sum::<usize>() + 96
    }
}

/// The last changes, in order.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    recent: VecDeque<Changed>,
    bytes: usize,
    /// Everything behind this place is there.
    since: Position,
}

impl Changes {
    /// None so far, behind this place.
    pub(crate) fn new(since: Position) -> Self {
        Self { since, ..Self::default() }
    }

    pub(crate) fn push(&mut self, changed: Changed) {
        self.bytes += changed.size();
        self.recent.push_back(changed);
        while (self.recent.len() > MOST || self.bytes > BYTES)
            && let Some(first) = self.recent.pop_front()
        {
            self.bytes -= first.size();
            self.since = first.at;
        }
    }

    /// The changes behind a place. `None` if some of them are not known any more.
    pub(crate) fn after(&self, place: Position) -> Option<impl Iterator<Item = &Changed>> {
        let first = self.recent.partition_point(|changed| changed.at <= place);
        (self.since <= place).then(|| self.recent.range(first..))
    }
}

impl History {
    /// Applies a change that servers have made. Returns false if it ends the session.
    pub(crate) fn apply(&mut self, changed: &Changed) -> bool {
        let Changed { at, scope, change } = changed;
        if !self.is_meant(scope) {
            return true;
        }
        match change {
            Change::Join(rooms) => rooms.iter().for_each(|room| _ = self.join(room, *at)),
            // Nothing is forgotten: the log in Redis may reach back further than any other.
            Change::Leave(rooms) => {
                rooms.iter().for_each(|room| _ = self.leave(room, *at, Position::ZERO));
            }
            Change::End => return false,
        }
        true
    }

    /// Whether a change would make a difference to this session.
    pub(crate) fn is_changed_by(&self, changed: &Changed) -> bool {
        let has = |room: &Room| self.rooms().any(|it| it == room);
        self.is_meant(&changed.scope)
            && match &changed.change {
                Change::Join(rooms) => !rooms.iter().all(has),
                Change::Leave(rooms) => rooms.iter().any(has),
                Change::End => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Room {
        Room::Owned(name.to_owned())
    }

    fn changed(at: u64, of: &str, change: Change) -> Changed {
        let scope = Scope { rooms: [room(of)].into(), except: Box::default() };
        Changed { at: Position::numbered(at), scope, change }
    }

    #[test]
    fn changes_know_what_they_have_forgotten() {
        let mut changes = Changes::new(Position::numbered(5));
        let after = |changes: &Changes, place| {
            changes.after(Position::numbered(place)).map(Iterator::count)
        };
        assert_eq!(
            (after(&changes, 4), after(&changes, 5), after(&changes, 9)),
            (None, Some(0), Some(0))
        );
        for at in 6..6 + MOST as u64 + 3 {
            changes.push(changed(at, "a", Change::End));
        }
        assert_eq!((after(&changes, 7), after(&changes, 8)), (None, Some(MOST)));
        assert_eq!(after(&changes, 10), Some(MOST - 2));
        changes.push(changed(9_999, &"x".repeat(BYTES), Change::End));
        assert_eq!((after(&changes, 9_998), changes.bytes), (None, 0));
    }

    #[test]
    fn a_session_is_brought_up_to_date() {
        let mut history = History::new(Position::numbered(1));
        history.join(&room("a"), Position::numbered(1));
        let join = changed(3, "a", Change::Join([room("b")].into()));
        assert!(
            history.is_changed_by(&join) && history.apply(&join) && !history.is_changed_by(&join)
        );
        let leave = changed(4, "b", Change::Leave([room("b"), room("c")].into()));
        assert!(
            history.is_changed_by(&leave)
                && history.apply(&leave)
                && !history.is_changed_by(&leave)
        );
        assert!(history.apply(&changed(5, "b", Change::End)), "it is not there any more");
        assert!(!history.apply(&changed(5, "a", Change::End)));
    }
}
