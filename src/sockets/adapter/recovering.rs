//! Recovery in a namespace: each event enters the log in the step in which it is delivered, and a
//! socket that comes back gets what it has missed before it gets anything new.
//!
//! One lock holds the log, the sessions and the kept ones. Events are delivered under it, so the
//! order of the log is the order in which every socket gets them. A socket enters with its gate
//! closed: deliveries pass it by. Its replay hands out the log in stretches, and opens the gate in
//! the step in which it reaches the end.

mod bringing;
mod coming_back;
mod in_redis;
mod ledger;
mod moving;
mod replay;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Mutex, MutexGuard, RwLock};
use socketioxide_core::{
    Sid, Str, Value,
    adapter::{BroadcastFlags, BroadcastOptions, Room},
    packet::Packet,
};
use tokio::sync::Notify;

use super::{Adapter, delivery::Delivered, turns::Turns};
use crate::{
    recovery::{
        Entry, EventId, History, LogBounds, Offsets, Pid, Position, Scope, ends_with_text,
        with_offset,
    },
    sockets::{kept::KeptSession, node::Recovery, record::SocketRecord, roaming::Roaming},
};
pub(crate) use bringing::Return;
pub(crate) use coming_back::Claim;
use coming_back::From;
pub(super) use ledger::Ledger;
use ledger::{Heir, Session};
pub(crate) use moving::{Lent, Stays};

/// How long after its token's end a session is still kept, as a connected socket has this time to
/// bring a new one.
const TOKEN_GRACE: Duration = Duration::from_secs(5);

/// The log of a namespace and its sessions.
pub(super) struct Recovering {
    node: Arc<Recovery>,
    offsets: Offsets,
    ledger: Mutex<Ledger>,
    /// Shared by the events that are published and not delivered yet.
    under_way: RwLock<()>,
    /// Told when a session is kept, or has ended.
    changed: Notify,
    /// Sessions are in Redis, too, as the log is.
    roaming: Option<Arc<Roaming>>,
    /// The order of what this node does, if the log is in Redis.
    turns: Option<Arc<Turns>>,
}

/// The session of a socket that enters.
pub(crate) enum NewSession {
    /// A new one.
    Fresh,
    /// One that has been waiting for its client.
    Back(Claim),
}

/// The numbers of a namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecoveryCounts {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) kept: usize,
    /// The age of the first event in the log.
    pub(crate) age: Duration,
}

