//! Sessions of clients that are away, in memory: each waits for its client until its time is over.
//!
//! A session keeps its rooms. Joins and leaves by the server reach it there, and a disconnect ends
//! it, as they do with a connected socket.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use socketioxide_core::adapter::Room;

use crate::{
    recovery::{History, Inherited, Pid, Position, Scope},
    sockets::record::SocketRecord,
};

/// A session whose client is away.
#[derive(Debug)]
pub(crate) struct KeptSession {
    /// The socket. Its present rooms are those of the history.
    pub(crate) record: SocketRecord,
    pub(crate) history: History,
    /// Nobody gets it after this.
    pub(crate) until: Instant,
    /// The owner's turn in Redis.
    pub(crate) turn: u64,
    /// What came up to this place is not in the log of this node.
    pub(crate) elsewhere: Position,
    /// What the client may have missed at other nodes before.
    pub(crate) inherited: Option<Inherited>,
}

#[derive(Debug)]
struct Place {
    session: KeptSession,
    /// Its order among those that end at the same time.
    number: u64,
    size: usize,
    /// Its client is coming back: nobody else gets it, and it does not end meanwhile.
    is_claimed: bool,
}

/// The kept sessions of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    sessions: HashMap<Pid, Place>,
    /// By the time at which they end.
    due: BTreeSet<(Instant, u64)>,
    by_number: HashMap<u64, Pid>,
    /// How many of them are in each room.
    rooms: HashMap<Room, usize>,
    count: u64,
    bytes: usize,
}

impl Kept {
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Their memory, roughly, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one of them is in a room.
    pub(crate) fn has_any_in(&self, room: &str) -> bool {
        self.rooms.contains_key(room)
    }

