//! What recovery knows of a namespace, changed under one lock: the log, the sessions of connected
//! sockets, and the kept ones.
//!
//! In memory the log counts its events itself. In Redis each place comes with the message, and a
//! session may have begun on another node: this node's log has nothing for it from before.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use socketioxide_core::{Sid, Str, adapter::Room};

use crate::{
    cluster::peers::past::Page,
    recovery::{
        Change, Changed, Changes, EventId, History, Inherited, Log, LogBounds, Pid, Place,
        Position, Scope,
    },
    sockets::{kept::Kept, roaming::Roaming},
};

/// The log of a namespace and its sessions.
pub(in crate::sockets::adapter) struct Ledger {
    pub(super) log: Log,
    pub(super) kept: Kept,
    pub(super) sessions: HashMap<Sid, Session>,
    pub(super) live: HashMap<Pid, Sid>,
    bounds: LogBounds,
    /// For a log in Redis. `None` before anything of it was read.
    reading: Option<Reading>,
    namespace: Str,
    /// Told of sessions that change, if they are in Redis as well.
    roaming: Option<Arc<Roaming>>,
}

/// How far the log in Redis was read.
struct Reading {
    /// The last place of a message of the namespace, or where reading began.
    place: Position,
    changes: Changes,
    /// Some sessions have got an event that may have a place or not.
    has_hole: bool,
}

/// The session of a connected socket.
pub(super) struct Session {
    pub(super) pid: Pid,
    pub(super) history: History,
    /// The place up to which the socket has got everything. `None`: its gate is open.
    pub(super) gate: Option<Position>,
    /// It has come back, so it is kept even if its connection breaks before it is connected.
    pub(super) has_come_back: bool,
    /// The owner's turn in Redis.
    pub(super) turn: u64,
    /// What came up to this place is not in the log here: the session was elsewhere.
    pub(super) elsewhere: Position,
    /// The first of what its client has missed, if it comes from Redis.
    pub(super) first: Option<Page>,
    /// When it was last noted for Redis for no other reason than the time.
    pub(super) refreshed: Instant,
    /// It has got an event of which it is not known whether it has a place in the log.
    pub(super) is_unsure: bool,
    pub(super) heir: Option<Box<Heir>>,
}

/// A session that has inherited events of other nodes.
pub(super) struct Heir {
    pub(super) inherited: Inherited,
    /// What is sent next.
    pub(super) next: Place,
    /// They may be in the log of this node, too.
    pub(super) ids: HashSet<EventId>,
}

impl Heir {
    /// Without a place the client has got all of it.
    pub(super) fn new(inherited: Inherited, place: Option<Place>) -> Self {
        let next = place.unwrap_or_else(|| inherited.end());
        Self { ids: inherited.ids(), inherited, next }
    }
}

impl Session {
    pub(super) fn new(pid: Pid, history: History, gate: Position) -> Self {
        Self {
            pid,
            history,
            gate: Some(gate),
            has_come_back: false,
            turn: 1,
            elsewhere: Position::ZERO,
            first: None,
            refreshed: Instant::now(),
            is_unsure: false,
            heir: None,
        }
    }
}

impl Ledger {
    pub(super) fn new(bounds: LogBounds, namespace: Str, roaming: Option<Arc<Roaming>>) -> Self {
        Self {
            log: Log::new(bounds, Position::default()),
            kept: Kept::default(),
            sessions: HashMap::new(),
            live: HashMap::new(),
            bounds,
            reading: None,
            namespace,
            roaming,
        }
    }

    /// The present place: what is sent from now on comes behind it.
    pub(in crate::sockets::adapter) fn now(&self) -> Position {
        self.reading.as_ref().map_or(self.log.head(), |reading| reading.place)
    }

    /// Whether anything of a log in Redis was read.
    pub(super) fn has_read(&self) -> bool {
        self.reading.is_some()
    }

    /// Reading the log in Redis has begun behind this place, unless it had begun before.
    pub(super) fn has_read_up_to(&mut self, place: Position) {
        if self.reading.is_none() {
            self.log = Log::new(self.bounds, place);
            self.reading = Some(Reading { place, changes: Changes::new(place), has_hole: false });
        }
    }

    /// A message with this place in Redis is handled now. Returns false if it cannot have it: the
    /// log is another one than before, whose clock is late.
    pub(super) fn reaches(&mut self, place: Position) -> bool {
        self.has_read_up_to(place.before());
        let reading = self.reading.as_mut();
        let is_next = reading.as_ref().is_some_and(|reading| reading.place < place);
        reading.filter(|_| is_next).into_iter().for_each(|reading| reading.place = place);
        is_next
    }

    /// Servers have changed the selected sockets, by the message at the present place.
    pub(super) fn changed(&mut self, scope: Scope, change: Change) {
        if let Some(reading) = &mut self.reading {
            reading.changes.push(Changed { at: reading.place, scope, change });
        }
    }

    /// What servers have changed behind this place. `None` if that is not known any more.
    pub(super) fn changes_after(&self, place: Position) -> Option<impl Iterator<Item = &Changed>> {
        self.reading.as_ref()?.changes.after(place)
    }

