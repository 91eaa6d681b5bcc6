//! The replay: a socket that has come back gets the events that it has missed, at the pace of its
//! client.

use std::{ops::ControlFlow, sync::Arc};

use socketioxide_core::{Sid, packet::Packet};

use super::{Adapter, Ledger, Recovering};
use crate::edge::KillReason;

/// Events that are looked at in one step. Deliveries wait for it.
const LOOKED_AT: usize = 256;

/// Events that are sent in one step.
const SENT: usize = 64;

/// Bytes that are sent in one step, but for the last event.
const BYTES: usize = 256 * 1024;

impl Adapter {
    /// Sends the socket what it has missed, and opens its gate. A short replay has ended when this
    /// returns.
    pub(crate) fn replay(self: &Arc<Self>, sid: Sid) {
        let Some(recovering) = &self.recovering else { return };
        if self.replay_some(recovering, sid).is_break() {
            return;
        }
        let adapter = self.clone();
        tokio::spawn(async move {
            let Some(recovering) = &adapter.recovering else { return };
            loop {
                let Some(load) = adapter.load_of(sid) else { return };
                load.uncrowded().await;
                if adapter.replay_some(recovering, sid).is_break() {
                    return;
                }
                // Others have their turn, and the client's writer first of all.
                tokio::task::yield_now().await;
            }
        });
    }

    /// One step. `Break` if there is nothing more to do.
    fn replay_some(&self, recovering: &Recovering, sid: Sid) -> ControlFlow<()> {
        let mut ledger = recovering.lock();
        let Ledger { log, sessions, .. } = &mut *ledger;
        let Some(session) = sessions.get_mut(&sid) else { return ControlFlow::Break(()) };
        let Some(mut at) = session.gate else { return ControlFlow::Break(()) };
        if !log.covers(at) {
            // The client believes that it has everything. It comes back and learns better.
            drop(ledger);
            self.cannot_recover(sid);
            self.context().transports().kill(sid, KillReason::Missed);
            return ControlFlow::Break(());
        }
        let (mut sent, mut bytes, mut is_all) = (0, 0, true);
        for (looked_at, entry) in log.after(at).enumerate() {
            if looked_at == LOOKED_AT || sent == SENT || bytes > BYTES {
                is_all = false;
                break;
            }
            at = entry.position;
            if session.history.gets(entry) {
                (sent, bytes) = (sent + 1, bytes + entry.size());
                let packet = Packet::event(self.local.path().clone(), entry.value.clone());
                self.deliver_to_one(packet, sid, false);
            }
        }
        if session.has_come_back {
            self.context().meters().replayed.add(sent as u64);
        }
        session.gate = (!is_all).then_some(at);
        if !is_all {
            return ControlFlow::Continue(());
        }
        if let Some(member) = self.members.read().get(sid) {
            member.reach.set_gate(false);
        }
        ControlFlow::Break(())
    }
}
