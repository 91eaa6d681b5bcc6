//! The ways in which the server cuts a transport.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rand::seq::SliceRandom;
use socketioxide_core::Sid;
use tokio::time::sleep_until;

use super::{Closing, Transports};
use crate::edge::{
    reasons::KillReason,
    transport::{Phase, Transport},
};

impl Transports {
    /// Cuts the transport of this session. The engine sees a reset connection (websocket) or a
    /// client that closes (polling), and does the rest: the disconnect handlers run, the socket
    /// leaves its rooms. The client sees a lost connection and comes back.
    ///
    /// `false` if there is no such session (any more), or if it was cut before.
    pub(crate) fn kill(&self, sid: Sid, reason: KillReason) -> bool {
        self.get(sid).is_some_and(|transport| self.kill_transport(&transport, reason))
    }

    /// Cuts every session in random order, evenly over `spread`, and then the sessions that have
    /// come in the meantime.
    pub(crate) async fn kill_all_spread(&self, spread: Duration, reason: KillReason) {
        let mut sids = self.all();
        sids.shuffle(&mut rand::rng());
        let start = tokio::time::Instant::now();
        let step = spread.checked_div(sids.len() as u32).unwrap_or_default();
        for (n, sid) in (0..).zip(sids) {
            // from the first step on, so that even the first client has time to hear why
            sleep_until(start + step * (n + 1)).await;
            self.kill(sid, reason);
        }
        for sid in self.all() {
            self.kill(sid, reason);
        }
    }

    pub(in crate::edge) fn kill_transport(
        &self,
        transport: &Transport,
        reason: KillReason,
    ) -> bool {
        let counter = &self.shared.counters.killed[reason as usize - 1];
        // Counted before the client can notice it.
        let count = || _ = counter.fetch_add(1, Ordering::Relaxed);
        if !transport.mark_killed(reason, count) {
            return false;
        }
        tracing::debug!(client.address = %transport.peer, reason = reason.as_str(), "transport cut");
        transport.end();
        if transport.phase() != Phase::Websocket {
            self.close_in_engine(transport);
        }
        true
    }

    /// Too much waits on this node: cuts the clients for which the most is held, until the rest is
    /// well below the limit.
    pub(crate) fn relieve(&self) {
        let Some(limit) = self.shared.budget.limit_if_exceeded() else { return };
        let Some(_only) = self.shared.relieving.try_lock() else { return };
        let mut held: Vec<_> = self
            .shared
            .by_sid
            .iter()
            .filter(|transport| !transport.is_killed())
            .map(|transport| (transport.load.held(), *transport.key()))
            .collect();
        held.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut sum: usize = held.iter().map(|(bytes, _)| bytes).sum();
        let mut cut = 0;
        for (bytes, sid) in held {
            if sum <= limit / 4 * 3 {
                break;
            }
            sum -= bytes;
            cut += usize::from(self.kill(sid, KillReason::SlowConsumer));
        }
        if cut > 0 {
            tracing::warn!(
                clients = cut,
                limit_bytes = limit,
                "too much waits on this node: the clients for whom the most is held are cut"
            );
        }
    }

    /// Cuts a session that has joined no namespace in this time.
    pub(in crate::edge) fn cut_unless_joined(&self, sid: Sid, limit: Duration) {
        let transports = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            if transports.get(sid).is_some_and(|transport| !transport.has_joined()) {
                transports.kill(sid, KillReason::Vanished);
            }
        });
    }

    /// The engine has given up this session: its client did not answer a ping in time. The engine
    /// closes a websocket; a polling session has to be cut here.
    pub(crate) fn timed_out(&self, sid: Sid) {
        if let Some(transport) = self.get(sid)
            && transport.phase() != Phase::Websocket
        {
            self.forget(&transport);
        }
    }

    /// Cuts the polling sessions that were silent for longer than `limit`.
    pub(in crate::edge) fn sweep(&self, limit: Duration) {
        let now = self.now();
        let silent: Vec<_> = self
            .shared
            .by_sid
            .iter()
            .filter(|transport| transport.is_silent(now, limit))
            .map(|transport| Arc::clone(&transport))
            .collect();
        for transport in silent {
            self.kill_transport(&transport, KillReason::Vanished);
        }
        self.shrink();
    }

    pub(super) fn close_in_engine(&self, transport: &Transport) {
        if let Some(sid) = transport.sid.get() {
            // without a housekeeper there is no engine either
            self.shared.closing.send(Closing { sid: *sid, v3: transport.v3 }).ok();
        }
    }
}
