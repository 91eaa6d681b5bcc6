//! The log of a namespace: its last events, in the order in which they reached the sockets.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use socketioxide_core::{Value, adapter::Room};

use super::{event_id::EventId, offset::Position};

/// Whom an event was for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scope {
    /// Empty: everybody.
    pub(crate) rooms: Box<[Room]>,
    /// Not for members of these.
    pub(crate) except: Box<[Room]>,
}

/// An event that was sent.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) at: Instant,
    /// The event as clients get it, with its offset.
    pub(crate) value: Value,
    pub(crate) scope: Scope,
    /// Its name among all nodes, if it has one.
    pub(crate) id: Option<EventId>,
}

impl Entry {
    /// The memory that it takes, roughly, in bytes.
    pub(crate) fn size(&self) -> usize {
        let rooms = self.scope.rooms.iter().chain(&self.scope.except);
        size_of(&self.value) + rooms.map(|room| room.len() + 32).sum::<usize>() + 160
    }
}

/// The memory of an event, in bytes.
pub(super) fn size_of(value: &Value) -> usize {
    match value {
        Value::Str(text, attachments) => {
            let attachments = attachments.iter().flatten();
            text.len() + attachments.map(|bytes| bytes.len() + 32).sum::<usize>()
        }
        Value::Bytes(bytes) => bytes.len(),
    }
}

/// The bounds of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogBounds {
    /// Events. 0: no limit.
    pub(crate) entries: usize,
    pub(crate) age: Duration,
}

/// The last events of a namespace.
#[derive(Debug)]
pub(crate) struct Log {
    bounds: LogBounds,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// What came up to here is not in the log any more.
    floor: Position,
    /// The last place.
    head: Position,
}

impl Log {
    /// An empty log behind this place.
    pub(crate) fn new(bounds: LogBounds, start: Position) -> Self {
        Self { bounds, entries: VecDeque::new(), bytes: 0, floor: start, head: start }
    }

    /// The place of the last event.
    pub(crate) fn head(&self) -> Position {
        self.head
    }

    /// Leaves a place out, and returns it. No event has it.
    pub(crate) fn skip(&mut self) -> Position {
        self.head = self.head.next();
        self.head
    }

    /// The place behind which all events are of this time, or later.
    pub(crate) fn place_before(&self, time: Instant) -> Position {
        let first = self.entries.partition_point(|entry| entry.at < time);
        first.checked_sub(1).map_or(self.floor, |last| self.entries[last].position)
    }

    /// The place behind which the log is complete.
    pub(crate) fn floor(&self) -> Position {
        self.floor
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Its memory, roughly, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The time of the first event.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.at)
    }

    /// Whether the log has everything behind this place.
    pub(crate) fn covers(&self, position: Position) -> bool {
        self.floor <= position && position <= self.head
    }

    /// Appends an event behind the others. Returns how its memory has changed, in bytes.
    pub(crate) fn append(&mut self, entry: Entry) -> isize {
        let before = self.bytes;
        debug_assert!(entry.position > self.head, "events come in order");
        self.head = entry.position;
        self.bytes += entry.size();
        let now = entry.at;
        self.entries.push_back(entry);
        while self.bounds.entries > 0 && self.entries.len() > self.bounds.entries {
            self.forget_first();
        }
        self.forget_old(now);
        self.bytes.wrapping_sub(before).cast_signed()
    }

    /// Forgets the first event. Returns the freed bytes, or `None` if there is none.
    pub(crate) fn forget_first(&mut self) -> Option<usize> {
        let entry = self.entries.pop_front()?;
        let size = entry.size();
        self.bytes -= size;
        self.floor = entry.position;
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        Some(size)
    }

    /// Forgets events that nobody can ask for any more. Returns the freed bytes.
    pub(crate) fn forget_old(&mut self, now: Instant) -> usize {
        let mut freed = 0;
        while self
            .entries
            .front()
            .is_some_and(|entry| now.saturating_duration_since(entry.at) > self.bounds.age)
        {
            freed += self.forget_first().unwrap_or_default();
        }
        freed
    }

    /// The events behind a place, in order.
    pub(crate) fn after(&self, position: Position) -> impl Iterator<Item = &Entry> {
        let first = self.entries.partition_point(|entry| entry.position <= position);
        self.entries.range(first..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, at: Instant, bytes: usize) -> Entry {
        let value = Value::Str("x".repeat(bytes).into(), None);
        let scope = Scope::default();
        Entry { position: Position::numbered(number), at, value, scope, id: None }
    }

    fn numbers(log: &Log, after: u64) -> Vec<u64> {
        log.after(Position::numbered(after)).map(|entry| entry.position.number).collect()
    }

    fn bounds(entries: usize) -> LogBounds {
        LogBounds { entries, age: Duration::from_secs(60) }
    }

    #[test]
    fn a_log_knows_what_it_has_lost() {
        let (mut log, now) = (Log::new(bounds(3), Position::numbered(0)), Instant::now());
        assert!(log.covers(Position::numbered(0)) && !log.covers(Position::numbered(1)));
        (1..=5).for_each(|n| _ = log.append(entry(n, now, 10)));
        assert_eq!(numbers(&log, 0), [3, 4, 5]);
        assert_eq!(numbers(&log, 3), [4, 5]);
        assert!(numbers(&log, 5).is_empty());
        let covered: Vec<_> = (0..=6).filter(|n| log.covers(Position::numbered(*n))).collect();
        assert_eq!(covered, [2, 3, 4, 5]);
    }

    #[test]
    fn old_events_go_and_their_bytes_with_them() {
        let (mut log, start) = (Log::new(bounds(0), Position::numbered(0)), Instant::now());
        let mut bytes = 0;
        for n in 1..=5 {
            bytes += log.append(entry(n, start + Duration::from_secs(n * 20), 1000));
        }
        assert_eq!(numbers(&log, 0), [2, 3, 4, 5]);
        assert_eq!(bytes, log.bytes().cast_signed());
        assert!(log.bytes() >= 4000);
        let freed = log.forget_old(start + Duration::from_secs(500));
        assert_eq!((freed.cast_signed(), log.bytes(), log.len()), (bytes, 0, 0));
        assert!(log.covers(Position::numbered(5)) && !log.covers(Position::numbered(4)));
    }
}
