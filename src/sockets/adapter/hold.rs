//! What waits for a socket that is to get a history first, and what comes of an event to it.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use smallvec::SmallVec;
use socketioxide_core::{
    adapter::Room,
    packet::{Packet, PacketData},
};

use crate::{
    payload::size_of_value,
    recovery::{EventId, Position},
    sockets::archive::Kept,
};

/// Most events, and most of their bytes, that wait for one socket. With more it is too slow, as with
/// everything else that waits for it.
const MAX_EVENTS: usize = 8192;
const MAX_BYTES: usize = 4 << 20;

/// When what a socket has seen is set aside, to be forgotten the next time.
const MAX_SEEN: usize = 8192;

/// What is with a socket. Most have nothing here.
#[derive(Default)]
pub(super) struct Hold {
    is_on: AtomicBool,
    held: Mutex<Option<Box<Held>>>,
}

#[derive(Default)]
struct Held {
    /// Joins whose history has not been sent.
    joins: usize,
    /// Events wait: some history has not been sent, or something has waited for it.
    is_holding: bool,
    /// The rooms of these joins.
    rooms: SmallVec<[Room; 1]>,
    /// Joins that nobody looks after yet, because the socket is on its way into the namespace.
    begun: Vec<Join>,
    waiting: Vec<Waiting>,
    bytes: usize,
    /// What the histories of these joins had: an event to several rooms comes once.
    sent: HashSet<EventId>,
    /// What any history had, which may come once more until then.
    seen: HashSet<EventId>,
    /// The same, longer ago.
    seen_before: HashSet<EventId>,
    until: Option<Instant>,
}

/// A join of a room with a history.
pub(super) struct Join {
    pub(super) room: Room,
    pub(super) count: usize,
    /// The place in the log when it joined.
    pub(super) since: Option<Position>,
}

/// An event as it is delivered.
#[derive(Clone)]
pub(super) struct Waiting {
    pub(super) packet: Packet,
    /// The rooms that it is for.
    pub(super) rooms: SmallVec<[Room; 1]>,
    pub(super) place: Option<Position>,
    pub(super) id: Option<EventId>,
}

/// What becomes of an event to a socket with a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    Waits,
    /// The socket has had it, or is not ready for what is volatile.
    Never,
    /// Too much waits.
    TooMuch,
}

impl Hold {
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// The socket is about to join a room.
    pub(super) fn begin(&self, join: Join) {
        let mut held = self.held.lock();
        let it = held.get_or_insert_default();
        it.joins += 1;
        if !std::mem::replace(&mut it.is_holding, true) {
            it.sent.clear();
        }
        it.rooms.push(join.room.clone());
        it.begun.push(join);
        self.is_on.store(true, Ordering::Release);
    }

    pub(super) fn take_begun(&self) -> Vec<Join> {
        self.held.lock().as_mut().map(|held| std::mem::take(&mut held.begun)).unwrap_or_default()
    }

    /// Decides about an event. `everything`: also about those to other rooms.
    pub(super) fn turn(&self, event: &Waiting, is_volatile: bool, everything: bool) -> Turn {
        let mut hold = self.held.lock();
        let Some(held) = hold.as_mut() else { return Turn::Now };
        if event.id.is_some_and(|id| held.seen.contains(&id) || held.seen_before.contains(&id)) {
            return Turn::Never;
        }
        if !held.is_holding {
            if held.until.is_none_or(|until| until <= Instant::now()) {
                self.end(&mut hold);
            }
            return Turn::Now;
        }
        if !everything && !event.rooms.iter().any(|room| held.rooms.contains(room)) {
            return Turn::Now;
        }
        if is_volatile {
            return Turn::Never;
        }
        held.bytes += bytes_of(&event.packet);
        if held.waiting.len() >= MAX_EVENTS || held.bytes > MAX_BYTES {
            return Turn::TooMuch;
        }
        held.waiting.push(event.clone());
        Turn::Waits
    }

    fn end(&self, hold: &mut Option<Box<Held>>) {
        *hold = None;
        self.is_on.store(false, Ordering::Release);
    }

    /// Leaves out of the history of a room what comes, or has come, on the other way. Each sender's events
    /// to a room come in order: behind the first of them that waits, all do. What came with another room
    /// is left out, too. The rest counts as sent.
    pub(super) fn not_yet_sent(&self, room: &Room, history: Vec<Kept>) -> Vec<Kept> {
        let mut hold = self.held.lock();
        let Some(held) = hold.as_mut() else { return Vec::new() };
        let mut first: HashMap<u64, u64> = HashMap::new();
        for id in held.waiting.iter().filter(|it| it.rooms.contains(room)).filter_map(|it| it.id) {
            let number = first.entry(id.sender()).or_insert(id.number());
            *number = id.number().min(*number);
        }
        let comes =
            |id: EventId| first.get(&id.sender()).is_some_and(|first| id.number() >= *first);
        let is_new = |it: &Kept| !comes(it.id) && held.sent.insert(it.id);
        let history: Vec<_> = history.into_iter().filter(is_new).collect();
        // Whoever joins again and again does not take more and more memory.
        if held.seen.len() >= MAX_SEEN {
            held.seen_before = std::mem::take(&mut held.seen);
        }
        held.seen.extend(history.iter().map(|it| it.id));
        history
    }

    /// The histories of so many joins have been sent.
    pub(super) fn sent(&self, joins: usize) {
        if let Some(held) = self.held.lock().as_mut() {
            held.joins = held.joins.saturating_sub(joins);
        }
    }

