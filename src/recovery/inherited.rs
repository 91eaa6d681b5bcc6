//! What a session brings along from the logs of other nodes: the events that its client may have
//! missed there, in order, as they were in each log.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use socketioxide_core::Value;

use super::{event_id::EventId, offset::Position};

/// An event of another node's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Handed {
    pub(crate) position: Position,
    /// As the client gets it, with its offset in that log.
    #[serde(with = "travelling")]
    pub(crate) value: Value,
    pub(crate) id: Option<EventId>,
}

impl Handed {
    /// Its memory, roughly, in bytes.
    pub(crate) fn size(&self) -> usize {
        super::log::size_of(&self.value) + 64
    }
}

/// A stretch of one log: the events for one session behind `from`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stretch {
    /// The log's name, see [`Offsets`](super::Offsets).
    pub(crate) log: Box<str>,
    pub(crate) from: Position,
    pub(crate) events: Vec<Handed>,
}

/// Stretches of logs, in the order in which the session was at their nodes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inherited {
    stretches: Vec<Stretch>,
    /// Whether this begins where the session began. A client that has received nothing in the
    /// session is served only then.
    is_whole: bool,
}

/// A place in the stretches: behind all events before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    stretch: usize,
    event: usize,
}

impl Inherited {
    /// What the client may have missed of `before`, which the session has inherited itself, from a
    /// place on. Without a place the client has got all of it. `is_cut`: what follows has a gap.
    pub(crate) fn before(before: Option<&Self>, place: Option<Place>, is_cut: bool) -> Self {
        match (before, place) {
            (Some(before), Some(place)) if !is_cut => before.rest(place),
            (None, Some(_)) if !is_cut => Self { stretches: Vec::new(), is_whole: true },
            _ => Self::default(),
        }
    }

    /// The same, and then this stretch.
    pub(crate) fn then(mut self, stretch: Stretch) -> Self {
        self.stretches.push(stretch);
        self
    }

    /// The last events, in so many bytes.
    pub(crate) fn last(mut self, bytes: usize) -> Self {
        while self.size() > bytes {
            self.is_whole = false;
            if self.stretches.len() > 1 {
                self.stretches.remove(0);
                continue;
            }
            let Some(Stretch { from, events, .. }) = self.stretches.first_mut() else { break };
            // Few steps, for each one counts the bytes anew.
            let first: Vec<_> = events.drain(..events.len().div_ceil(4)).collect();
            let Some(last) = first.last() else { break };
            *from = last.position;
        }
        self
    }

    /// The place before everything. `None`: something before it is missing.
    pub(crate) fn start(&self) -> Option<Place> {
        self.is_whole.then(Place::default)
    }

    /// The place behind an event of one of these logs. `None`: something behind it is missing.
    pub(crate) fn behind(&self, log: &str, position: Position) -> Option<Place> {
        // The session may have been at one node several times. No two stays begin at one place.
        let of_log = self.stretches.iter().enumerate().rev().filter(|(_, of)| *of.log == *log);
        let found = of_log.into_iter().find(|(_, of)| of.from <= position);
        // Otherwise the client has kept the place from an earlier session, or lacks something.
        let Some((stretch, of)) = found else { return self.start() };
        let event = of.events.partition_point(|event| event.position <= position);
        Some(Place { stretch, event })
    }

    /// The place behind everything.
    pub(crate) fn end(&self) -> Place {
        Place { stretch: self.stretches.len(), event: 0 }
    }

    /// The next event at a place, which moves behind it.
    pub(crate) fn next(&self, place: &mut Place) -> Option<&Handed> {
        loop {
            let stretch = self.stretches.get(place.stretch)?;
            if let Some(event) = stretch.events.get(place.event) {
                place.event += 1;
                return Some(event);
            }
            *place = Place { stretch: place.stretch + 1, event: 0 };
        }
    }

    /// What is behind a place.
    fn rest(&self, place: Place) -> Self {
        let is_whole = self.is_whole && place == Place::default();
        let mut rest = Self { stretches: Vec::new(), is_whole };
        for (number, stretch) in self.stretches.iter().enumerate().skip(place.stretch) {
            let skipped = if number == place.stretch { place.event } else { 0 };
            let from = match skipped.checked_sub(1).and_then(|last| stretch.events.get(last)) {
                Some(last) => last.position,
                None => stretch.from,
            };
            let events = stretch.events.iter().skip(skipped).cloned().collect();
            rest.stretches.push(Stretch { log: stretch.log.clone(), from, events });
        }
        rest
    }

    /// The names of all events that have one.
    pub(crate) fn ids(&self) -> HashSet<EventId> {
        let events = self.stretches.iter().flat_map(|stretch| &stretch.events);
        events.filter_map(|event| event.id).collect()
    }

    /// The memory that it takes, roughly, in bytes.
    pub(crate) fn size(&self) -> usize {
        let events = self.stretches.iter().flat_map(|stretch| &stretch.events);
        events.map(Handed::size).sum::<usize>() + 64
    }
}

/// Events as they travel: bytes as bytes. The engine's own form has a number for each.
mod travelling {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use socketioxide_core::Value;

    #[derive(Serialize, Deserialize)]
    enum Form {
        Text(String, Option<VecDeque<Bytes>>),
        Bytes(Bytes),
    }