impl Recovering {
    /// `is_ordered`: the log of the namespace is in Redis.
    pub(super) fn new(node: &Arc<Recovery>, namespace: &Str, is_ordered: bool) -> Self {
        let bounds = LogBounds { entries: node.max_packets, age: node.max_disconnection };
        let roaming = node.roaming().filter(|_| is_ordered).cloned();
        let ledger = Ledger::new(bounds, namespace.clone(), roaming.clone());
        Self {
            node: node.clone(),
            offsets: if is_ordered { Offsets::InStream } else { Offsets::in_memory() },
            ledger: Mutex::new(ledger),
            under_way: RwLock::new(()),
            changed: Notify::new(),
            roaming,
            turns: is_ordered.then(Arc::default),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// The order of what this node does, if the log is in Redis.
    pub(super) fn turns(&self) -> Option<&Arc<Turns>> {
        self.turns.as_ref()
    }

    /// Puts an event into the log at a place; it may have a name among all nodes. Returns it as
    /// clients get it.
    fn log(
        &self,
        ledger: &mut Ledger,
        value: Value,
        scope: Scope,
        (position, id): (Position, Option<EventId>),
    ) -> Value {
        // Every event is an array by now.
        let Some(value) = with_offset(&value, &self.offsets.write(position)) else { return value };
        let entry = Entry { position, at: Instant::now(), value: value.clone(), scope, id };
        let change = ledger.log.append(entry);
        let mut is_over = self.node.log_bytes.change(change);
        while is_over && let Some(freed) = ledger.log.forget_first() {
            is_over = self.node.log_bytes.change(-freed.cast_signed());
        }
        value
    }

    /// An event that has no place in the log, as clients get it: they take text at its end for an
    /// offset.
    fn marked(&self, ledger: &Ledger, value: Value) -> Value {
        self.marked_at(value, ledger.log.head())
    }

    /// The same, with this place.
    pub(super) fn marked_at(&self, value: Value, at: Position) -> Value {
        let stands_for_an_offset = ends_with_text(&value);
        let marked = stands_for_an_offset.then(|| with_offset(&value, &self.offsets.write(at)));
        marked.flatten().unwrap_or(value)
    }
}

impl Drop for Recovering {
    fn drop(&mut self) {
        let ledger = self.ledger.get_mut();
        self.node.log_bytes.change(-ledger.log.bytes().cast_signed());
        self.node.kept_bytes.change(-ledger.kept.bytes().cast_signed());
    }
}

impl Adapter {
    /// Whether sockets of this namespace recover.
    pub(crate) fn recovers(&self) -> bool {
        self.recovering.is_some()
    }

    /// Delivers an event to sockets of this node in the step in which it enters the log.
    pub(super) fn deliver_logged(
        &self,
        recovering: &Recovering,
        value: Value,
        options: BroadcastOptions,
        id: Option<EventId>,
    ) -> Delivered {
        let is_volatile = options.has_flag(BroadcastFlags::Volatile);
        let scope = if is_volatile { None } else { self.scope_of(&options) };
        let mut ledger = recovering.lock();
        let (value, place) = match scope {
            Some(scope) if recovering.turns.is_none() => {
                let place = ledger.log.head().next();
                (recovering.log(&mut ledger, value, scope, (place, id)), Some(place))
            }
            _ => (recovering.marked(&ledger, value), None),
        };
        self.deliver_at(Packet::event(self.local.path().clone(), value), options, place, id)
    }

    /// The audience of an event in rooms. `None` if it is for nobody.
    pub(super) fn scope_of(&self, options: &BroadcastOptions) -> Option<Scope> {
        let BroadcastOptions { rooms, except, sid, .. } = options;
        let is_broadcast = options.has_flag(BroadcastFlags::Broadcast);
        let own = |sid: Sid| self.id_of(sid).map(|id| Room::Owned(id.as_str().to_owned()));
        let mut scope = Scope { rooms: rooms.to_vec().into(), except: except.to_vec().into() };
        match sid {
            Some(sid) if rooms.is_empty() && !is_broadcast => scope.rooms = [own(*sid)?].into(),
            Some(sid) if is_broadcast => {
                scope.except = except.iter().cloned().chain(own(*sid)).collect();
            }
            None if rooms.is_empty() && !is_broadcast => return None,
            _ => {}
        }
        Some(scope)
    }

    /// Begins the session of a socket that has just been listed, with its gate closed. One that has
    /// come back is in its rooms in the same step, so that nothing that moves or ends sessions
    /// misses it. `false`: the session has been ended in the meantime.
    pub(super) fn begin_session(&self, ledger: &mut Ledger, sid: Sid, new: NewSession) -> bool {
        let Some(recovering) = &self.recovering else { return true };
        let session = match new {
            NewSession::Fresh => {
                self.look_how_far_it_was_read(ledger);
                if recovering.turns.is_some() && !ledger.has_read() {
                    // Nobody could say what the client has missed since.
                    return true;
                }
                let now = ledger.now();
                Session::new(recovering.node.new_pid(), History::new(now), now)
            }
            NewSession::Back(claim) => {
                let (pid, From { position, place, .. }, first) = claim.begins();
                let (kept, _) = recovering.change_kept(ledger, |ledger| ledger.kept.take(&pid));
                let Some(kept) = kept else { return false };
                let KeptSession { history, turn, elsewhere, inherited, .. } = kept;
                let rooms: Vec<Room> = history.rooms().cloned().collect();
                self.members.write().join(sid, &rooms);
                self.local.add_all(sid, rooms);
                let session = Session::new(pid, history, position);
                let heir = inherited.map(|inherited| Box::new(Heir::new(inherited, place)));
                Session { has_come_back: true, turn, elsewhere, first, heir, ..session }
            }
        };
        ledger.live.insert(session.pid.clone(), sid);
        ledger.note(&session.pid);
        ledger.sessions.insert(sid, session);
        if let Some(member) = self.members.read().get(sid) {
            member.reach.set_gate(true);
        }
        recovering.changed.notify_waiters();
        true
    }

    /// The secret that the client of this socket is told.
    pub(super) fn pid_of(&self, sid: Sid) -> Option<Pid> {
        let ledger = self.recovering.as_ref()?.lock();
        Some(ledger.sessions.get(&sid)?.pid.clone())
    }

    /// Ends the session of a socket that has left, or keeps it for its client: with `record`, or,
    /// if it has come back a moment ago, in any case. Returns whether it is kept.
    pub(super) fn end_session(
        &self,
        ledger: &mut Ledger,
        sid: Sid,
        record: Option<SocketRecord>,
        last: Position,
    ) -> bool {
        let Some(recovering) = &self.recovering else { return false };
        let record = record.filter(|_| ledger.is_certain(sid));
        let now = ledger.now();
        let Some(mut session) = ledger.sessions.remove(&sid) else { return false };
        // What its replay has not sent yet is still to come.
        session.history.was_sent(last, session.gate.unwrap_or(now));
        if ledger.live.get(&session.pid) == Some(&sid) {
            ledger.live.remove(&session.pid);
        }
        let until = record.as_ref().and_then(|record| recovering.end_of(record));
        let kept = record.zip(until);
        let is_kept = kept.is_some();
        if let Some((record, until)) = kept {
            let Session { pid, history, turn, elsewhere, heir, .. } = session;
            let inherited = heir.map(|heir| heir.inherited);
            ledger.note(&pid);
            let session = KeptSession { record, history, until, turn, elsewhere, inherited };
            let keep = |ledger: &mut Ledger| ledger.kept.keep(pid, session);
            let ((), is_over) = recovering.change_kept(ledger, keep);
            self.end_kept_while(recovering, ledger, is_over);
        } else if let Some(roaming) = &recovering.roaming {
            roaming.ended(session.pid, session.turn);
        }
        recovering.changed.notify_waiters();
        is_kept
    }

    /// Ends kept sessions, the oldest first, while they take too much memory.
    fn end_kept_while(&self, recovering: &Recovering, ledger: &mut Ledger, mut is_over: bool) {
        while is_over {
            let (ended, is_still) = recovering.change_kept(ledger, |it| it.kept.end_first());
            is_over = is_still && ended.is_some();
            self.are_kept_no_longer(ended);
        }
    }

    /// Rooms of these sessions may be empty now.
    fn are_kept_no_longer(&self, ended: impl IntoIterator<Item = (Pid, KeptSession)>) {
        let roaming = self.recovering.as_ref().and_then(|it| it.roaming.as_ref());
        for (pid, session) in ended {
            self.left(session.history.rooms().cloned());
            if let Some(roaming) = roaming {
                roaming.ended(pid, session.turn);
            }
        }
    }

    /// Joins by the server reach kept sessions.
    pub(super) fn kept_join(
        &self,
        ledger: &mut Option<MutexGuard<'_, Ledger>>,
        options: &BroadcastOptions,
        rooms: &[Room],
    ) {
        self.change_selected(ledger, options, |ledger, scope| {
            let now = ledger.now();
            ledger.kept.join(scope, rooms, now).iter().for_each(|pid| ledger.note(pid));
        });
    }

    /// Leaves by the server reach kept sessions.
    pub(super) fn kept_leave(
        &self,
        ledger: &mut Option<MutexGuard<'_, Ledger>>,
        options: &BroadcastOptions,
        rooms: &[Room],
    ) {
        self.change_selected(ledger, options, |ledger, scope| {
            let (now, floor) = (ledger.now(), ledger.floor());
            ledger.kept.leave(scope, rooms, now, floor).iter().for_each(|pid| ledger.note(pid));
        });
    }

    /// Ends the kept sessions that `options` select.
    pub(super) fn kept_end(
        &self,
        ledger: &mut Option<MutexGuard<'_, Ledger>>,
        options: &BroadcastOptions,
    ) {
        self.change_selected(ledger, options, |ledger, scope| {
            let ended = ledger.kept.end(|session| session.history.is_meant(scope));
            self.are_kept_no_longer(ended);
        });
    }

    fn change_selected(
        &self,
        ledger: &mut Option<MutexGuard<'_, Ledger>>,
        options: &BroadcastOptions,
        change: impl FnOnce(&mut Ledger, &Scope),
    ) {
        if let (Some(recovering), Some(ledger)) = (&self.recovering, ledger)
            && let Some(scope) = self.scope_of(options)
        {
            recovering.change_kept(ledger, |ledger| change(ledger, &scope));
        }
    }

    /// Ends the kept sessions in rooms of which one is such a room.
    pub(super) fn kept_end_in(&self, is_such: impl Fn(&Room) -> bool) {
        if let Some(recovering) = &self.recovering {
            let is_in = |session: &KeptSession| session.history.rooms().any(&is_such);
            let end = |ledger: &mut Ledger| ledger.kept.end(is_in);
            let mut ledger = recovering.lock();
            ledger.may_have_missed_changes();
            let (ended, _) = recovering.change_kept(&mut ledger, end);
            drop(ledger);
            self.are_kept_no_longer(ended);
        }
    }

    /// Nobody comes back to the session of this socket: it is ended, or may have missed something.
    pub(crate) fn cannot_recover(&self, sid: Sid) {
        if let Some(recovering) = &self.recovering {
            recovering.lock().end(sid);
        }
    }

    /// Whether a socket or a kept session is in a room, at one moment: a session that is on its way
    /// from one to the other is not overlooked.
    pub(super) fn is_of_interest(&self, room: &str) -> bool {
        let ledger = self.recovering.as_ref().map(Recovering::lock);
        let is_kept = ledger.as_ref().is_some_and(|ledger| ledger.kept.has_any_in(room));
        // Still under the lock.
        is_kept || self.has_members(room)
    }

    /// The rooms of kept sessions.
    pub(super) fn kept_rooms(&self) -> Vec<Room> {
        let rooms = |it: &Recovering| it.lock().kept.rooms().cloned().collect();
        self.recovering.as_ref().map(rooms).unwrap_or_default()
    }

    /// When the next kept session ends. `None` if there is none.
    pub(super) fn next_kept_end(&self) -> Option<Instant> {
        self.recovering.as_ref()?.lock().kept.next_end()
    }

    /// Whether there are kept sessions.
    pub(super) fn has_kept(&self) -> bool {
        self.recovering.as_ref().is_some_and(|it| it.lock().kept.len() > 0)
    }

    /// Ends sessions whose time is over, and forgets old events.
    pub(crate) fn look_after_recovery(&self, now: Instant) {
        let Some(recovering) = &self.recovering else { return };
        let mut ledger = recovering.lock();
        let freed = ledger.log.forget_old(now);
        recovering.node.log_bytes.change(-freed.cast_signed());
        let (ended, _) = recovering.change_kept(&mut ledger, |ledger| ledger.kept.end_due(now));
        drop(ledger);
        self.are_kept_no_longer(ended);
        self.refresh_sessions();
    }

    /// The numbers of this namespace.
    pub(crate) fn recovery_counts(&self) -> RecoveryCounts {
        let Some(recovering) = &self.recovering else { return RecoveryCounts::default() };
        let ledger = recovering.lock();
        RecoveryCounts {
            entries: ledger.log.len(),
            bytes: ledger.log.bytes(),
            kept: ledger.kept.len(),
            age: ledger.log.since().map(|since| since.elapsed()).unwrap_or_default(),
        }
    }
}

impl Recovering {
    /// Changes the kept sessions, and counts their memory for the node. Also returns whether it is
    /// too much now.
    fn change_kept<T>(
        &self,
        ledger: &mut Ledger,
        change: impl FnOnce(&mut Ledger) -> T,
    ) -> (T, bool) {
        let before = ledger.kept.bytes();
        let changed = change(ledger);
        let by = ledger.kept.bytes().wrapping_sub(before).cast_signed();
        (changed, self.node.kept_bytes.change(by))
    }

    /// When a session ends that is kept from now on. `None` if it cannot be kept at all.
    fn end_of(&self, record: &SocketRecord) -> Option<Instant> {
        let now = Instant::now();
        let until = now.checked_add(self.node.max_disconnection)?;
        let Some(expiry) = record.identity.expires_at() else { return Some(until) };
        // A token that has just ended leaves its grace.
        let end = expiry.checked_add(TOKEN_GRACE)?;
        let left = end.duration_since(SystemTime::now()).ok()?;
        Some(now.checked_add(left).map_or(until, |end| until.min(end)))
    }
}
