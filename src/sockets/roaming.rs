//! Sessions in Redis, for the nodes that share a log: each session is written while its socket lives,
//! so that any node can go on with it.
//!
//! Changes are noted and written later, many of one session once. The record says which node has
//! the session; a node that takes it asks that one to let go first. The form is that of the Node.js
//! adapter, and what only our nodes know stands beside it.

mod record;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

#[cfg(any(test, fuzzing))]
pub(crate) use record::check_beside;
pub(crate) use record::{Foreign, Found, Shared};

use crate::{
    cluster::sessions::{Put, Seen, Session, Sessions, Unreachable},
    edge::{Hop, HopError},
    id::NodeId,
    recovery::Pid,
    sockets::one_at_a_time::{Alone, OneAtATime},
};

/// The question to a node to let a session go.
pub(crate) const RELEASE: &str = "session.release";

/// Longest wait for another node to let a session go. A node that stands still keeps its client
/// waiting for this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it is tried again to reach Redis, and the time between two attempts.
const TO_INSIST: Duration = Duration::from_secs(4);
const BETWEEN: Duration = Duration::from_millis(100);

/// Sessions that are written at one time.
const AT_ONCE: usize = 32;

/// Longest wait for a session to be written that somebody waits for.
const AT_ONCE_OR_LATER: Duration = Duration::from_secs(1);

/// The time between two looks whether all is written.
const LOOK: Duration = Duration::from_millis(5);

/// The time until the next attempt after Redis has not answered.
const PAUSE: Duration = Duration::from_millis(500);

/// The way of sessions to and from Redis.
pub(crate) struct Roaming {
    sessions: Arc<dyn Sessions>,
    hop: Option<Hop>,
    node: NodeId,
    /// How long a session is kept from the last word about it.
    keep: Duration,
    waiting: Mutex<HashMap<Pid, Waits>>,
    wake: Notify,
    /// Sessions that are being written.
    under_way: AtomicUsize,
    writing: OneAtATime,
}

/// What has to be done about a session in Redis.
enum Waits {
    /// It has changed. With its namespace.
    Write(Arc<str>),
    /// It has ended. With its owner's turn.
    Remove(u64),
}

/// What became of a session that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Here,
    /// A later owner has it.
    Elsewhere,
}

/// Asks a node to let a session go, see [`RELEASE`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Release {
    namespace: String,
    pid: String,
}

impl Release {
    /// The namespace and the session. `None` if no server makes such a session.
    pub(crate) fn session(self) -> Option<(String, Pid)> {
        Some((self.namespace, Pid::said(&self.pid)?))
    }
}

/// The answer of a node that is asked to let a session go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Released {
    /// It has let it go, and has written it as it was in the end.
    Done,
    /// It has no such session, or is this node, or does not answer.
    Nothing,
    /// Another connection is coming back to it there.
    Busy,
}

impl Roaming {
    pub(crate) fn new(
        sessions: Arc<dyn Sessions>,
        hop: Option<Hop>,
        node: NodeId,
        keep: Duration,
    ) -> Arc<Self> {
        let (waiting, wake, under_way, writing) = Default::default();
        Arc::new(Self { sessions, hop, node, keep, waiting, wake, under_way, writing })
    }

    /// A session is written again after this time, so that its record does not end before it.
    pub(crate) fn refresh(&self) -> Duration {
        self.keep / 3
    }

    /// A session has changed. It is written soon.
    pub(crate) fn touch(&self, namespace: &str, pid: &Pid) {
        self.waiting.lock().entry(pid.clone()).or_insert_with(|| Waits::Write(namespace.into()));
        self.wake.notify_one();
    }

    /// A session of this owner's turn has ended. Nobody comes back to it.
    pub(crate) fn ended(&self, pid: Pid, turn: u64) {
        self.waiting.lock().insert(pid, Waits::Remove(turn));
        self.wake.notify_one();
    }

