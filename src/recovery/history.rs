//! The stays of a socket in rooms, between places in the log: by them it is known which events were
//! for the socket, long after it has left a room.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use socketioxide_core::adapter::Room;

use super::{
    log::{Entry, Scope},
    offset::Position,
};

/// Ended stays that are remembered for one socket.
const ENDED: usize = 128;

/// A stay that has ended. Events behind `since` and up to `until` belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stay {
    room: Room,
    since: Position,
    until: Position,
}

/// The stays of one socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    /// Nothing up to here is for this socket, or it has received all of it.
    start: Position,
    /// Up to here stays may have been forgotten.
    known_since: Position,
    /// The last event that was sent to the socket, as of `seen`. Nothing between the two was.
    last: Position,
    seen: Position,
    /// Each present room, with the place behind which its events are for the socket.
    rooms: HashMap<Room, Position>,
    ended: VecDeque<Stay>,
}

impl History {
    /// The history of a socket that has just come.
    pub(crate) fn new(start: Position) -> Self {
        Self { start, known_since: start, ..Self::default() }
    }

    /// The place at which the session began.
    pub(crate) fn start(&self) -> Position {
        self.start
    }

    /// The place behind which it is known what was for the socket.
    pub(crate) fn known_since(&self) -> Position {
        self.known_since
    }

    /// Whether it is known what was for the socket behind this place.
    pub(crate) fn knows(&self, position: Position) -> bool {
        position >= self.known_since
    }

    /// The last event that was sent to the socket until `now`, or the default if there was none.
    pub(crate) fn was_sent(&mut self, last: Position, now: Position) {
        self.last = self.last.max(last);
        self.seen = self.seen.max(now);
    }

    /// The place from which a client goes on that has everything up to `place`. A client to which
    /// nothing has been sent for long needs nothing that the log has lost since.
    pub(crate) fn continues_from(&self, place: Position) -> Position {
        let place = place.max(self.start);
        if place >= self.last { place.max(self.seen) } else { place }
    }

    /// The first place from which a client goes on, if all that came behind `place` is there.
    pub(crate) fn reaches_back(&self, place: Position) -> Position {
        if place <= self.seen { place.min(self.last.max(self.start)) } else { place }
    }

    /// Nobody continues this session from before this place.
    pub(crate) fn forget_until(&mut self, place: Position) {
        self.known_since = self.known_since.max(place);
    }

    /// The present rooms.
    pub(crate) fn rooms(&self) -> impl ExactSizeIterator<Item = &Room> {
        self.rooms.keys()
    }

    /// Joins a room at this place, unless it is there already. Returns whether it was not.
    pub(crate) fn join(&mut self, room: &Room, at: Position) -> bool {
        if self.rooms.contains_key(room) {
            return false;
        }
        self.rooms.insert(room.clone(), at);
        true
    }

    /// Leaves a room at this place. Returns whether it was there. Stays that ended at or before
    /// `floor`, the beginning of the log, are forgotten.
    pub(crate) fn leave(&mut self, room: &Room, at: Position, floor: Position) -> bool {
        let Some((room, since)) = self.rooms.remove_entry(room) else { return false };
        while self.ended.front().is_some_and(|stay| stay.until <= floor) {
            self.ended.pop_front();
        }
        if since < at {
            self.ended.push_back(Stay { room, since, until: at });
        }
        if self.ended.len() > ENDED
            && let Some(forgotten) = self.ended.pop_front()
        {
            self.known_since = self.known_since.max(forgotten.until);
        }
        true
    }

    /// Whether an event was for this socket.
    pub(crate) fn gets(&self, entry: &Entry) -> bool {
        self.has_for(entry.position, &entry.scope)
    }

    /// Whether an event at this place was for this socket.
    pub(crate) fn has_for(&self, at: Position, scope: &Scope) -> bool {
        let Scope { rooms, except } = scope;
        let was_in = |room: &Room| self.was_in(room, at);
        at > self.start
            && (rooms.is_empty() || rooms.iter().any(was_in))
            && !except.iter().any(was_in)
    }

    fn was_in(&self, room: &Room, at: Position) -> bool {
        self.rooms.get(room).is_some_and(|since| *since < at)
            || self
                .ended
                .iter()
                .any(|stay| stay.room == *room && stay.since < at && at <= stay.until)
    }

