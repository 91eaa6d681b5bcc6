//! A client that comes back: finding its session, and claiming it for the client alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use socketioxide_core::Sid;

use super::{Adapter, Ledger, Recovering};
use crate::{
    auth::Identity,
    edge::KillReason,
    recovery::{Pid, Position, Said},
    sockets::record::SocketRecord,
    telemetry::meters::NotRecovered,
};

/// How long a session is waited for whose old connection has been cut a moment ago.
const TAKEOVER: Duration = Duration::from_secs(2);

/// What a client says that comes back.
#[derive(Debug)]
pub(crate) struct Return {
    pub(crate) pid: Pid,
    pub(crate) offset: Option<String>,
}

/// A session that one client has claimed. Dropped before it begins, it waits for its client again.
pub(crate) struct Claim {
    adapter: Arc<Adapter>,
    pid: Pid,
    from: Position,
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
    pub(super) fn begins(mut self) -> (Pid, Position) {
        self.has_begun = true;
        (self.pid.clone(), self.from)
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
        let Some(recovering) = &self.recovering else { return Err(NotRecovered::Unknown) };
        let deadline = tokio::time::Instant::now() + TAKEOVER;
        loop {
            let mut changed = std::pin::pin!(recovering.changed.notified());
            // Before the look, so that a change right after it is not missed.
            changed.as_mut().enable();
            let found = self.find(recovering, &mut recovering.lock(), back, identity);
            match found {
                Found::Yours(record, claim) => return Ok((record, claim)),
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
        let start = session.history.start();
        let from = match offset.as_deref().map(|offset| recovering.offsets.read(offset)) {
            Some(Said::Here(position)) => position.max(start),
            // It has received nothing in this session.
            None | Some(Said::Elsewhere) => start,
            Some(Said::Nonsense) => return Found::Not(NotRecovered::BadOffset),
        };
        if !ledger.log.covers(from) || !session.history.knows(from) {
            // The session stays: a connection that says something old may be served late.
            return Found::Not(NotRecovered::TooFarBehind);
        }
        let record = Box::new(session.record.clone());
        ledger.kept.claim(pid);
        let (adapter, pid) = (self.clone(), pid.clone());
        Found::Yours(record, Claim { adapter, pid, from, has_begun: false })
    }
}
