//! A session comes from Redis to this node, because its client has. It is kept here, as if its client
//! had left this node, and its client then comes back to it.
//!
//! Its history is brought up to what this node has read of the log: joins, leaves and disconnects
//! that came after the session was written are in the log.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use socketioxide_core::adapter::Room;

use super::{Adapter, Ledger, Recovering, in_redis::scope};
use crate::{
    auth::Identity,
    cluster::{
        message::Message,
        peers::past::{Logged, NotRead},
    },
    edge::KillReason,
    id::SocketId,
    millis::since_epoch,
    names::rooms::AUTHENTICATED,
    recovery::{Change, Changed, History, Offsets, Pid, Position, Said},
    sockets::{
        kept::KeptSession,
        record::SocketRecord,
        roaming::{Foreign, Found, Insisting, Owned, Released, Roaming, Shared},
    },
    telemetry::meters::NotRecovered,
};

/// Longest wait until this node has read as far as the one that the session comes from.
const CATCH_UP: Duration = Duration::from_secs(2);

/// How far the clock of Redis may be ahead. A place beyond is invented, and not waited for.
const CLOCKS: Duration = Duration::from_secs(60);

/// The time between two looks at that.
const LOOK: Duration = Duration::from_millis(3);

/// Messages in one page of the log.
const PAGE: usize = 512;

/// Most pages that are read for changes.
const PAGES: usize = 64;

/// How long a session is looked for again that has just moved on.
const TO_BRING: Duration = Duration::from_secs(5);

/// Longest wait for another node's connection of the session to end.
const RELEASE: Duration = Duration::from_millis(1500);

/// What a client says that comes back.
#[derive(Clone, Debug)]
pub(crate) struct Return {
    pub(crate) pid: Pid,
    pub(crate) offset: Option<String>,
}

impl Return {
    /// The place in a log in Redis that the client says, or the first of all.
    pub(super) fn heard(&self) -> Position {
        match self.offset.as_deref().map(|offset| Offsets::InStream.read(offset)) {
            Some(Said::Here(place)) => place,
            _ => Position::ZERO,
        }
    }
}

/// A session on its way to this node.
struct Brought {
    shared: Shared,
    turn: u64,
    /// A Node.js server had it. It is not known what it has made of messages in the log, so none
    /// may change the session.
    is_foreign: bool,
}