    /// All their rooms.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.rooms.keys()
    }

    /// The time at which the next one ends.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Keeps a session.
    pub(crate) fn keep(&mut self, pid: Pid, session: KeptSession) {
        self.remove(&pid);
        for room in session.history.rooms() {
            *self.rooms.entry(room.clone()).or_default() += 1;
        }
        self.count += 1;
        let (number, size) = (self.count, size_of(&pid, &session));
        self.due.insert((session.until, number));
        self.by_number.insert(number, pid.clone());
        self.bytes += size;
        self.sessions.insert(pid, Place { session, number, size, is_claimed: false });
    }

    /// The session of this client. `None` if there is none, or somebody has claimed it.
    pub(crate) fn find(&self, pid: &Pid, now: Instant) -> Option<&KeptSession> {
        let place = self.sessions.get(pid)?;
        let is_there = !place.is_claimed && place.session.until > now;
        is_there.then_some(&place.session)
    }

    /// Whether a client is coming back to this session.
    pub(crate) fn is_claimed(&self, pid: &Pid) -> bool {
        self.sessions.get(pid).is_some_and(|place| place.is_claimed)
    }

    /// The clients that are waited for.
    pub(crate) fn pids(&self, now: Instant) -> Vec<Pid> {
        let waiting = self.sessions.iter().filter(|(pid, _)| self.find(pid, now).is_some());
        waiting.map(|(pid, _)| pid.clone()).collect()
    }

    /// A session gets what it has inherited. Returns whether it is still there.
    pub(crate) fn fill(&mut self, pid: &Pid, inherited: Inherited) -> bool {
        let Some(place) = self.sessions.get_mut(pid) else { return false };
        place.session.inherited = Some(inherited);
        self.bytes = self.bytes.saturating_add_signed(place.remeasured(pid));
        true
    }

    /// Nobody else gets this session from now on. It keeps its place until it is
    /// [`take`](Self::take)n or [`give_back`](Self::give_back) is called.
    pub(crate) fn claim(&mut self, pid: &Pid) {
        if let Some(place) = self.sessions.get_mut(pid) {
            place.is_claimed = true;
            self.due.remove(&(place.session.until, place.number));
        }
    }

    /// The client did not come back after all.
    pub(crate) fn give_back(&mut self, pid: &Pid) {
        if let Some(place) = self.sessions.get_mut(pid)
            && place.is_claimed
        {
            place.is_claimed = false;
            self.due.insert((place.session.until, place.number));
        }
    }

    /// Takes a session: it is kept no longer.
    pub(crate) fn take(&mut self, pid: &Pid) -> Option<KeptSession> {
        self.remove(pid)
    }

    fn remove(&mut self, pid: &Pid) -> Option<KeptSession> {
        let Place { session, number, size, .. } = self.sessions.remove(pid)?;
        self.due.remove(&(session.until, number));
        self.by_number.remove(&number);
        self.bytes -= size;
        for room in session.history.rooms() {
            self.vacate(room);
        }
        if self.sessions.is_empty() {
            // Gives the memory of many back.
            *self = Self { count: self.count, ..Self::default() };
        }
        Some(session)
    }

    fn vacate(&mut self, room: &Room) {
        if let Some(count) = self.rooms.get_mut(room) {
            *count -= 1;
            if *count == 0 {
                self.rooms.remove(room);
            }
        }
    }

    /// Ends the sessions whose time is over, and returns them.
    pub(crate) fn end_due(&mut self, now: Instant) -> Vec<(Pid, KeptSession)> {
        let mut ended = Vec::new();
        while let Some((at, _)) = self.due.first()
            && *at <= now
        {
            ended.extend(self.end_first());
        }
        ended
    }

    /// Ends the session whose time would be over first.
    pub(crate) fn end_first(&mut self) -> Option<(Pid, KeptSession)> {
        let (_, number) = self.due.first()?;
        let pid = self.by_number.get(number)?.clone();
        self.remove(&pid).map(|session| (pid, session))
    }

    /// Ends the sessions that are selected, claimed ones included, and returns them.
    pub(crate) fn end(
        &mut self,
        selected: impl Fn(&KeptSession) -> bool,
    ) -> Vec<(Pid, KeptSession)> {
        let pids = self.select(&selected).into_iter();
        pids.filter_map(|pid| self.remove(&pid).map(|session| (pid, session))).collect()
    }

    fn select(&self, selected: impl Fn(&KeptSession) -> bool) -> Vec<Pid> {
        let chosen = self.sessions.iter().filter(|(_, place)| selected(&place.session));
        chosen.map(|(pid, _)| pid.clone()).collect()
    }

    /// The session of this secret, claimed or not.
    pub(crate) fn get(&self, pid: &Pid) -> Option<&KeptSession> {
        self.sessions.get(pid).map(|place| &place.session)
    }

    /// The sessions that `scope` means join rooms. Returns their secrets.
    pub(crate) fn join(&mut self, scope: &Scope, rooms: &[Room], at: Position) -> Vec<Pid> {
        let joining = self.select(|session| session.history.is_meant(scope));
        for pid in &joining {
            let Some(place) = self.sessions.get_mut(pid) else { continue };
            for room in rooms {
                if place.session.history.join(room, at) {
                    *self.rooms.entry(room.clone()).or_default() += 1;
                }
            }
            self.bytes = self.bytes.saturating_add_signed(place.remeasured(pid));
        }
        joining
    }

    /// The sessions that `scope` means leave rooms. Returns their secrets.
    pub(crate) fn leave(
        &mut self,
        scope: &Scope,
        rooms: &[Room],
        at: Position,
        floor: Position,
    ) -> Vec<Pid> {
        let leaving = self.select(|session| session.history.is_meant(scope));
        for pid in &leaving {
            let Some(place) = self.sessions.get_mut(pid) else { continue };
            let history = &mut place.session.history;
            let left: Vec<&Room> =
                rooms.iter().filter(|room| history.leave(room, at, floor)).collect();
            self.bytes = self.bytes.saturating_add_signed(place.remeasured(pid));
            left.into_iter().for_each(|room| self.vacate(room));
        }
        leaving
    }
}

