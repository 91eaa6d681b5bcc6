//! A log in Redis: an event is delivered when it comes back from there with its place, among those
//! of the other nodes. So every node delivers in one order.

use std::sync::Arc;

use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastFlags, BroadcastOptions, Room},
    packet::Packet,
};

use super::{Adapter, Delivered, Ledger, Recovering};
use crate::{
    cluster::message::{Flags, Message, Selection},
    edge::KillReason,
    recovery::{Change, EventId, Position, Scope},
    sockets::{
        adapter::turns::Turns,
        roaming::{Owned, Shared},
    },
    telemetry::traceparent::TraceParent,
};

impl Adapter {
    /// The order of what this node does here, if the log is in Redis.
    pub(in crate::sockets::adapter) fn turns(&self) -> Option<&Arc<Turns>> {
        self.recovering.as_ref()?.turns()
    }

    /// Whether an event with these options gets a place in a log in Redis, and is delivered when it
    /// comes back with it.
    pub(crate) fn comes_back(&self, options: &BroadcastOptions) -> bool {
        let has = |flag| options.has_flag(flag);
        self.turns().is_some() && !has(BroadcastFlags::Volatile) && !has(BroadcastFlags::Local)
    }

    /// Sends an event to Redis, and to sockets of this node when it comes back.
    pub(crate) fn submit(
        self: &Arc<Self>,
        value: &Value,
        options: BroadcastOptions,
        trace: Option<TraceParent>,
        number: Option<u64>,
    ) {
        let (Some(turns), Some(peers)) = (self.turns(), self.peers()) else { return };
        let Some(scope) = self.scope_of(&options) else { return };
        let to = Selection { rooms: scope.rooms.to_vec(), except: scope.except.to_vec() };
        let flags = Flags { number, ..Flags::of(&options, trace) };
        let id = number.map(|number| peers.event_id(number));
        let (adapter, event) = (self.clone(), value.clone());
        let number = turns.take(Box::new(move |at| {
            let delivered = adapter.deliver_own(event, options, scope, (at, id));
            adapter.count_sent(delivered);
        }));
        let turns = turns.clone();
        peers.submit(
            self.namespace(),
            value,
            &to,
            flags,
            Box::new(move |at| turns.came_back(number, at)),
        );
    }

    /// Tells the other nodes of a change, and makes it here: when its turn has come, if the log is in
    /// Redis, and at once otherwise.
    pub(crate) fn change(
        self: &Arc<Self>,
        options: BroadcastOptions,
        say: impl FnOnce(Selection) -> Message,
        make: impl FnOnce(&Self, &BroadcastOptions, Option<Position>) + Send + 'static,
    ) {
        let to = self.elsewhere(&options);
        let (Some(turns), Some(peers), Some(to)) = (self.turns(), self.peers(), to) else {
            self.tell(&options, say);
            let adapter = self.clone();
            return self.in_turn(move || make(&adapter, &options, None));
        };
        let adapter = self.clone();
        let number = turns.take(Box::new(move |at| make(&adapter, &options, at)));
        let turns = turns.clone();
        let back = Box::new(move |at| turns.came_back(number, at));
        peers.say_in_turn(self.namespace(), &say(to), Some(back));
    }

    /// Ends when everything is delivered that this node has sent to Redis before.
    pub(crate) async fn turn(&self) {
        if let Some(all_sent) = self.turns().and_then(|turns| turns.all_before()) {
            // It never fails: each turn comes.
            let _ = all_sent.await;
        }
    }

    /// Does this behind what this node has sent to Redis and not got back yet.
    pub(crate) fn in_turn(&self, act: impl FnOnce() + Send + 'static) {
        match self.turns() {
            Some(turns) => turns.then(act),
            None => act(),
        }
    }

    fn deliver_own(
        &self,
        value: Value,
        options: BroadcastOptions,
        scope: Scope,
        (at, id): (Option<Position>, Option<EventId>),
    ) -> Delivered {
        self.show_sent(&value, &options);
        let Some(recovering) = &self.recovering else { return Delivered::default() };
        let mut ledger = recovering.lock();
        if let Some(at) = at {
            ledger.is_sure_at(at);
        } else {
            ledger.is_unsure(&scope);
        }
        self.deliver_placed(recovering, &mut ledger, value, options, scope, (at, id))
    }

    /// Delivers an event of another node, with its place in the log.
    pub(crate) fn deliver_from_log(
        &self,
        value: Value,
        options: BroadcastOptions,
        at: Option<Position>,
        id: Option<EventId>,
    ) -> Delivered {
        let is_volatile = options.has_flag(BroadcastFlags::Volatile);
        let scope = if is_volatile { None } else { self.scope_of(&options) };
        let (Some(recovering), Some(scope)) = (&self.recovering, scope) else {
            return self.deliver_here(value, options, id);
        };
        if recovering.turns.is_none() {
            return self.deliver_here(value, options, id);
        }
        self.show_sent(&value, &options);
        let mut ledger = recovering.lock();
        let delivered =
            self.deliver_placed(recovering, &mut ledger, value, options, scope, (at, id));
        drop(ledger);
        self.count_sent(delivered);
        delivered
    }