    /// Ends when nothing waits to be written.
    pub(crate) async fn is_idle(&self) {
        let is_busy = || {
            let waiting = self.waiting.lock();
            !waiting.is_empty() || self.under_way.load(Ordering::Relaxed) > 0
        };
        while is_busy() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Writes what has changed, as long as it is polled. `current` is a session as it is now, with
    /// its turn, and `lost` is called for one that has a later owner elsewhere.
    pub(crate) async fn write_all(
        &self,
        current: impl Fn(&str, &Pid) -> Option<(Shared, u64)>,
        lost: impl Fn(&str, &Pid),
    ) {
        loop {
            self.wake.notified().await;
            while self.write_some(&current, &lost).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Writes what has changed until nothing waits, or Redis does not answer.
    pub(crate) async fn write_some(
        &self,
        current: &impl Fn(&str, &Pid) -> Option<(Shared, u64)>,
        lost: &impl Fn(&str, &Pid),
    ) -> Result<(), Unreachable> {
        loop {
            let waiting = {
                let mut waiting = self.waiting.lock();
                self.under_way.store(waiting.len(), Ordering::Relaxed);
                std::mem::take(&mut *waiting)
            };
            if waiting.is_empty() {
                return Ok(());
            }
            let writes = waiting.into_iter().map(|(pid, waits)| async move {
                let written = self.do_one(&pid, &waits, current, lost).await;
                written.is_err().then_some((pid, waits))
            });
            let failed = stream::iter(writes).buffer_unordered(AT_ONCE);
            let mut failed = std::pin::pin!(failed.filter_map(std::future::ready));
            let mut is_unreachable = false;
            while let Some((pid, waits)) = failed.next().await {
                is_unreachable = true;
                // What has been noted since is newer.
                self.waiting.lock().entry(pid).or_insert(waits);
            }
            if is_unreachable {
                return Err(Unreachable);
            }
        }
    }

    async fn do_one(
        &self,
        pid: &Pid,
        waits: &Waits,
        current: &impl Fn(&str, &Pid) -> Option<(Shared, u64)>,
        lost: &impl Fn(&str, &Pid),
    ) -> Result<(), Unreachable> {
        match waits {
            Waits::Remove(turn) => self.sessions.remove(pid.reveal(), *turn).await,
            Waits::Write(namespace) => {
                let _alone = self.alone(pid).await;
                let Some((shared, turn)) = current(namespace, pid) else { return Ok(()) };
                if self.write(&shared, turn).await? == Owned::Elsewhere {
                    lost(namespace, pid);
                }
                Ok(())
            }
        }
    }

    /// Writes a session as it is now, without waiting for others that have changed. `None` if there
    /// is nothing to write.
    ///
    /// # Errors
    /// If Redis does not answer soon. The session is written later then.
    pub(crate) async fn write_now(
        &self,
        pid: &Pid,
        current: impl Fn() -> Option<(Shared, u64)>,
    ) -> Result<Option<Owned>, Unreachable> {
        let write = async {
            let _alone = self.alone(pid).await;
            let Some((shared, turn)) = current() else { return Ok(None) };
            // It has all changes that have been noted.
            let waits = self.waiting.lock().remove(pid);
            let mut noted = Noted { roaming: self, pid, waits };
            let owned = self.write(&shared, turn).await?;
            noted.waits = None;
            Ok(Some(owned))
        };
        tokio::time::timeout(AT_ONCE_OR_LATER, write).await.unwrap_or(Err(Unreachable))
    }

    /// Writes a session of this node.
    ///
    /// # Errors
    /// If Redis does not answer.
    pub(crate) async fn write(&self, shared: &Shared, turn: u64) -> Result<Owned, Unreachable> {
        let Some(session) = shared.to_session(self.node.as_str()) else {
            // It is too large to be kept there. Nobody gets an older one.
            self.sessions.remove(shared.pid.reveal(), turn).await?;
            return Ok(Owned::Here);
        };
        self.put(&session, turn).await
    }

    async fn put(&self, session: &Session, turn: u64) -> Result<Owned, Unreachable> {
        Ok(match self.sessions.put(session, turn, self.keep).await? {
            Put::Written => Owned::Here,
            Put::Overtaken => Owned::Elsewhere,
        })
    }

    /// A session as it stands in Redis, whoever has it.
    ///
    /// # Errors
    /// If Redis does not answer.
    pub(crate) async fn look(&self, pid: &Pid) -> Result<Option<(Found, Seen)>, Unreachable> {
        let insisting = Insisting::new();
        let seen = loop {
            match self.sessions.look(pid.reveal()).await {
                Err(_) if insisting.again().await => {}
                answer => break answer?,
            }
        };
        let read = |seen: Seen| Some((Found::read(seen.session.clone(), pid)?, seen));
        Ok(seen.and_then(read))
    }

    /// Takes a session for this node, if it has not changed since it was seen. Returns the turn for
    /// writing it.
    ///
    /// # Errors
    /// If Redis does not answer.
    pub(crate) async fn take(&self, seen: &Seen) -> Result<Option<u64>, Unreachable> {
        // Once only: an answer that was lost may have been that it is taken.
        self.sessions.take(seen, self.keep).await
    }

    /// Nobody else writes this session as long as the result lives, so that nothing older is written
    /// last.
    pub(crate) async fn alone(&self, pid: &Pid) -> Alone<'_> {
        self.writing.wait(pid).await
    }

    /// Has the node that holds a session let it go.
    pub(crate) async fn release(&self, holder: &str, namespace: &str, pid: &Pid) -> Released {
        let is_other = !holder.is_empty() && holder != self.node.as_str();
        let Some(hop) = self.hop.as_ref().filter(|_| is_other) else { return Released::Nothing };
        let question = Release { namespace: namespace.into(), pid: pid.reveal().into() };
        match hop.ask_for(holder, RELEASE, &question, PATIENCE).await {
            Ok(released) => released,
            Err(HopError::Busy) => Released::Busy,
            Err(error) => {
                tracing::debug!(holder, ?error, "the node with the session does not answer");
                Released::Nothing
            }
        }
    }
}

/// A change that is noted again unless it is written.
struct Noted<'a> {
    roaming: &'a Roaming,
    pid: &'a Pid,
    waits: Option<Waits>,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some(waits) = self.waits.take() {
            self.roaming.waiting.lock().entry(self.pid.clone()).or_insert(waits);
            self.roaming.wake.notify_one();
        }
    }
}

/// Tries again until Redis answers, or it takes too long: a client that comes back can wait while
/// Redis is started again.
pub(crate) struct Insisting(Instant);

impl Insisting {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + TO_INSIST)
    }

    /// Waits before the next attempt. `false`: it has taken too long.
    pub(crate) async fn again(&self) -> bool {
        let is_time_left = Instant::now() < self.0;
        if is_time_left {
            tokio::time::sleep(BETWEEN).await;
        }
        is_time_left
    }
}
