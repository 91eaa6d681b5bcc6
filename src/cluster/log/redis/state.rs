//! The state of a stream in Redis, and what it says about the place up to which a node has read.
//!
//! A node that was cut off goes on behind the last entry that it has read. That is right as long as
//! the stream is the same one and still has what is behind that entry. But a stream is trimmed at
//! its start, and Redis may be emptied, restored, or replaced behind its address.

use std::collections::HashMap;

use redis::{Cmd, FromRedisValue as _, RedisResult, Value, aio::MultiplexedConnection};

use super::{EntryId, id_of};

/// The answer to `XINFO STREAM`. All is zero if there is no stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The id of the last entry that was ever added.
    pub(crate) last: EntryId,
    /// The first entry that is still there.
    pub(crate) first: Option<EntryId>,
    /// The highest id that was deleted by itself; trimming does not count.
    deleted: EntryId,
    length: u64,
    /// How many entries were ever added. Redis tells it from version 7 on.
    added: Option<u64>,
}

/// The place up to which a stream was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) read: EntryId,
    /// How many entries the stream had ever had at that place, if Redis tells.
    count: Option<u64>,
}

/// What becomes of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// All that is behind it is there.
    Whole,
    /// Something behind it may be gone. What is left can be read from there.
    Trimmed(Position),
    /// It is of another stream than the present one, where reading goes on from here.
    Replaced(Position),
}

impl Position {
    /// One entry was read.
    pub(crate) fn advance(&mut self, to: EntryId) {
        self.read = to;
        self.count = self.count.map(|count| count + 1);
    }

    /// What was trimmed up to now does not count as unread any more.
    pub(crate) fn recount(&mut self, state: State) {
        let gone = state.added.map(|added| added.saturating_sub(state.length));
        self.count = self.count.max(gone);
    }
}

impl State {
    /// Asks Redis.
    ///
    /// # Errors
    /// If there is no answer, or it is refused.
    pub(crate) async fn read(
        connection: &mut MultiplexedConnection,
        stream: &str,
    ) -> RedisResult<Self> {
        Self::answered(Self::question(stream).query_async(connection).await)
    }

    /// The question, for a connection of another kind.
    pub(crate) fn question(stream: &str) -> Cmd {
        let mut question = redis::cmd("XINFO");
        question.arg("STREAM").arg(stream);
        question
    }

    /// Its answer.
    ///
    /// # Errors
    /// If there is none, or it is refused.
    pub(crate) fn answered(answer: RedisResult<Value>) -> RedisResult<Self> {
        match answer.and_then(|answer| Ok(HashMap::from_redis_value(answer)?)) {
            Ok(answer) => Ok(Self::of(&answer)),
            // `ERR no such key`
            Err(error) if error.code() == Some("ERR") => Ok(Self::of(&HashMap::new())),
            Err(error) => Err(error),
        }
    }