    pub(super) fn serialize<S: Serializer>(value: &Value, to: S) -> Result<S::Ok, S::Error> {
        match value.clone() {
            Value::Str(text, attachments) => Form::Text(text.as_str().into(), attachments),
            Value::Bytes(bytes) => Form::Bytes(bytes),
        }
        .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        Ok(match Form::deserialize(from)? {
            Form::Text(text, attachments) => Value::Str(text.into(), attachments),
            Form::Bytes(bytes) => Value::Bytes(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> Position {
        Position::numbered(number)
    }

    fn stretch(log: &str, from: u64, numbers: &[u64]) -> Stretch {
        let event = |number: &u64| Handed {
            position: at(*number),
            value: Value::Str(format!("[{number}]").into(), None),
            id: Some(EventId(1, *number)),
        };
        Stretch { log: log.into(), from: at(from), events: numbers.iter().map(event).collect() }
    }

    fn of(stretches: Vec<Stretch>) -> Inherited {
        Inherited { stretches, is_whole: false }
    }

    fn numbers(inherited: &Inherited, mut place: Place) -> Vec<u64> {
        let next = || inherited.next(&mut place).map(|event| event.position.number);
        std::iter::from_fn(next).collect()
    }

    fn behind(inherited: &Inherited, log: &str, number: u64) -> Option<Vec<u64>> {
        let place = inherited.behind(log, at(number))?;
        let found = numbers(inherited, place);
        assert_eq!(numbers(&inherited.rest(place), Place::default()), found);
        Some(found)
    }

    #[test]
    fn what_is_behind_an_offset_goes_on_in_the_next_log() {
        let inherited = of(vec![
            stretch("one", 4, &[5, 9]),
            stretch("two", 0, &[]),
            stretch("three", 7, &[8, 20]),
        ]);
        assert_eq!(behind(&inherited, "one", 4), Some(vec![5, 9, 8, 20]));
        assert_eq!(behind(&inherited, "one", 5), Some(vec![9, 8, 20]));
        assert_eq!(behind(&inherited, "one", 30), Some(vec![8, 20]));
        assert_eq!(behind(&inherited, "three", 8), Some(vec![20]));
        assert_eq!(behind(&inherited, "three", 20), Some(vec![]));
        assert_eq!(behind(&inherited, "one", 3), None, "something is missing");
        assert_eq!(inherited.ids().len(), 4);
        let rest = inherited.rest(inherited.behind("one", at(5)).expect("there"));
        assert_eq!(behind(&rest, "one", 4), None);
        assert_eq!(behind(&rest, "one", 5), Some(vec![9, 8, 20]));
    }

    #[test]
    fn a_session_may_be_at_one_node_several_times() {
        let stays =
            vec![stretch("one", 4, &[5]), stretch("two", 0, &[1]), stretch("one", 9, &[11])];
        let stays = of(stays);
        assert_eq!(behind(&stays, "one", 5), Some(vec![1, 11]));
        assert_eq!(behind(&stays, "one", 8), Some(vec![1, 11]));
        assert_eq!(behind(&stays, "one", 9), Some(vec![11]));
        assert_eq!(behind(&stays, "one", 11), Some(vec![]));
    }

    #[test]
    fn who_has_received_nothing_gets_all_of_a_whole_session_and_nothing_of_another() {
        let place = Some(Place::default());
        let whole = Inherited::before(None, place, false).then(stretch("one", 4, &[5, 9]));
        let whole = Inherited::before(Some(&whole), place, false).then(stretch("two", 0, &[1]));
        assert_eq!(whole.start().map(|start| numbers(&whole, start)), Some(vec![5, 9, 1]));
        assert_eq!(behind(&whole, "an earlier session", 3), Some(vec![5, 9, 1]));
        assert_eq!(behind(&whole, "one", 3), Some(vec![5, 9, 1]), "of an earlier session, too");
        let taken_up = whole.behind("one", at(5));
        for part in [
            Inherited::before(Some(&whole), taken_up, false),
            Inherited::before(Some(&whole), place, true),
            Inherited::before(Some(&whole), None, false),
            Inherited::before(None, None, false),
        ] {
            let part = part.then(stretch("three", 7, &[8]));
            assert_eq!((part.start(), behind(&part, "an earlier session", 3)), (None, None));
            assert_eq!(behind(&part, "three", 7), Some(vec![8]));
        }
    }

    #[test]
    fn the_last_events_are_complete_behind_some_place() {
        let all: Vec<u64> = (5..500).collect();
        let inherited = of(vec![stretch("two", 0, &[1]), stretch("one", 4, &all)]);
        let bytes = inherited.size();
        assert_eq!(behind(&inherited.clone().last(bytes), "two", 0).map(|it| it.len()), Some(496));
        let last = inherited.last(bytes / 2);
        assert!(last.size() <= bytes / 2 && last.size() > bytes / 4);
        assert_eq!(behind(&last, "two", 0), None);
        let from = last.stretches[0].from.number;
        assert_eq!(behind(&last, "one", from - 1), None);
        assert_eq!(behind(&last, "one", from), Some((from + 1..500).collect()));
    }

    #[test]
    fn it_travels() {
        let attachments = [b"\0\xff".as_slice().into()].into();
        let mut binary = stretch("two", 3, &[4, 5]);
        binary.events[0].value = Value::Str("[{}]".into(), Some(attachments));
        binary.events[1].value = Value::Bytes(vec![0xff; 1000].into());
        let inherited = of(vec![stretch("one", 4, &[5, 9]), binary]);
        let written = rmp_serde::to_vec(&inherited).expect("written");
        assert!(written.len() < inherited.size());
        let read: Inherited = rmp_serde::from_slice(&written).expect("read");
        assert_eq!(behind(&read, "one", 5), Some(vec![9, 4, 5]));
        let values = |it: &Inherited| -> Vec<Value> {
            it.stretches.iter().flat_map(|it| &it.events).map(|it| it.value.clone()).collect()
        };
        assert_eq!(values(&read), values(&inherited));
    }
}
