//! A client that comes back: finding its session, and claiming it for the client alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use socketioxide_core::Sid;

use super::{
    Adapter, Ledger, Recovering,
    bringing::{Return, not_read},
};
use crate::{
    auth::Identity,
    cluster::peers::past::Page,
    edge::KillReason,
    recovery::{Inherited, Offsets, Pid, Place, Position, Said},
    sockets::record::SocketRecord,
    telemetry::meters::NotRecovered,
};

/// How often a session is brought here for one client.
const BRINGS: usize = 4;

/// How long a session is waited for whose old connection has been cut a moment ago.
const TAKEOVER: Duration = Duration::from_secs(2);

/// A session that one client has claimed. Dropped before it begins, it waits for its client again.
pub(crate) struct Claim {
    adapter: Arc<Adapter>,
    pid: Pid,
    from: From,
    /// Up to here what it has missed comes from Redis.
    until: Position,
    /// The beginning of that.
    first: Option<Page>,
    has_begun: bool,
}

/// The place from which a client goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    /// What it has got of this log.
    pub(super) heard: Position,
    /// Nothing before this is missing.
    pub(super) position: Position,
    /// In what the session has inherited. `None`: the client has got something of this log, and so
    /// all that came before it.
    pub(super) place: Option<Place>,
}

/// A look for a session.
enum Found {
    Yours(Box<SocketRecord>, Claim),
    /// Its old connection is still there.
    Live(Sid),
    /// Another connection is coming back to it.
    Claimed,
    Not(NotRecovered),
}

impl Claim {
    pub(super) fn of(&self) -> (&Pid, From) {
        (&self.pid, self.from)
    }

    pub(super) fn begins(mut self) -> (Pid, From, Option<Page>) {
        self.has_begun = true;
        (self.pid.clone(), self.from, self.first.take())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(recovering) = self.adapter.recovering.as_ref().filter(|_| !self.has_begun) {
            recovering.lock().kept.give_back(&self.pid);
            recovering.changed.notify_waiters();
        }
    }
}