    /// Whether a selection of rooms means this socket now.
    pub(crate) fn is_meant(&self, scope: &Scope) -> bool {
        let is_in = |room: &Room| self.rooms.contains_key(room);
        (scope.rooms.is_empty() || scope.rooms.iter().any(is_in)) && !scope.except.iter().any(is_in)
    }

    /// The memory that it takes, roughly, in bytes.
    pub(crate) fn size(&self) -> usize {
        let rooms = self.rooms.keys().chain(self.ended.iter().map(|stay| &stay.room));
        rooms.map(|room| room.len() + 64).sum::<usize>() + 128
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use socketioxide_core::Value;

    use super::*;

    fn at(number: u64) -> Position {
        Position::numbered(number)
    }

    fn room(name: &str) -> Room {
        Room::Owned(name.to_owned())
    }

    fn event(number: u64, rooms: &[&str], except: &[&str]) -> Entry {
        let names = |names: &[&str]| names.iter().map(|name| room(name)).collect();
        Entry {
            position: at(number),
            at: Instant::now(),
            value: Value::Str("[\"x\"]".into(), None),
            scope: Scope { rooms: names(rooms), except: names(except) },
            id: None,
        }
    }

    #[test]
    fn events_of_a_stay_are_for_the_socket_and_no_others() {
        let mut history = History::new(at(10));
        assert!(history.join(&room("a"), at(12)) && !history.join(&room("a"), at(14)));
        assert!(
            history.leave(&room("a"), at(16), at(0)) && !history.leave(&room("a"), at(17), at(0))
        );
        history.join(&room("a"), at(18));
        let got: Vec<_> = (9..=20).filter(|n| history.gets(&event(*n, &["a"], &[]))).collect();
        assert_eq!(got, [13, 14, 15, 16, 19, 20]);
        let all: Vec<_> = (9..=12).filter(|n| history.gets(&event(*n, &[], &[]))).collect();
        assert_eq!(all, [11, 12]);
    }

    #[test]
    fn exceptions_hold_for_the_moment_of_the_event() {
        let mut history = History::new(at(0));
        history.join(&room("a"), at(0));
        history.join(&room("b"), at(5));
        history.leave(&room("b"), at(7), at(0));
        let got: Vec<_> = (1..=9).filter(|n| history.gets(&event(*n, &["a"], &["b"]))).collect();
        assert_eq!(got, [1, 2, 3, 4, 5, 8, 9]);
    }

    #[test]
    fn what_is_forgotten_is_not_claimed_to_be_known() {
        let mut history = History::new(at(0));
        for n in 0..ENDED as u64 {
            history.join(&room(&n.to_string()), at(n));
            history.leave(&room(&n.to_string()), at(n + 1), at(0));
        }
        assert!(history.knows(at(0)));
        history.join(&room("x"), at(500));
        history.leave(&room("x"), at(501), at(0));
        assert!(!history.knows(at(0)) && history.knows(at(1)));
        // What the log has lost itself need not be remembered.
        let mut history = History::new(at(0));
        for n in 0..10 * ENDED as u64 {
            history.join(&room("a"), at(n));
            history.leave(&room("a"), at(n + 1), at(n));
        }
        assert!(history.knows(at(0)) && history.ended.len() <= 2);
    }

    #[test]
    fn a_quiet_client_needs_nothing_from_before() {
        let mut history = History::new(at(10));
        assert_eq!(history.continues_from(at(3)), at(10));
        history.was_sent(Position::default(), at(90));
        assert_eq!(history.continues_from(at(10)), at(90), "nothing was ever sent");
        history.was_sent(at(95), at(200));
        for (place, from) in [(90, 90), (94, 94), (95, 200), (150, 200), (201, 201)] {
            assert_eq!(history.continues_from(at(place)), at(from));
        }
        history.was_sent(Position::default(), at(150));
        assert_eq!(history.continues_from(at(95)), at(200), "an older word changes nothing");
    }

    #[test]
    fn a_history_reads_back() {
        let mut history = History::new(at(3));
        history.join(&room("a"), at(4));
        history.join(&room("b"), at(4));
        history.leave(&room("b"), at(6), at(0));
        let written = rmp_serde::to_vec_named(&history).expect("written");
        assert_eq!(rmp_serde::from_slice::<History>(&written).expect("read"), history);
    }
}