    fn of(answer: &HashMap<String, Value>) -> Self {
        let id = |name: &str| answer.get(name).and_then(id_of);
        let number = |name: &str| match answer.get(name) {
            Some(Value::Int(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        Self {
            last: id("last-generated-id").unwrap_or_default(),
            first: match answer.get("first-entry") {
                Some(Value::Array(parts)) => parts.first().and_then(id_of),
                _ => None,
            },
            deleted: id("max-deleted-entry-id").unwrap_or_default(),
            length: number("length").unwrap_or_default(),
            added: number("entries-added").or((answer.is_empty()).then_some(0)),
        }
    }

    /// The present end. What is added later is behind it.
    pub(crate) fn end(&self) -> Position {
        Position { read: self.last, count: self.added }
    }

    /// Whether all that was ever added behind a place is still there.
    pub(crate) fn reaches_back_to(&self, at: EntryId) -> bool {
        let nothing_is_gone = self.added == Some(self.length);
        at == self.last
            || (at < self.last
                && self.deleted <= at
                && (nothing_is_gone || self.first.is_some_and(|first| first <= at)))
    }

    /// Looks at a position. `linked`: the connection has been there since it was read, so that a
    /// new stream is wholly new.
    pub(crate) fn find(&self, position: Position, linked: bool) -> Finding {
        let Position { read, count } = position;
        // Entries that are gone, counted from the first one ever.
        let gone = self.added.map(|added| added.saturating_sub(self.length));
        // What was read is there, or gone: then the first entry that is there is behind all of it.
        let has_what_was_read = self.first.is_none_or(|first| first <= read);
        let is_other = match (self.added, gone, count) {
            (Some(added), Some(gone), Some(count)) => {
                added < count || (!has_what_was_read && gone < count)
            }
            _ => false,
        };
        if self.last < read {
            let start = Position { read: EntryId::ZERO, count: Some(0) };
            return Finding::Replaced(if linked { start } else { self.end() });
        }
        let goes_on = Position { read, count: gone };
        if is_other {
            return Finding::Replaced(goes_on);
        }
        let is_trimmed = self.last > read
            && (self.deleted > read
                || match (self.first, gone, count) {
                    (Some(first), ..) if first <= read => false,
                    (_, Some(gone), Some(count)) => gone > count,
                    // It is not told, so it has to be supposed.
                    _ => true,
                });
        if is_trimmed { Finding::Trimmed(goes_on) } else { Finding::Whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(millis: u64) -> EntryId {
        EntryId { millis, number: 0 }
    }

    /// A stream of one entry a millisecond, of which the first `gone` are trimmed.
    fn stream(added: u64, gone: u64) -> State {
        State {
            last: id(added),
            first: (gone < added).then(|| id(gone + 1)),
            deleted: EntryId::ZERO,
            length: added - gone,
            added: Some(added),
        }
    }

    fn at(count: u64) -> Position {
        Position { read: id(count), count: Some(count) }
    }

    #[test]
    fn what_was_trimmed_before_it_was_read_is_noticed_and_nothing_else() {
        for linked in [false, true] {
            assert_eq!(stream(10, 0).find(at(10), linked), Finding::Whole);
            assert_eq!(stream(20, 9).find(at(10), linked), Finding::Whole);
            assert_eq!(stream(20, 10).find(at(10), linked), Finding::Whole, "up to it");
            let Finding::Trimmed(position) = stream(20, 11).find(at(10), linked) else { panic!() };
            assert_eq!(position, Position { read: id(10), count: Some(11) });
            assert_eq!(stream(20, 11).find(position, linked), Finding::Whole, "told once");
            assert!(matches!(stream(20, 20).find(at(10), linked), Finding::Trimmed(_)));
            assert_eq!(stream(20, 20).find(at(20), linked), Finding::Whole);
        }
    }

    #[test]
    fn it_is_known_whether_a_stream_reaches_back_to_a_place() {
        for at in [9, 10, 15, 20] {
            assert!(stream(20, 8).reaches_back_to(id(at)), "{at}");
        }
        assert!(
            !stream(20, 10).reaches_back_to(id(9)),
            "10 is gone, and perhaps more was behind 9"
        );
        assert!(!stream(20, 0).reaches_back_to(id(21)), "of another stream");
        assert!(
            stream(20, 0).reaches_back_to(EntryId::ZERO)
                && !stream(20, 1).reaches_back_to(EntryId::ZERO)
        );
        assert!(State::default().reaches_back_to(EntryId::ZERO));
        let state = State { deleted: id(15), ..stream(20, 8) };
        assert!(!state.reaches_back_to(id(14)) && state.reaches_back_to(id(15)));
    }

    #[test]
    fn a_stream_that_was_not_there_at_first_may_be_trimmed_as_well() {
        let before = State::default();
        let before = State { added: Some(0), ..before }.end();
        assert_eq!(stream(20, 0).find(before, false), Finding::Whole);
        assert!(matches!(stream(20, 1).find(before, false), Finding::Trimmed(_)));
    }

    #[test]
    fn an_entry_that_was_deleted_before_it_was_read_is_missing() {
        let state = State { deleted: id(15), ..stream(20, 0) };
        assert!(matches!(state.find(at(10), false), Finding::Trimmed(_)));
        assert_eq!(state.find(at(15), false), Finding::Whole);
    }

    /// Redis 6.2 does not count.
    #[test]
    fn where_redis_does_not_count_the_first_entry_tells() {
        let old = |state: State| State { added: None, ..state };
        let at = |read| Position { read: id(read), count: None };
        assert_eq!(old(stream(20, 9)).find(at(10), false), Finding::Whole);
        assert!(matches!(old(stream(20, 10)).find(at(10), false), Finding::Trimmed(_)));
        assert_eq!(old(stream(10, 0)).find(at(10), false), Finding::Whole);
    }

    #[test]
    fn another_stream_is_noticed_and_read_from_its_end_or_wholly() {
        // restored from a backup: what it has may have been read long ago
        let restored = stream(7, 0);
        assert_eq!(restored.find(at(10), false), Finding::Replaced(restored.end()));
        // emptied while the node was there: what it has is new
        let Finding::Replaced(position) = stream(3, 0).find(at(10), true) else { panic!() };
        assert_eq!(position.read, EntryId::ZERO);
        let nothing = State::default();
        assert!(matches!(nothing.find(at(10), false), Finding::Replaced(_)));
        // emptied, and filled again with later entries
        let later =
            State { last: id(30), first: Some(id(28)), length: 3, added: Some(3), ..nothing };
        let Finding::Replaced(position) = later.find(at(10), false) else { panic!() };
        assert_eq!(position, Position { read: id(10), count: Some(0) });
        // by now as many as had been read of the former one, or more
        for added in [10, 11, 500] {
            let last = id(27 + added);
            let later = State { last, length: added, added: Some(added), ..later };
            let Finding::Replaced(position) = later.find(at(10), false) else { panic!("{added}") };
            assert_eq!(later.find(position, false), Finding::Whole, "told once");
        }
    }
}