    /// Without a place, or with one that cannot be, clients that are away miss the event. So they
    /// get a new session.
    fn deliver_placed(
        &self,
        recovering: &Recovering,
        ledger: &mut Ledger,
        value: Value,
        options: BroadcastOptions,
        scope: Scope,
        (at, id): (Option<Position>, Option<EventId>),
    ) -> Delivered {
        let at = at.filter(|at| ledger.reaches(*at));
        let value = match at {
            Some(at) => recovering.log(ledger, value, scope, (at, id)),
            None => {
                self.is_missed_by_who_is_away(recovering, ledger, &scope);
                recovering.marked(ledger, value)
            }
        };
        self.deliver_at(Packet::event(self.local.path().clone(), value), options, at, id)
    }

    fn is_missed_by_who_is_away(
        &self,
        recovering: &Recovering,
        ledger: &mut Ledger,
        scope: &Scope,
    ) {
        let is_meant =
            |ledger: &mut Ledger| ledger.kept.end(|session| session.history.is_meant(scope));
        let (ended, _) = recovering.change_kept(ledger, is_meant);
        self.are_kept_no_longer(ended);
        // Their replay would pass it by.
        let gated: Vec<Sid> = {
            let sessions = ledger.sessions.iter();
            let meant = sessions.filter(|(_, it)| it.gate.is_some() && it.history.is_meant(scope));
            meant.map(|(sid, _)| *sid).collect()
        };
        for sid in gated {
            ledger.end(sid);
            self.node().transports().kill(sid, KillReason::Missed);
        }
    }

    /// A change of sockets by the message at this place is being made.
    pub(in crate::sockets::adapter) fn note_change(
        &self,
        ledger: &mut Option<parking_lot::MutexGuard<'_, Ledger>>,
        options: &BroadcastOptions,
        at: Option<Position>,
        change: impl FnOnce() -> Change,
    ) {
        if let (Some(ledger), Some(at)) = (ledger, at)
            && let Some(scope) = self.scope_of(options)
            && ledger.reaches(at)
        {
            ledger.changed(scope, change());
        }
    }

    /// The data or the token of a socket is another one than before.
    pub(crate) fn has_changed(&self, sid: Sid) {
        if let Some(recovering) = &self.recovering
            && recovering.roaming.is_some()
        {
            let ledger = recovering.lock();
            if let Some(session) = ledger.sessions.get(&sid) {
                ledger.note(&session.pid);
            }
        }
    }

    /// Ends when the session of a socket is in Redis as it is now, or Redis takes too long.
    pub(crate) async fn written(&self, sid: Sid) {
        let Some(recovering) = &self.recovering else { return };
        let Some(roaming) = &recovering.roaming else { return };
        let pid = recovering.lock().sessions.get(&sid).map(|session| session.pid.clone());
        let Some(pid) = pid else { return };
        let write = roaming.write_now(&pid, || self.shared(&pid));
        if let Ok(Some(Owned::Elsewhere)) = write.await {
            self.has_lost(&pid);
        }
    }

    /// Reading the log in Redis may have begun before anything came to this namespace.
    pub(super) fn look_how_far_it_was_read(&self, ledger: &mut Ledger) {
        if self.turns().is_some()
            && !ledger.has_read()
            && let Some(place) = self.peers().and_then(|it| it.read_up_to(self.namespace()))
        {
            ledger.has_read_up_to(place);
        }
    }

    /// A session of this node as it is now, with its turn. `None` if there is none that another node
    /// could go on with.
    pub(in crate::sockets::adapter) fn shared(
        &self,
        pid: &crate::recovery::Pid,
    ) -> Option<(Shared, u64)> {
        let recovering = self.recovering.as_ref()?;
        let ledger = recovering.lock();
        let (record, history, turn) = if let Some(kept) = ledger.kept.get(pid) {
            (kept.record.clone(), kept.history.clone(), kept.turn)
        } else {
            let sid = *ledger.live.get(pid)?;
            let session = ledger.sessions.get(&sid)?;
            let member = {
                let members = self.members.read();
                let member = members.get(sid)?;
                (member.described_by.clone(), member.reach.last())
            };
            let (described_by, last) = member;
            if !ledger.is_certain(sid) {
                return None;
            }
            let mut history = session.history.clone();
            history.was_sent(last, session.gate.unwrap_or_else(|| ledger.now()));
            (described_by.upgrade()?.record(), history, session.turn)
        };
        let (pid, upto) = (pid.clone(), ledger.now());
        let holder = self.node().id().as_str().into();
        Some((Shared { pid, record, history, upto, holder }, turn))
    }

    /// Writes sessions again that have not changed for long, so that their records do not end.
    pub(super) fn refresh_sessions(&self) {
        let Some(recovering) = &self.recovering else { return };
        let Some(roaming) = &recovering.roaming else { return };
        let mut ledger = recovering.lock();
        let refresh = roaming.refresh();
        let mut due = Vec::new();
        for session in ledger.sessions.values_mut() {
            if session.refreshed.elapsed() >= refresh {
                session.refreshed = std::time::Instant::now();
                due.push(session.pid.clone());
            }
        }
        due.iter().for_each(|pid| ledger.note(pid));
    }
}

/// The rooms of a selection, for changes.
pub(super) fn scope(Selection { rooms, except }: &Selection) -> Scope {
    let all = |rooms: &[Room]| rooms.to_vec().into_boxed_slice();
    Scope { rooms: all(rooms), except: all(except) }
}
