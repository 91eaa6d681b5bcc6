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
    recovery::{Offsets, Pid, Position, Said},
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
    from: Position,
    /// Up to here what it has missed comes from Redis.
    until: Position,
    /// The beginning of that.
    first: Option<Page>,
    has_begun: bool,
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
    pub(super) fn begins(mut self) -> (Pid, Position, Option<Page>) {
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
    /// Claims the session of a client that comes back by the connection `sid`, and returns it with
    /// the socket as it was. If its old connection is still there, that is cut first.
    ///
    /// # Errors
    /// The reason why nothing is recovered.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        back: &Return,
        identity: &Identity,
        sid: Sid,
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
        identity: &Identity,
        sid: Sid,
    ) -> Result<(Box<SocketRecord>, Claim), NotRecovered> {
        let Some(recovering) = &self.recovering else { return Err(NotRecovered::Unknown) };
        let mut deadline = tokio::time::Instant::now() + TAKEOVER;
        // How often its session may be brought here: a connection that the client has given up may
        // take it away again.
        let mut brings = BRINGS;
        loop {
            // Its client has gone, and would only be in its own way when it comes the next time.
            if !self.context().transports().is_there(sid) {
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
                    if let Some(roaming) = &recovering.roaming
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
                Found::Live(old) if old == sid => return Err(NotRecovered::Unknown),
                Found::Claimed => {}
                Found::Live(old) => {
                    self.context().transports().kill(old, KillReason::TakenOver);
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
        if claim.from < claim.until {
            let page = self.page(claim.from).await;
            claim.first = Some(page.map_err(not_read)?);
        }
        Ok(claim)
    }

    fn find(
        self: &Arc<Self>,
        recovering: &Recovering,
        ledger: &mut Ledger,
        back: &Return,
        identity: &Identity,
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
            let may = owner.is_none_or(|owner| identity.may_continue(&owner.identity()));
            return if may { Found::Live(*sid) } else { Found::Not(NotRecovered::OtherOwner) };
        };
        if !identity.may_continue(&session.record.identity) {
            return Found::Not(NotRecovered::OtherOwner);
        }
        let heard = match offset.as_deref().map(|offset| recovering.offsets.read(offset)) {
            Some(Said::Here(position)) => position,
            // It has received nothing in this session.
            None | Some(Said::Elsewhere) => session.history.start(),
            Some(Said::Nonsense) => return Found::Not(NotRecovered::BadOffset),
        };
        let from = session.history.continues_from(heard);
        let covers = match recovering.offsets {
            Offsets::InMemory { .. } => ledger.log.covers(from),
            // What this node has forgotten, or never had, may still be in Redis.
            Offsets::InStream => heard <= ledger.now(),
        };
        if !covers || !session.history.knows(from) {
            // The session stays: a connection that says something old may be served late.
            return Found::Not(NotRecovered::TooFarBehind);
        }
        // What is fetched from Redis before the log of this node goes on.
        let until = match recovering.offsets {
            Offsets::InMemory { .. } => Position::ZERO,
            Offsets::InStream => session.elsewhere.max(ledger.log.floor()),
        };
        let record = Box::new(session.record.clone());
        ledger.kept.claim(pid);
        let (adapter, pid) = (self.clone(), pid.clone());
        Found::Yours(record, Claim { adapter, pid, from, until, first: None, has_begun: false })
    }
}