impl Adapter {
    /// Brings the session of a client to this node. Afterwards it is kept here.
    ///
    /// # Errors
    /// The reason why there is nothing to recover.
    pub(super) async fn bring(
        self: Arc<Self>,
        roaming: Arc<Roaming>,
        back: Return,
        identity: Identity,
    ) -> Result<(), NotRecovered> {
        let pid = &back.pid;
        let unavailable = |_| NotRecovered::Unavailable;
        // Other connections of the client, which it has given up, may move it at the same time.
        let deadline = Instant::now() + TO_BRING;
        while Instant::now() < deadline {
            // Looked at first: whoever may not continue it does not even move it.
            let found = roaming.look(pid).await.map_err(unavailable)?;
            let (found, _) = found.ok_or(NotRecovered::Unknown)?;
            let (shared, _) = self.shared_of(found, &back, &identity)?;
            let namespace = self.namespace().as_str();
            if roaming.release(&shared.holder, namespace, pid).await == Released::Busy {
                continue;
            }
            // As it is since its holder has let it go.
            let found = roaming.look(pid).await.map_err(unavailable)?;
            let (found, seen) = found.ok_or(NotRecovered::Unknown)?;
            let (newer, is_foreign) = self.shared_of(found, &back, &identity)?;
            let is_let_go = newer.holder == shared.holder;
            if is_let_go && let Some(turn) = roaming.take(&seen).await.map_err(unavailable)? {
                let brought = Brought { shared: newer, turn, is_foreign };
                return self.settle(brought, &back).await;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(5..50))).await;
        }
        Err(NotRecovered::Busy)
    }

    /// A session of Redis in the form of ours, if this client may continue it.
    fn shared_of(
        &self,
        found: Found,
        back: &Return,
        identity: &Identity,
    ) -> Result<(Shared, bool), NotRecovered> {
        match found {
            Found::Ours(shared) => {
                if shared.record.namespace != **self.namespace() {
                    return Err(NotRecovered::Unknown);
                }
                match identity.may_continue(&shared.record.identity) {
                    true => Ok((*shared, false)),
                    false => Err(NotRecovered::OtherOwner),
                }
            }
            Found::Foreign(foreign) => Ok((self.adopted(foreign, back, identity)?, true)),
        }
    }

    /// The session of a Node.js server. It does not say whose it is: only the rooms that our nodes
    /// give a user tell, and without any it is nobody's.
    fn adopted(
        &self,
        foreign: Foreign,
        back: &Return,
        identity: &Identity,
    ) -> Result<Shared, NotRecovered> {
        let Foreign { id, rooms, data } = foreign;
        let id = SocketId::named(&id).ok_or(NotRecovered::Unknown)?;
        let own = identity.user_id().map(|user| self.node().user_room(user));
        let mut of_users = rooms.iter().filter(|room| self.node().is_user_room(room));
        let is_its_own = match &own {
            Some(own) => of_users.next().is_some_and(|room| **room == **own),
            None => !rooms.iter().any(|room| **room == *AUTHENTICATED),
        };
        if !is_its_own || of_users.next().is_some() {
            return Err(NotRecovered::OtherOwner);
        }
        // Its client has to say a place: the record does not.
        let from = back.offset.as_deref().map(|offset| Offsets::InStream.read(offset));
        let Some(Said::Here(from)) = from else { return Err(NotRecovered::BadOffset) };
        let mut history = History::new(from);
        rooms.iter().for_each(|room| _ = history.join(room, from));
        history.join(&Room::Owned(id.as_str().to_owned()), from);
        let record = SocketRecord {
            id,
            namespace: self.namespace().as_str().into(),
            identity: identity.clone(),
            rooms: Vec::new(),
            data,
            connected_at: SystemTime::now(),
            traceparent: None,
        };
        let pid = back.pid.clone();
        Ok(Shared { pid, record, history, upto: from, holder: Box::default() })
    }

    /// Keeps a session here that has come.
    async fn settle(&self, mut brought: Brought, back: &Return) -> Result<(), NotRecovered> {
        let recovering = self.recovering.as_ref().ok_or(NotRecovered::Unknown)?;
        self.has_caught_up_with(brought.shared.upto.max(back.heard())).await?;
        let mut read = brought.shared.upto;
        for _ in 0..PAGES {
            {
                let mut ledger = recovering.lock();
                self.look_how_far_it_was_read(&mut ledger);
                let is_known = match ledger.changes_after(read) {
                    Some(mut changes) => {
                        changes.try_for_each(|changed| brought.apply(changed))?;
                        true
                    }
                    None => false,
                };
                if is_known {
                    return self.keep(recovering, &mut ledger, brought);
                }
            }
            // Longer ago than this node remembers.
            let peers = self.peers().ok_or(NotRecovered::Unavailable)?;
            let page = peers.read_after(self.namespace(), read, PAGE).await.map_err(not_read)?;
            for changed in page.entries.iter().filter_map(changed) {
                brought.apply(&changed)?;
            }
            read = page.next;
        }
        Err(NotRecovered::TooFarBehind)
    }

    fn keep(
        &self,
        recovering: &Recovering,
        ledger: &mut Ledger,
        brought: Brought,
    ) -> Result<(), NotRecovered> {
        let Brought { shared: Shared { pid, record, history, upto, .. }, turn, .. } = brought;
        let until = recovering.end_of(&record).ok_or(NotRecovered::Unknown)?;
        let elsewhere = ledger.now().max(upto);
        let inherited = None;
        let session = KeptSession { record, history, until, turn, elsewhere, inherited };
        let ((), is_over) =
            recovering.change_kept(ledger, |ledger| ledger.kept.keep(pid.clone(), session));
        self.end_kept_while(recovering, ledger, is_over);
        ledger.note(&pid);
        recovering.changed.notify_waiters();
        Ok(())
    }

    /// Ends when this node has read the log in Redis up to this place. Does not wait for a log in
    /// memory.
    ///
    /// # Errors
    /// If that takes too long: Redis does not answer, or the place is invented.
    pub(super) async fn has_caught_up_with(&self, place: Position) -> Result<(), NotRecovered> {
        if self.turns().is_none() {
            return Ok(());
        }
        if place.millis > since_epoch(SystemTime::now() + CLOCKS) {
            return Err(NotRecovered::TooFarBehind);
        }
        let has_read = || {
            let read = self.peers().and_then(|peers| peers.read_up_to(self.namespace()));
            read.is_some_and(|read| read >= place)
        };
        let deadline = Instant::now() + CATCH_UP;
        while !has_read() {
            if Instant::now() > deadline {
                return Err(NotRecovered::TooFarBehind);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Lets a session go, for another node that is about to take it: cuts its connection if it still
    /// has one, writes it as it is in the end, and forgets it.
    pub(in crate::sockets::adapter) async fn release(self: Arc<Self>, pid: Pid) -> Released {
        let Some(recovering) = &self.recovering else { return Released::Nothing };
        let Some(roaming) = &recovering.roaming else { return Released::Nothing };
        let deadline = tokio::time::Instant::now() + RELEASE;
        loop {
            let mut changed = std::pin::pin!(recovering.changed.notified());
            changed.as_mut().enable();
            let (live, is_claimed) = {
                let ledger = recovering.lock();
                (ledger.live.get(&pid).copied(), ledger.kept.is_claimed(&pid))
            };
            match live {
                Some(sid) => _ = self.node().transports().kill(sid, KillReason::TakenOver),
                // Another connection of the client is coming back to it.
                None if is_claimed => {}
                None => break,
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Released::Busy;
            }
        }
        // Nothing older is written behind it.
        let _alone = roaming.alone(&pid).await;
        let (kept, upto) = {
            let mut ledger = recovering.lock();
            let take = |ledger: &mut Ledger| ledger.kept.take(&pid);
            (recovering.change_kept(&mut ledger, take).0, ledger.now())
        };
        recovering.changed.notify_waiters();
        let Some(KeptSession { record, history, turn, .. }) = kept else {
            return Released::Nothing;
        };
        self.left(history.rooms().cloned());
        let holder = self.node().id().as_str().into();
        let shared = Shared { pid, record, history, upto, holder };
        // Without an answer of Redis, the other node does not get it either.
        let _ = roaming.write(&shared, turn).await;
        Released::Done
    }

    /// Another node has the session now. A client that is still connected here comes back there.
    pub(in crate::sockets::adapter) fn has_lost(&self, pid: &Pid) {
        let Some(recovering) = &self.recovering else { return };
        let mut ledger = recovering.lock();
        if let Some(sid) = ledger.live.get(pid).copied() {
            ledger.forget(sid);
            drop(ledger);
            self.node().transports().kill(sid, KillReason::TakenOver);
            return;
        }
        let take = |ledger: &mut Ledger| ledger.kept.take(pid);
        let (kept, _) = recovering.change_kept(&mut ledger, take);
        drop(ledger);
        if let Some(kept) = kept {
            self.left(kept.history.rooms().cloned());
        }
        recovering.changed.notify_waiters();
    }

    /// Makes sure that a session which has been kept here is still this node's, and writes it.
    ///
    /// # Errors
    /// If another node has it now, or Redis does not answer.
    pub(super) async fn confirm(&self, roaming: &Roaming, pid: &Pid) -> Result<(), NotRecovered> {
        let insisting = Insisting::new();
        let written = loop {
            let written = {
                let _alone = roaming.alone(pid).await;
                match self.shared(pid) {
                    Some((shared, turn)) => roaming.write(&shared, turn).await.map(Some),
                    None => Ok(None),
                }
            };
            if written.is_ok() || !insisting.again().await {
                break written;
            }
        };
        match written {
            Ok(Some(Owned::Here)) => Ok(()),
            Ok(None) => Err(NotRecovered::Unknown),
            Ok(Some(Owned::Elsewhere)) => {
                self.has_lost(pid);
                Err(NotRecovered::Unknown)
            }
            Err(_) => Err(NotRecovered::Unavailable),
        }
    }
}

impl Brought {
    fn apply(&mut self, changed: &Changed) -> Result<(), NotRecovered> {
        let history = &mut self.shared.history;
        if self.is_foreign && history.is_changed_by(changed) {
            return Err(NotRecovered::Unknown);
        }
        if history.apply(changed) { Ok(()) } else { Err(NotRecovered::Unknown) }
    }
}

/// A message of the log that changes sockets.
fn changed(Logged { at, message }: &Logged) -> Option<Changed> {
    let (to, change) = match message {
        Message::Join { to, rooms } => (to, Change::Join(rooms.clone().into())),
        Message::Leave { to, rooms } => (to, Change::Leave(rooms.clone().into())),
        Message::Disconnect { to, .. } => (to, Change::End),
        _ => return None,
    };
    Some(Changed { at: *at, scope: scope(to), change })
}

pub(super) fn not_read(reason: NotRead) -> NotRecovered {
    match reason {
        NotRead::Gone => NotRecovered::TooFarBehind,
        NotRead::Unavailable => NotRecovered::Unavailable,
    }
}