impl Adapter {
    /// Claims the session of a client that comes back by the connection `sid`, or to another node,
    /// and returns it with the socket as it was. If its old connection is still there, that is cut
    /// first. Without an identity nobody asks for it but the server itself.
    ///
    /// # Errors
    /// The reason why nothing is recovered.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        back: &Return,
        identity: Option<&Identity>,
        sid: Option<Sid>,
    ) -> Result<(Box<SocketRecord>, Claim), NotRecovered> {
        let claimed = self.look_for(back, identity, sid).await;
        if claimed.is_err() {
            // Its new session must not begin with what it has heard before.
            let _ = self.has_caught_up_with(back.heard()).await;
        }
        claimed
    }

    async fn look_for(
        self: &Arc<Self>,
        back: &Return,
        identity: Option<&Identity>,
        sid: Option<Sid>,
    ) -> Result<(Box<SocketRecord>, Claim), NotRecovered> {
        let Some(recovering) = &self.recovering else { return Err(NotRecovered::Unknown) };
        let mut deadline = tokio::time::Instant::now() + TAKEOVER;
        // How often its session may be brought here: a connection that the client has given up may
        // take it away again.
        let mut brings = BRINGS;
        loop {
            // Its client has gone, and would only be in its own way when it comes the next time.
            if sid.is_some_and(|sid| !self.node().transports().is_there(sid)) {
                return Err(NotRecovered::Busy);
            }
            let mut changed = std::pin::pin!(recovering.changed.notified());
            // Before the look, so that a change right after it is not missed.
            changed.as_mut().enable();
            let found = self.find(recovering, &mut recovering.lock(), back, identity);
            match found {
                Found::Yours(record, claim) => {
                    let confirmed = match &recovering.roaming {
                        Some(roaming) => self.confirm(roaming, &back.pid).await,
                        None => Ok(()),
                    };
                    match confirmed {
                        Ok(()) => return Ok((record, self.with_first_page(claim).await?)),
                        // Another node has taken it.
                        Err(NotRecovered::Unknown) => continue,
                        Err(reason) => return Err(reason),
                    }
                }
                Found::Not(NotRecovered::Unknown)
                    if let Some((roaming, identity)) =
                        recovering.roaming.as_ref().zip(identity)
                        && brings > 0 =>
                {
                    brings -= 1;
                    // On a task of its own: it must not be lost on its way if the client breaks off.
                    let bring = self.clone().bring(roaming.clone(), back.clone(), identity.clone());
                    tokio::spawn(bring).await.unwrap_or(Err(NotRecovered::Unavailable))?;
                    deadline = tokio::time::Instant::now() + TAKEOVER;
                    continue;
                }
                Found::Not(reason) => return Err(reason),
                Found::Live(old) if Some(old) == sid => return Err(NotRecovered::Unknown),
                Found::Claimed => {}
                Found::Live(old) => {
                    self.node().transports().kill(old, KillReason::TakenOver);
                }
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(NotRecovered::Busy);
            }
        }
    }

    /// Fetches the first of what its client has missed from Redis, if that is needed: before it is
    /// told that nothing is missing.
    async fn with_first_page(&self, mut claim: Claim) -> Result<Claim, NotRecovered> {
        if claim.from.position < claim.until {
            let page = self.page(claim.from.position).await;
            claim.first = Some(page.map_err(not_read)?);
        }
        Ok(claim)
    }

    fn find(
        self: &Arc<Self>,
        recovering: &Recovering,
        ledger: &mut Ledger,
        back: &Return,
        identity: Option<&Identity>,
    ) -> Found {
        let Return { pid, offset } = back;
        let Some(session) = ledger.kept.find(pid, Instant::now()) else {
            let Some(sid) = ledger.live.get(pid) else {
                return match ledger.kept.is_claimed(pid) {
                    true => Found::Claimed,
                    false => Found::Not(NotRecovered::Unknown),
                };
            };
            let owner = self.members.read().get(*sid).map(|member| member.described_by.clone());
            let owner = owner.and_then(|owner| owner.upgrade());
            let owner = owner.map(|owner| owner.identity());
            let may = owner.is_none_or(|owner| identity.is_none_or(|it| it.may_continue(&owner)));
            return if may { Found::Live(*sid) } else { Found::Not(NotRecovered::OtherOwner) };
        };
        if identity.is_some_and(|it| !it.may_continue(&session.record.identity)) {
            return Found::Not(NotRecovered::OtherOwner);
        }
        let start = session.history.start();
        let inherited = session.inherited.as_ref();
        let behind = |place: Place| Some((start, Some(place)));
        let everything =
            || inherited.map_or(Some(Place::default()), Inherited::start).and_then(behind);
        let said = offset.as_deref().map(|offset| (offset, recovering.offsets.read(offset)));
        let goes_on = match said {
            _ if identity.is_none() => behind(Place::default()),
            None => everything(),
            Some((_, Said::Nonsense)) => return Found::Not(NotRecovered::BadOffset),
            Some((_, Said::Here(heard))) if heard >= start => Some((heard, None)),
            // It was here before it was at other nodes, or has received nothing in this session.
            Some((offset, Said::Here(_) | Said::Elsewhere)) => {
                match inherited.zip(Offsets::of_any_log(offset)) {
                    Some((inherited, (log, heard))) => {
                        inherited.behind(log, heard).and_then(behind)
                    }
                    None => everything(),
                }
            }
        };
        let Some((heard, place)) = goes_on else { return Found::Not(NotRecovered::TooFarBehind) };
        let position = session.history.continues_from(heard);
        let covers = match recovering.offsets {
            // The server itself gives away what there is.
            _ if identity.is_none() => true,
            Offsets::InMemory { .. } => ledger.log.covers(position),
            // What this node has forgotten, or never had, may still be in Redis.
            Offsets::InStream => heard <= ledger.now(),
        };
        if !covers || !(identity.is_none() || session.history.knows(position)) {
            // The session stays: a connection that says something old may be served late.
            return Found::Not(NotRecovered::TooFarBehind);
        }
        // What is fetched from Redis before the log of this node goes on.
        let until = match recovering.offsets {
            Offsets::InMemory { .. } => Position::ZERO,
            Offsets::InStream => session.elsewhere.max(ledger.log.floor()),
        };
        let from = From { heard, position, place };
        let record = Box::new(session.record.clone());
        ledger.kept.claim(pid);
        let (adapter, pid) = (self.clone(), pid.clone());
        Found::Yours(record, Claim { adapter, pid, from, until, first: None, has_begun: false })
    }
}
