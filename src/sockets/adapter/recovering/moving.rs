//! Sessions that move to another node: lent and handed over on one side, awaited on the other.
//!
//! The other node first learns the rooms of a session and listens to them. Everything that it hears
//! from then on is in its own log. Then it gets the events that the client may have missed here.
//! Some events come both ways, so they are told apart by their names among all nodes.
//!
//! An event of this node is published before it is delivered here. In between it is nowhere to be
//! seen: it may have been published before the other node listened, and be delivered after the
//! session has gone. So a session is handed over, and goes on there, only when every event that was under
//! way has been delivered ([`Adapter::under_way`]).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::RwLockReadGuard;
use socketioxide_core::adapter::Room;

use super::{
    Adapter, Ledger, Recovering,
    bringing::Return,
    coming_back::{Claim, From},
};
use crate::{
    auth::Identity,
    recovery::{Handed, History, Inherited, Pid, Position, Stretch},
    sockets::{kept::KeptSession, record::SocketRecord},
    telemetry::meters::NotRecovered,
};

/// Most bytes of events that move with a session. The client has asked for all of them.
const MOST: usize = 12 << 20;

/// Most bytes of events that a node that stops gives away with a session. The client's place is not
/// known then, so these are the last ones.
const MOST_GIVEN: usize = 1 << 20;

/// How long before its end a connection may have been broken. What was sent earlier has arrived.
const UNNOTICED: Duration = Duration::from_secs(60);

/// A session that another node has asked for. Dropped, it waits for its client here again.
pub(crate) struct Lent {
    claim: Claim,
    rooms: Vec<Room>,
    /// The last place in the log before the other node knew of the session.
    head: Position,
    /// Whether its client is at the other node, and has said its place.
    is_asked_for: bool,
}

/// Why a lent session stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// Its rooms have changed meanwhile, or an event without a name has come. The next attempt may
    /// do better.
    Changed,
    /// It has been ended meanwhile, or too much was missed.
    Lost,
}

impl Lent {
    pub(crate) fn rooms(&self) -> &[Room] {
        &self.rooms
    }
}

impl Adapter {
    /// To be held while an event is published for the other nodes and delivered here.
    pub(crate) fn under_way(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let recovering = self.recovering.as_ref().filter(|it| it.node.can_move())?;
        Some(recovering.under_way.read())
    }