    /// What has waited and may be sent now. If nothing has, the hold ends, but for what may come once
    /// more.
    pub(super) fn next(&self, under_way: Duration) -> Vec<Waiting> {
        let mut hold = self.held.lock();
        let Some(held) = hold.as_mut().filter(|held| held.joins == 0) else { return Vec::new() };
        held.bytes = 0;
        let waiting = std::mem::take(&mut held.waiting);
        if waiting.is_empty() {
            held.is_holding = false;
            held.rooms.clear();
            held.until = Some(Instant::now() + under_way);
            if held.seen.is_empty() {
                self.end(&mut hold);
            }
        }
        waiting
    }
}

fn bytes_of(packet: &Packet) -> usize {
    match &packet.inner {
        PacketData::Event(value, _) | PacketData::BinaryEvent(value, _) => size_of_value(value),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use socketioxide_core::Value;

    use super::*;
    use crate::payload::Payload;

    const UNDER_WAY: Duration = Duration::from_secs(60);

    fn room() -> Room {
        Room::Borrowed("r")
    }

    fn joining() -> Hold {
        let hold = Hold::default();
        hold.begin(Join { room: room(), count: 10, since: None });
        hold
    }

    fn live(sender: &str, number: u64) -> Waiting {
        let value = Value::Str("[\"e\"]".into(), None);
        let rooms = SmallVec::from_buf([room()]);
        let id = Some(EventId::of(sender, number));
        Waiting { packet: Packet::event("/", value), rooms, place: None, id }
    }

    fn kept(sender: &str, number: u64) -> Kept {
        let payload = Payload::event("e", &()).expect("an event");
        Kept { id: EventId::of(sender, number), payload }
    }

    fn sent(hold: &Hold, history: Vec<Kept>) -> Vec<EventId> {
        hold.not_yet_sent(&room(), history).into_iter().map(|it| it.id).collect()
    }

    fn ends(hold: &Hold) -> Vec<Option<EventId>> {
        hold.sent(1);
        let waiting = hold.next(UNDER_WAY);
        assert!(waiting.is_empty() || hold.next(UNDER_WAY).is_empty());
        waiting.into_iter().map(|it| it.id).collect()
    }

    #[test]
    fn what_waits_comes_after_the_history_and_once() {
        let hold = joining();
        assert_eq!(hold.turn(&live("a", 3), false, false), Turn::Waits);
        assert_eq!(hold.turn(&live("a", 4), true, false), Turn::Never, "it is not ready");
        let history = vec![kept("a", 1), kept("a", 2), kept("a", 3)];
        assert_eq!(sent(&hold, history), [EventId::of("a", 1), EventId::of("a", 2)]);
        assert_eq!(ends(&hold), [Some(EventId::of("a", 3))]);
        assert_eq!(hold.turn(&live("a", 2), false, false), Turn::Never, "the history had it");
        assert_eq!(hold.turn(&live("a", 5), false, false), Turn::Now);
    }

    #[test]
    fn the_history_does_not_overtake_what_waits_of_the_same_sender() {
        let hold = joining();
        assert_eq!(hold.turn(&live("a", 3), false, false), Turn::Waits);
        // 4 is in the store, and still under way here. 9 was sent by another node before the join.
        let history = vec![kept("a", 2), kept("b", 9), kept("a", 3), kept("a", 4)];
        assert_eq!(sent(&hold, history), [EventId::of("a", 2), EventId::of("b", 9)]);
        assert_eq!(hold.turn(&live("a", 4), false, false), Turn::Waits);
        let waited = [3, 4].map(|number| Some(EventId::of("a", number)));
        assert_eq!(ends(&hold), waited);
    }

    #[test]
    fn other_rooms_wait_only_where_a_log_has_one_order() {
        let hold = joining();
        let other = Waiting { rooms: SmallVec::new(), ..live("a", 3) };
        assert_eq!(hold.turn(&other, false, false), Turn::Now);
        assert_eq!(hold.turn(&other, false, true), Turn::Waits);
        assert_eq!(sent(&hold, vec![kept("a", 4)]), [EventId::of("a", 4)], "3 is of another room");
    }

    #[test]
    fn several_joins_end_together_and_too_much_is_too_much() {
        let hold = joining();
        hold.begin(Join { room: Room::Borrowed("s"), count: 10, since: None });
        assert_eq!(hold.take_begun().len(), 2);
        for number in 0..MAX_EVENTS as u64 {
            assert_eq!(hold.turn(&live("a", number), false, false), Turn::Waits);
        }
        assert_eq!(hold.turn(&live("a", 0), false, false), Turn::TooMuch);
        hold.sent(1);
        assert!(hold.next(UNDER_WAY).is_empty() && hold.is_on(), "one history is missing");
        assert_eq!(ends(&hold).len(), MAX_EVENTS);
        assert!(!hold.is_on(), "nothing of a history may come again");
    }

    #[test]
    fn who_joins_again_gets_the_history_again() {
        let hold = joining();
        assert_eq!(sent(&hold, vec![kept("a", 1)]).len(), 1);
        assert!(ends(&hold).is_empty());
        hold.begin(Join { room: room(), count: 10, since: None });
        assert_eq!(sent(&hold, vec![kept("a", 1)]).len(), 1);
        assert_eq!(sent(&hold, vec![kept("a", 1)]).len(), 0, "with another room of this join");
    }
}
