//! Recovery in a namespace: each event enters the log in the step in which it is delivered, and a
//! socket that comes back gets what it has missed before it gets anything new.
//!
//! One lock holds the log, the sessions and the kept ones. Events are delivered under it, so the
//! order of the log is the order in which every socket gets them. A socket enters with its gate
//! closed: deliveries pass it by. Its replay hands out the log in stretches, and opens the gate in
//! the step in which it reaches the end.

mod coming_back;
mod replay;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Mutex, MutexGuard};
use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastFlags, BroadcastOptions, Room},
    packet::Packet,
};
use tokio::sync::Notify;

use super::{Adapter, delivery::Delivered};
use crate::{
    recovery::{
        Entry, History, Log, LogBounds, Offsets, Pid, Position, Scope, ends_with_text, with_offset,
    },
    sockets::{
        kept::{Kept, KeptSession},
        node::Recovery,
        record::SocketRecord,
    },
};
pub(crate) use coming_back::{Claim, Return};

/// How long after its token's end a session is still kept, as a connected socket has this time to
/// bring a new one.
const TOKEN_GRACE: Duration = Duration::from_secs(5);

/// The log of a namespace and its sessions.
pub(super) struct Recovering {
    node: Arc<Recovery>,
    offsets: Offsets,
    ledger: Mutex<Ledger>,
    /// Told when a session is kept, or has ended.
    changed: Notify,
}

pub(super) struct Ledger {
    log: Log,
    kept: Kept,
    sessions: HashMap<Sid, Session>,
    live: HashMap<Pid, Sid>,
}

/// The session of a connected socket.
struct Session {
    pid: Pid,
    history: History,
    /// The place up to which the socket has got everything. `None`: its gate is open.
    gate: Option<Position>,
    /// It has come back, so it is kept even if its connection breaks before it is connected.
    has_come_back: bool,
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
    pub(super) fn new(node: &Arc<Recovery>) -> Self {
        let bounds = LogBounds { entries: node.max_packets, age: node.max_disconnection };
        let ledger = Ledger {
            log: Log::new(bounds, Position::default()),
            kept: Kept::default(),
            sessions: HashMap::new(),
            live: HashMap::new(),
        };
        Self {
            node: node.clone(),
            offsets: Offsets::in_memory(),
            ledger: Mutex::new(ledger),
            changed: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Puts an event into the log, or marks one that has no place there. Returns it as clients get
    /// it.
    fn log(&self, ledger: &mut Ledger, value: Value, scope: Option<Scope>) -> Value {
        let Some(scope) = scope else {
            let stands_for_an_offset = ends_with_text(&value);
            let offset = || self.offsets.write(ledger.log.head());
            let marked = stands_for_an_offset.then(|| with_offset(&value, &offset())).flatten();
            return marked.unwrap_or(value);
        };
        let position = ledger.log.head().next();
        // Every event is an array by now.
        let Some(value) = with_offset(&value, &self.offsets.write(position)) else { return value };
        let entry = Entry { position, at: Instant::now(), value: value.clone(), scope };
        let change = ledger.log.append(entry);
        let mut is_over = self.node.log_bytes.change(change);
        while is_over && let Some(freed) = ledger.log.forget_first() {
            is_over = self.node.log_bytes.change(-freed.cast_signed());
        }
        value
    }
}

impl Drop for Recovering {
    fn drop(&mut self) {
        let ledger = self.ledger.get_mut();
        self.node.log_bytes.change(-ledger.log.bytes().cast_signed());
        self.node.kept_bytes.change(-ledger.kept.bytes().cast_signed());
    }
}

impl Ledger {
    /// A socket has joined rooms. To be called in the step in which it did.
    pub(super) fn joined(&mut self, sid: Sid, rooms: &[Room]) {
        let head = self.log.head();
        if let Some(session) = self.sessions.get_mut(&sid) {
            rooms.iter().for_each(|room| _ = session.history.join(room, head));
        }
    }

    /// A socket has left rooms. To be called in the step in which it did.
    pub(super) fn left(&mut self, sid: Sid, rooms: &[Room]) {
        let (head, floor) = (self.log.head(), self.log.floor());
        if let Some(session) = self.sessions.get_mut(&sid) {
            rooms.iter().for_each(|room| _ = session.history.leave(room, head, floor));
        }
    }

    /// Nobody comes back to the session of this socket, which is about to be disconnected.
    pub(super) fn end(&mut self, sid: Sid) {
        if let Some(session) = self.sessions.remove(&sid) {
            self.live.remove(&session.pid);
        }
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
    ) -> Delivered {
        let is_volatile = options.has_flag(BroadcastFlags::Volatile);
        let scope = if is_volatile { None } else { self.scope_of(&options) };
        let mut ledger = recovering.lock();
        let value = recovering.log(&mut ledger, value, scope);
        self.deliver(Packet::event(self.local.path().clone(), value), options)
    }

    /// The audience of an event in rooms. `None` if it is for nobody.
    fn scope_of(&self, options: &BroadcastOptions) -> Option<Scope> {
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
                let head = ledger.log.head();
                Session {
                    pid: Pid::random(),
                    history: History::new(head),
                    gate: Some(head),
                    has_come_back: false,
                }
            }
            NewSession::Back(claim) => {
                let (pid, from) = claim.begins();
                let (kept, _) = recovering.change_kept(ledger, |ledger| ledger.kept.take(&pid));
                let Some(KeptSession { history, .. }) = kept else { return false };
                let rooms: Vec<Room> = history.rooms().cloned().collect();
                self.members.write().join(sid, &rooms);
                self.local.add_all(sid, rooms);
                Session { pid, history, gate: Some(from), has_come_back: true }
            }
        };
        ledger.live.insert(session.pid.clone(), sid);
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
    ) -> bool {
        let Some(recovering) = &self.recovering else { return false };
        let Some(session) = ledger.sessions.remove(&sid) else { return false };
        if ledger.live.get(&session.pid) == Some(&sid) {
            ledger.live.remove(&session.pid);
        }
        let until = record.as_ref().and_then(|record| recovering.end_of(record));
        let kept = record.zip(until);
        let is_kept = kept.is_some();
        if let Some((record, until)) = kept {
            let (pid, history) = (session.pid, session.history);
            let keep = |ledger: &mut Ledger| {
                ledger.kept.keep(pid, KeptSession { record, history, until });
            };
            let ((), mut is_over) = recovering.change_kept(ledger, keep);
            while is_over {
                let (ended, is_still) = recovering.change_kept(ledger, |it| it.kept.end_first());
                is_over = is_still && ended.is_some();
                self.are_kept_no_longer(ended);
            }
        }
        recovering.changed.notify_waiters();
        is_kept
    }

    /// Rooms of these sessions may be empty now.
    fn are_kept_no_longer(&self, ended: impl IntoIterator<Item = KeptSession>) {
        for session in ended {
            self.left(session.history.rooms().cloned());
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
            ledger.kept.join(scope, rooms, ledger.log.head());
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
            ledger.kept.leave(scope, rooms, ledger.log.head(), ledger.log.floor());
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
            let (ended, _) = recovering.change_kept(&mut recovering.lock(), end);
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