    /// Claims a session for another node. Without an identity its client has not asked for it.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub(crate) async fn lend(
        self: &Arc<Self>,
        back: &Return,
        identity: Option<&Identity>,
    ) -> Result<(Lent, Box<SocketRecord>), NotRecovered> {
        let (record, claim) = self.claim(back, identity, None).await?;
        let recovering = self.recovering.as_ref().ok_or(NotRecovered::Unknown)?;
        let found = {
            let ledger = recovering.lock();
            let rooms = |session: &KeptSession| session.history.rooms().cloned().collect();
            ledger.kept.get(&back.pid).map(|session| (rooms(session), ledger.log.head()))
        };
        let (rooms, head) = found.ok_or(NotRecovered::Unknown)?;
        Ok((Lent { claim, rooms, head, is_asked_for: identity.is_some() }, record))
    }

    /// Ends a lent session here. Returns what its client may have missed.
    ///
    /// # Errors
    /// If the session stays here.
    pub(crate) fn hand_over(&self, lent: Lent) -> Result<Inherited, Stays> {
        let recovering = self.recovering.as_ref().ok_or(Stays::Lost)?;
        drop(recovering.under_way.write());
        let mut ledger = recovering.lock();
        let missed = recovering.missed_by(&ledger, &lent)?;
        let (pid, ..) = lent.claim.begins();
        let (session, _) = recovering.change_kept(&mut ledger, |ledger| ledger.kept.take(&pid));
        self.are_kept_no_longer(session.map(|session| (pid, session)));
        // Others that wait for it have to look elsewhere.
        recovering.changed.notify_waiters();
        Ok(missed)
    }

    /// Keeps a session of another node from now on. Its client does not get it before
    /// [`has_come`](Self::has_come). Returns whether this node hears everything that is for it.
    pub(crate) async fn awaits(&self, pid: &Pid, record: SocketRecord, rooms: &[Room]) -> bool {
        let Some(recovering) = &self.recovering else { return false };
        let Some(until) = recovering.end_of(&record) else { return false };
        {
            let mut ledger = recovering.lock();
            // A place of its own, so that no offset of an earlier stay is mistaken for one of this.
            let start = ledger.log.skip();
            let mut history = History::new(start);
            rooms.iter().for_each(|room| _ = history.join(room, start));
            let (turn, elsewhere) = (1, Position::ZERO);
            let inherited = Some(Inherited::default());
            let session = KeptSession { record, history, until, turn, elsewhere, inherited };
            let keep = |ledger: &mut Ledger| {
                ledger.kept.keep(pid.clone(), session);
                ledger.kept.claim(pid);
            };
            recovering.change_kept(&mut ledger, keep);
        }
        self.open();
        let Some(peers) = &self.peers else { return false };
        let rooms = match &self.interest {
            Some(interest) => {
                interest.joined(rooms);
                rooms
            }
            None => &[],
        };
        peers.settled(self.namespace(), rooms).await && !self.is_retired()
    }

    /// The awaited session has come. Returns whether it is still wanted.
    pub(crate) fn has_come(&self, pid: &Pid, inherited: Inherited) -> bool {
        let Some(recovering) = &self.recovering else { return false };
        drop(recovering.under_way.write());
        let mut ledger = recovering.lock();
        let fill = |ledger: &mut Ledger| {
            let is_there = ledger.kept.fill(pid, inherited);
            ledger.kept.give_back(pid);
            is_there
        };
        let (is_there, is_over) = recovering.change_kept(&mut ledger, fill);
        self.end_kept_while(recovering, &mut ledger, is_over);
        recovering.changed.notify_waiters();
        is_there
    }

    /// The session does not come after all.
    pub(crate) fn does_not_come(&self, pid: &Pid) {
        let Some(recovering) = &self.recovering else { return };
        let mut ledger = recovering.lock();
        let (ended, _) = recovering.change_kept(&mut ledger, |ledger| ledger.kept.take(pid));
        self.are_kept_no_longer(ended.map(|session| (pid.clone(), session)));
        recovering.changed.notify_waiters();
    }

    /// Whether a session is here, connected or kept.
    pub(crate) fn has_session(&self, pid: &Pid) -> bool {
        let has = |ledger: &Ledger| ledger.live.contains_key(pid) || ledger.kept.get(pid).is_some();
        self.recovering.as_ref().is_some_and(|it| has(&it.lock()))
    }

    /// The sessions that wait here for their clients.
    pub(crate) fn kept_pids(&self) -> Vec<Pid> {
        let now = Instant::now();
        let recovering = self.recovering.as_ref();
        recovering.map(|it| it.lock().kept.pids(now)).unwrap_or_default()
    }
}

impl Recovering {
    /// What the client of a lent session may have missed.
    fn missed_by(&self, ledger: &Ledger, lent: &Lent) -> Result<Inherited, Stays> {
        let Lent { claim, rooms, head, is_asked_for } = lent;
        let log = self.offsets.name().ok_or(Stays::Lost)?;
        let (pid, From { heard, position, place }) = claim.of();
        let session = ledger.kept.get(pid).ok_or(Stays::Lost)?;
        let KeptSession { history, inherited, until, .. } = session;
        // The other node has not listened to a new room from the beginning.
        let has = |room: &Room| rooms.contains(room);
        if history.rooms().len() != rooms.len() || !history.rooms().all(has) {
            return Err(Stays::Changed);
        }
        // The first place behind which nothing may be missing, and the first from which a client
        // goes on.
        let (position, from) = match is_asked_for {
            true => (position, heard),
            false => {
                let long_ago = until.checked_sub(self.node.max_disconnection + UNNOTICED);
                let place = long_ago.map(|long_ago| ledger.log.place_before(long_ago));
                let known = ledger.log.floor().max(history.known_since());
                let position = position.max(known).max(place.unwrap_or_default());
                (position, history.reaches_back(position))
            }
        };
        if !ledger.log.covers(position) || !history.knows(position) {
            return Err(Stays::Lost);
        }
        let known = inherited.as_ref().map(Inherited::ids).unwrap_or_default();
        let mut events = Vec::new();
        for entry in ledger.log.after(position) {
            if !history.gets(entry) || entry.id.is_some_and(|id| known.contains(&id)) {
                continue;
            }
            if entry.id.is_none() && entry.position > *head {
                // It may come both ways.
                return Err(Stays::Changed);
            }
            let value = entry.value.clone();
            events.push(Handed { position: entry.position, value, id: entry.id });
        }
        let stretch = Stretch { log: log.into(), from, events };
        let missed = Inherited::before(inherited.as_ref(), place, from > heard).then(stretch);
        match is_asked_for {
            true if missed.size() > MOST => Err(Stays::Lost),
            true => Ok(missed),
            false => Ok(missed.last(MOST_GIVEN)),
        }
    }
}
