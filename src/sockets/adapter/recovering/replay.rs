//! The replay: a socket that has come back gets the events that it has missed, at the pace of its
//! client.

use std::{ops::ControlFlow, sync::Arc};

use socketioxide_core::{Sid, Value, adapter::Room, packet::Packet};

use super::{
    Adapter, Recovering,
    in_redis::scope,
    ledger::{Heir, Ledger},
};
use crate::{
    cluster::{
        codec::event_to_packet,
        message::Message,
        peers::past::{Logged, NotRead, Page},
    },
    edge::KillReason,
    payload::{Payload, PayloadError},
    recovery::{EventId, Position, with_offset},
};

/// Events that are looked at in one step. Deliveries wait for it.
const LOOKED_AT: usize = 256;

/// Events that are sent in one step.
const SENT: usize = 64;

/// Bytes that are sent in one step, but for the last event.
const BYTES: usize = 256 * 1024;

/// The place of an event in the log, and its name among all nodes.
type Named = (Option<Position>, Option<EventId>);

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
                let step = match recovering.wants_page(sid) {
                    Some(Wanted { at, page: Some(page) }) => {
                        adapter.replay_page(recovering, sid, at, &page)
                    }
                    Some(Wanted { at, page: None }) => match adapter.page(at).await {
                        Ok(page) => adapter.replay_page(recovering, sid, at, &page),
                        Err(_) => adapter.cannot_go_on(sid),
                    },
                    None => adapter.replay_some(recovering, sid),
                };
                if step.is_break() {
                    return;
                }
                // Others have their turn, and the client's writer first of all.
                tokio::task::yield_now().await;
            }
        });
    }

    /// A page of the log in Redis.
    pub(super) async fn page(&self, after: Position) -> Result<Page, NotRead> {
        let peers = self.peers().ok_or(NotRead::Unavailable)?;
        peers.read_after(self.namespace(), after, SENT).await
    }

    /// Sends what a page has for the socket.
    fn replay_page(
        &self,
        recovering: &Recovering,
        sid: Sid,
        at: Position,
        page: &Page,
    ) -> ControlFlow<()> {
        let mut ledger = recovering.lock();
        let floor = ledger.log.floor();
        let Some(session) = ledger.sessions.get_mut(&sid) else { return ControlFlow::Break(()) };
        let until = session.elsewhere.max(floor);
        let mut sent = 0;
        for Logged { at, message } in &page.entries {
            let Message::Broadcast { event, to, flags } = message else { continue };
            // What comes behind is in the log of this node.
            if *at > until || flags.volatile || !session.history.has_for(*at, &scope(to)) {
                continue;
            }
            let value = event_to_packet(event).map_err(PayloadError::from);
            let value = value
                .and_then(|event| Payload::of_packet(event, true).into_wire(self.node().parser()));
            // An event that no client can take was sent to nobody.
            let Ok(value) = value else { continue };
            let Some(value) = with_offset(&value, &recovering.offsets.write(*at)) else { continue };
            sent += 1;
            let packet = Packet::event(self.local.path().clone(), value);
            self.deliver_to_one(packet, sid, false, (Some(*at), None), &to.rooms);
        }
        self.node().meters().replayed.add(sent);
        let reached = if page.is_end { until } else { page.next.min(until) };
        session.gate = Some(reached.max(at));
        ControlFlow::Continue(())
    }

    /// What the client believes to have cannot be had. It comes back and learns better.
    fn cannot_go_on(&self, sid: Sid) -> ControlFlow<()> {
        self.cannot_recover(sid);
        self.node().transports().kill(sid, KillReason::Missed);
        ControlFlow::Break(())
    }

    /// One step. `Break` if there is nothing more to do.
    fn replay_some(&self, recovering: &Recovering, sid: Sid) -> ControlFlow<()> {
        let mut ledger = recovering.lock();
        let Ledger { log, sessions, .. } = &mut *ledger;
        let Some(session) = sessions.get_mut(&sid) else { return ControlFlow::Break(()) };
        let Some(mut at) = session.gate else { return ControlFlow::Break(()) };
        if recovering.turns().is_some() && at < session.elsewhere.max(log.floor()) {
            return ControlFlow::Continue(());
        }
        // In Redis, behind the last event for this namespace there may be others.
        if at < log.floor() || (recovering.turns().is_none() && at > log.head()) {
            drop(ledger);
            return self.cannot_go_on(sid);
        }
        let (mut sent, mut bytes, mut is_all) = (0, 0, true);
        let mut send = |value: &Value, size: usize, named: Named, rooms: &[Room]| {
            (sent, bytes) = (sent + 1, bytes + size);
            let packet = Packet::event(self.local.path().clone(), value.clone());
            self.deliver_to_one(packet, sid, false, named, rooms);
            sent < SENT && bytes <= BYTES
        };
        if let Some(Heir { inherited, next, .. }) = session.heir.as_deref_mut() {
            while let Some(event) = inherited.next(next) {
                if !send(&event.value, event.size(), (None, None), &[]) {
                    is_all = false;
                    break;
                }
            }
        }
        if is_all {
            let heir = session.heir.as_deref();
            let has_come_before = |id| heir.is_some_and(|heir| heir.ids.contains(&id));
            for (looked_at, entry) in log.after(at).enumerate() {
                if looked_at == LOOKED_AT {
                    is_all = false;
                    break;
                }
                at = entry.position;
                let is_missing =
                    session.history.gets(entry) && !entry.id.is_some_and(has_come_before);
                if is_missing
                    && !send(
                        &entry.value,
                        entry.size(),
                        (Some(entry.position), entry.id),
                        &entry.scope.rooms,
                    )
                {
                    // The next step finds out whether this was the last one.
                    is_all = false;
                    break;
                }
            }
        }
        if session.has_come_back {
            self.node().meters().replayed.add(sent as u64);
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

impl Recovering {
    /// The page of the log in Redis that the socket needs next. `None`: this node has all that is
    /// left.
    fn wants_page(&self, sid: Sid) -> Option<Wanted> {
        self.turns()?;
        let mut ledger = self.lock();
        let floor = ledger.log.floor();
        let session = ledger.sessions.get_mut(&sid)?;
        let at = session.gate?;
        (at < session.elsewhere.max(floor)).then(|| Wanted { at, page: session.first.take() })
    }
}

/// What the replay of a socket needs from Redis.
struct Wanted {
    at: Position,
    /// It was fetched before.
    page: Option<Page>,
}