impl Place {
    fn remeasured(&mut self, pid: &Pid) -> isize {
        let before = std::mem::replace(&mut self.size, size_of(pid, &self.session));
        self.size.wrapping_sub(before).cast_signed()
    }
}

fn size_of(pid: &Pid, session: &KeptSession) -> usize {
    let KeptSession { record, history, inherited, .. } = session;
    let inherited = inherited.as_ref().map_or(0, Inherited::size);
    2 * pid.reveal().len() + record.size() + history.size() + inherited + 256
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{auth::Identity, id::SocketId};

    fn room(name: &str) -> Room {
        Room::Owned(name.to_owned())
    }

    fn session(number: u32, rooms: &[&str], until: Instant) -> KeptSession {
        let id = SocketId::numbered(number);
        let mut history = History::new(Position::numbered(0));
        history.join(&room(id.as_str()), Position::numbered(0));
        rooms.iter().for_each(|name| _ = history.join(&room(name), Position::numbered(0)));
        let record = SocketRecord {
            id,
            namespace: "/".into(),
            identity: Identity::anonymous(),
            rooms: Vec::new(),
            data: serde_json::Map::new(),
            connected_at: SystemTime::now(),
            traceparent: None,
        };
        let (turn, elsewhere) = (1, Position::ZERO);
        KeptSession { record, history, until, turn, elsewhere, inherited: None }
    }

    fn scope(rooms: &[&str]) -> Scope {
        Scope { rooms: rooms.iter().map(|name| room(name)).collect(), except: Box::default() }
    }

    #[test]
    fn one_client_gets_a_session() {
        let (mut kept, now, pid) = (Kept::default(), Instant::now(), Pid::random());
        let until = now + Duration::from_secs(9);
        kept.keep(pid.clone(), session(1, &["a"], until));
        assert!(kept.find(&pid, now).is_some() && kept.find(&pid, until).is_none());
        kept.claim(&pid);
        assert!(kept.find(&pid, now).is_none());
        assert_eq!(kept.end_due(until).len(), 0, "its client is here");
        assert!(kept.has_any_in("a"), "it keeps its rooms");
        kept.give_back(&pid);
        assert!(kept.find(&pid, now).is_some());
        kept.claim(&pid);
        assert!(kept.take(&pid).is_some() && kept.take(&pid).is_none());
        assert!(!kept.has_any_in("a"));
        assert_eq!((kept.len(), kept.bytes()), (0, 0));
    }

    #[test]
    fn sessions_end_in_their_order() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        for number in [3, 1, 2] {
            let until = now + Duration::from_secs(number.into());
            kept.keep(Pid::random(), session(number, &["a"], until));
        }
        assert_eq!(kept.next_end(), Some(now + Duration::from_secs(1)));
        let ended = kept.end_due(now + Duration::from_secs(2));
        let ids: Vec<_> = ended.iter().map(|(_, session)| session.record.id).collect();
        assert_eq!(ids, [SocketId::numbered(1), SocketId::numbered(2)]);
        assert!(kept.has_any_in("a"));
        assert!(kept.end_first().is_some() && kept.end_first().is_none());
        assert!(!kept.has_any_in("a") && kept.bytes() == 0);
    }

    #[test]
    fn the_server_moves_sessions_and_ends_them() {
        let (mut kept, until) = (Kept::default(), Instant::now() + Duration::from_secs(9));
        kept.keep(Pid::random(), session(1, &["a"], until));
        kept.keep(Pid::random(), session(2, &["b"], until));
        kept.join(&scope(&["a"]), &[room("c"), room("a")], Position::numbered(5));
        assert!(kept.has_any_in("c"));
        kept.leave(&scope(&[]), &[room("b")], Position::numbered(6), Position::numbered(0));
        assert!(!kept.has_any_in("b") && kept.has_any_in("a"));
        let ended = kept.end(|session| session.history.is_meant(&scope(&["c"])));
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].1.record.id, SocketId::numbered(1));
        kept.end(|_| true);
        assert_eq!((kept.len(), kept.bytes(), kept.rooms().count()), (0, 0, 0));
    }
}