    /// Changes by servers may have been missed until now.
    pub(super) fn may_have_missed_changes(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.changes = Changes::new(reading.place);
        }
    }

    /// An event has been sent to live sockets without a place, though it may turn up in the log. The
    /// sessions that it was for do not come back to a place before the next certain one.
    pub(super) fn is_unsure(&mut self, scope: &Scope) {
        for session in self.sessions.values_mut().filter(|it| it.history.is_meant(scope)) {
            session.is_unsure = true;
        }
        if let Some(reading) = &mut self.reading {
            reading.has_hole = true;
        }
    }

    /// An event of this node has this place: whatever was sent before is in the log before it, or
    /// not at all.
    pub(super) fn is_sure_at(&mut self, place: Position) {
        let Some(reading) = self.reading.as_mut().filter(|reading| reading.has_hole) else {
            return;
        };
        reading.has_hole = false;
        let mut unsure: Vec<Pid> = Vec::new();
        for session in self.sessions.values_mut().filter(|session| session.is_unsure) {
            session.is_unsure = false;
            session.history.forget_until(place);
            unsure.push(session.pid.clone());
        }
        unsure.iter().for_each(|pid| self.note(pid));
    }

    /// Whether the session may be continued from a place that the client has heard of.
    pub(super) fn is_certain(&self, sid: Sid) -> bool {
        self.sessions.get(&sid).is_none_or(|session| !session.is_unsure)
    }

    /// A socket has joined rooms. To be called in the step in which it did.
    pub(in crate::sockets::adapter) fn joined(&mut self, sid: Sid, rooms: &[Room]) {
        let now = self.now();
        if let Some(session) = self.sessions.get_mut(&sid) {
            let joined = rooms.iter().filter(|room| session.history.join(room, now)).count();
            if joined > 0 {
                let pid = session.pid.clone();
                self.note(&pid);
            }
        }
    }

    /// A socket has left rooms. To be called in the step in which it did.
    pub(in crate::sockets::adapter) fn left(&mut self, sid: Sid, rooms: &[Room]) {
        let (now, floor) = (self.now(), self.floor());
        if let Some(session) = self.sessions.get_mut(&sid) {
            let left = rooms.iter().filter(|room| session.history.leave(room, now, floor)).count();
            if left > 0 {
                let pid = session.pid.clone();
                self.note(&pid);
            }
        }
    }

    /// The place before which nobody recovers. The log in Redis may reach back further than this
    /// node knows.
    pub(super) fn floor(&self) -> Position {
        match self.reading {
            Some(_) => Position::ZERO,
            None => self.log.floor(),
        }
    }

    /// Nobody comes back to the session of this socket, which is about to be disconnected.
    pub(in crate::sockets::adapter) fn end(&mut self, sid: Sid) {
        if let Some(session) = self.forget(sid)
            && let Some(roaming) = &self.roaming
        {
            roaming.ended(session.pid, session.turn);
        }
    }

    /// The session of this socket is not this node's any more.
    pub(super) fn forget(&mut self, sid: Sid) -> Option<Session> {
        let session = self.sessions.remove(&sid)?;
        self.live.remove(&session.pid);
        Some(session)
    }

    /// This session has changed, and is written to Redis soon if sessions are there.
    pub(super) fn note(&self, pid: &Pid) {
        if let Some(roaming) = &self.roaming {
            roaming.touch(&self.namespace, pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Position {
        Position { millis, number: 0 }
    }

    fn room(name: &str) -> Room {
        Room::Owned(name.to_owned())
    }

    fn scope(name: &str) -> Scope {
        Scope { rooms: [room(name)].into(), except: Box::default() }
    }

    fn ledger() -> Ledger {
        let bounds = LogBounds { entries: 9, age: Duration::from_secs(9) };
        Ledger::new(bounds, Str::from("/"), None)
    }

    /// Adds a session in a room.
    fn enters(ledger: &mut Ledger, name: &str) -> Sid {
        let (sid, now) = (Sid::new(), ledger.now());
        let mut history = History::new(now);
        history.join(&room(name), now);
        ledger.sessions.insert(sid, Session::new(Pid::random(), history, now));
        sid
    }

    #[test]
    fn places_in_redis_only_grow() {
        let mut ledger = ledger();
        assert!(!ledger.has_read());
        ledger.has_read_up_to(at(10));
        assert_eq!((ledger.now(), ledger.log.floor()), (at(10), at(10)));
        assert!(ledger.reaches(at(12)) && !ledger.reaches(at(12)) && !ledger.reaches(at(11)));
        ledger.has_read_up_to(at(50));
        assert_eq!(ledger.now(), at(12), "reading begins once");
        ledger.changed(scope("a"), Change::End);
        assert_eq!(ledger.changes_after(at(11)).map(Iterator::count), Some(1));
        assert_eq!(ledger.changes_after(at(12)).map(Iterator::count), Some(0));
        assert!(ledger.changes_after(at(9)).is_none(), "before it has read");
        ledger.may_have_missed_changes();
        assert!(ledger.changes_after(at(11)).is_none());
    }

    #[test]
    fn an_event_may_be_the_first_that_is_read() {
        let mut ledger = ledger();
        assert!(ledger.reaches(at(10)));
        assert!(ledger.log.floor() < at(10) && ledger.now() == at(10));
    }

    #[test]
    fn nobody_goes_on_from_before_an_event_of_which_nobody_knows() {
        let mut ledger = ledger();
        ledger.has_read_up_to(at(10));
        let (of, other) = (enters(&mut ledger, "a"), enters(&mut ledger, "b"));
        ledger.is_unsure(&scope("a"));
        assert!(!ledger.is_certain(of) && ledger.is_certain(other));
        ledger.is_sure_at(at(20));
        assert!(ledger.is_certain(of));
        let knows = |sid: &Sid, place| ledger.sessions[sid].history.knows(at(place));
        assert!(!knows(&of, 19) && knows(&of, 20) && knows(&other, 10));
    }
}
