//! All transports of this node, by session. From here the rest of the server reaches them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use dashmap::DashMap;
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use serde_json::Value;
use socketioxide_core::Sid;
use tokio::{
    sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep_until,
};

use super::{
    frames,
    inbound::Connects,
    load::{Budget, Load},
    splice::Answer,
    traffic::{Counted, Traffic},
    wire::{KillReason, Phase, Wire},
};
use crate::id::SocketId;

/// How long an answer to CONNECT waits for its session to be known here. An Engine.IO 3 session is connected
/// to `/` before its OPEN packet has come by, if only for an instant.
const EARLY_PATIENCE: Duration = Duration::from_secs(30);

/// A session that the engine has to be told to close, as if the client had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    pub(super) sid: Sid,
    pub(super) v3: bool,
}

/// Why a handshake was refused before the engine knew of it. The name is a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum RefuseReason {
    /// Not a request that the protocol knows.
    BadRequest,
    /// A session id that is not ours, or of a session that has ended.
    UnknownSession,
    /// The node is being drained.
    Draining,
    /// `max_connections`.
    Connections,
    /// `connections_per_second`.
    Rate,
    /// `connections_per_address`.
    Address,
    /// A body larger than `max_payload`.
    TooLarge,
    /// `max_bodies`, or `max_bodies_per_address`.
    Bodies,
    /// A body that did not come to its end in time.
    TooSlow,
    /// Something went wrong here.
    Internal,
    /// A page of an origin that `cors_origins` does not name. It is answered, and its browser keeps
    /// the answer from it.
    Origin,
}

impl RefuseReason {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::UnknownSession,
        Self::Draining,
        Self::Connections,
        Self::Rate,
        Self::Address,
        Self::TooLarge,
        Self::Bodies,
        Self::TooSlow,
        Self::Internal,
        Self::Origin,
    ];

    /// The name as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownSession => "unknown_session",
            Self::Draining => "draining",
            Self::Connections => "max_connections",
            Self::Rate => "connections_per_second",
            Self::Address => "connections_per_address",
            Self::TooLarge => "too_large",
            Self::Bodies => "bodies",
            Self::TooSlow => "too_slow",
            Self::Internal => "internal",
            Self::Origin => "origin",
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    probes: AtomicU64,
    upgraded: AtomicU64,
    probes_failed: AtomicU64,
    killed: [AtomicU64; KillReason::ALL.len()],
    refused: [AtomicU64; RefuseReason::ALL.len()],
    unknown_namespaces: Arc<AtomicU64>,
}

/// How the clients of this node are connected, and what has been cut or refused since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportCounts {
    /// Sessions connected by polling now.
    pub polling: u64,
    /// Sessions connected by a websocket now.
    pub websocket: u64,
    /// Websockets that are about to take over from polling now.
    pub upgrading: u64,
    /// Websockets that have taken over.
    pub upgraded: u64,
    /// Websockets that meant to and did not.
    pub upgrades_failed: u64,
    /// Transports cut by us.
    pub killed: Vec<(KillReason, u64)>,
    /// Requests refused before the engine knew of them.
    pub refused: Vec<(RefuseReason, u64)>,
    /// Sockets that asked for a namespace that there is not.
    pub unknown_namespaces: u64,
}

struct Shared {
    by_sid: DashMap<Sid, Arc<Wire>>,
    early: Mutex<HashMap<Sid, Early>>,
    counters: Counters,
    /// Without a bound of its own: a session is named twice at most, once when it is cut, and then
    /// it keeps its place until it is closed, and once when the stream that took it over ends.
    closing: UnboundedSender<Closing>,
    /// For the edge's housekeeper, who takes it once.
    closings: Mutex<Option<UnboundedReceiver<Closing>>>,
    /// Only if somebody wants to know.
    traffic: OnceLock<Counted>,
    budget: Arc<Budget>,
    /// Somebody is cutting those who hold the most.
    relieving: Mutex<()>,
    farewell: OnceLock<Farewell>,
    connects: OnceLock<Connects>,
    started: Instant,
}

struct Early {
    since: Instant,
    answers: Vec<(Box<str>, Answer)>,
}

/// The packet that ends the engine's timer for a session that has joined no namespace, in the forms
/// in which clients send packets.
#[derive(Debug)]
struct Farewell {
    namespace: Box<str>,
    frame: Bytes,
    packet: Bytes,
}

/// The transports of this node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Wires {
    shared: Arc<Shared>,
}

impl Default for Wires {
    fn default() -> Self {
        let (closing, closings) = unbounded_channel();
        let shared = Shared {
            by_sid: DashMap::new(),
            early: Mutex::default(),
            counters: Counters::default(),
            closing,
            closings: Mutex::new(Some(closings)),
            traffic: OnceLock::new(),
            budget: Arc::default(),
            relieving: Mutex::default(),
            farewell: OnceLock::new(),
            connects: OnceLock::new(),
            started: Instant::now(),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Wires {
    /// Cuts the transport of this session. To the engine it looks like a reset connection
    /// (websocket) or a client that says good-bye (polling), so it takes its ordinary way from
    /// there: the disconnect handlers run, the socket leaves its rooms. The client sees a lost
    /// connection and comes back.
    ///
    /// `false` if there is no such session (any more), or if it has been cut before.
    pub(crate) fn kill(&self, sid: Sid, reason: KillReason) -> bool {
        self.get(sid).is_some_and(|wire| self.kill_wire(&wire, reason))
    }

    /// All sessions, in no order.
    pub(crate) fn all(&self) -> Vec<Sid> {
        self.shared.by_sid.iter().map(|entry| *entry.key()).collect()
    }

    /// Whether there is no session.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.by_sid.is_empty()
    }

    /// Gives `data` to the next CONNECT_ERROR of this session in `namespace`. To be called in a
    /// connect middleware right before it returns its error.
    pub(crate) fn refuse_with(&self, sid: Sid, namespace: &str, data: Value) {
        self.answer(sid, namespace, Answer::Refused(data));
    }

    /// Puts `id` in the place of the engine's id in the next CONNECT of this session in `namespace`.
    /// To be called in a connect middleware right before it returns.
    pub(crate) fn admit_as(&self, sid: Sid, namespace: &str, id: SocketId) {
        self.answer(sid, namespace, Answer::Admitted(id));
    }

    fn answer(&self, sid: Sid, namespace: &str, answer: Answer) {
        // held while looking: `register` cannot slip in between and leave the answer behind
        let mut early = self.shared.early.lock();
        if let Some(wire) = self.get(sid) {
            return wire.expect_answer(namespace, answer);
        }
        let now = Instant::now();
        early.retain(|_, early| now.duration_since(early.since) < EARLY_PATIENCE);
        let entry = early.entry(sid).or_insert(Early { since: now, answers: Vec::new() });
        entry.answers.push((namespace.into(), answer));
    }

    /// Cuts every session there is, in random order, evenly over `spread`; then those that have
    /// come in the meantime.
    pub(crate) async fn kill_all_spread(&self, spread: Duration, reason: KillReason) {
        let mut sids = self.all();
        sids.shuffle(&mut rand::rng());
        let start = tokio::time::Instant::now();
        let step = spread.checked_div(sids.len() as u32).unwrap_or_default();
        for (n, sid) in (0..).zip(sids) {
            // from one step on: who is first has time to hear why, too
            sleep_until(start + step * (n + 1)).await;
            self.kill(sid, reason);
        }
        for sid in self.all() {
            self.kill(sid, reason);
        }
    }

    /// Counts that the client of this session asks to be let into a namespace, or shows a new token.
    /// `false`: it has asked too often.
    pub(crate) fn may_ask(&self, sid: Sid) -> bool {
        // A session is not known for an instant at its start.
        self.get(sid).is_none_or(|wire| wire.may_ask(Instant::now()))
    }

    /// The address of the client, as told by the proxies that are trusted.
    pub(crate) fn peer_addr(&self, sid: Sid) -> Option<IpAddr> {
        self.get(sid).map(|wire| wire.peer)
    }

    /// How the clients of this node are connected, and what has been cut or refused since its start. Walks over all sessions.
    pub(crate) fn counts(&self) -> TransportCounts {
        let counters = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let websocket =
            self.shared.by_sid.iter().filter(|wire| wire.phase() == Phase::Websocket).count();
        TransportCounts {
            polling: self.shared.by_sid.len().saturating_sub(websocket) as u64,
            websocket: websocket as u64,
            upgrading: load(&counters.probes),
            upgraded: load(&counters.upgraded),
            upgrades_failed: load(&counters.probes_failed),
            killed: KillReason::ALL.into_iter().zip(counters.killed.iter().map(load)).collect(),
            refused: RefuseReason::ALL.into_iter().zip(counters.refused.iter().map(load)).collect(),
            unknown_namespaces: load(&counters.unknown_namespaces),
        }
    }

    pub(super) fn get(&self, sid: Sid) -> Option<Arc<Wire>> {
        self.shared.by_sid.get(&sid).map(|entry| Arc::clone(&entry))
    }

    pub(super) fn register(&self, sid: Sid, wire: &Arc<Wire>) {
        if wire.sid.set(sid).is_err() {
            return; // known already: a session has one id
        }
        wire.seen(self.now());
        wire.load.count_for(&self.shared.budget);
        if let Some(polling) = &wire.polling {
            polling.reader.lock().tell(self.connects());
        }
        self.shared.by_sid.insert(sid, Arc::clone(wire));
        self.counted(|traffic| traffic.opened());
        let early = self.shared.early.lock().remove(&sid);
        for (namespace, answer) in early.into_iter().flat_map(|early| early.answers) {
            wire.expect_answer(&namespace, answer);
        }
    }

    pub(super) fn kill_wire(&self, wire: &Wire, reason: KillReason) -> bool {
        if !wire.mark_killed(reason) {
            return false;
        }
        self.shared.counters.killed[reason as usize - 1].fetch_add(1, Ordering::Relaxed);
        tracing::debug!(reason = reason.as_str(), "transport cut");
        wire.end();
        if wire.phase() != Phase::Websocket {
            self.close_in_engine(wire);
        }
        true
    }

    /// The bounds of what may wait, and what does.
    pub(crate) fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// What waits because of this client. `None` if there is no such session (any more), and for an
    /// instant at the beginning of an Engine.IO 3 session.
    pub(crate) fn load(&self, sid: Sid) -> Option<Arc<Load>> {
        self.get(sid).map(|wire| Arc::clone(&wire.load))
    }

    /// Too much waits on this node: cuts the clients for whom the most is held, until what is left
    /// is well below the limit.
    pub(crate) fn relieve(&self) {
        let Some(limit) = self.shared.budget.limit_if_exceeded() else { return };
        let Some(_only) = self.shared.relieving.try_lock() else { return };
        let mut held: Vec<_> = self
            .shared
            .by_sid
            .iter()
            .filter(|wire| !wire.is_killed())
            .map(|wire| (wire.load.held(), *wire.key()))
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

    /// The client of this session is in a namespace.
    pub(crate) fn joined(&self, sid: Sid) {
        if let Some(wire) = self.get(sid) {
            wire.joined();
        }
    }

    /// Names the packet that ends the engine's timer for a session that has joined no namespace:
    /// text, or binary. Said once, before there are sessions.
    pub(crate) fn set_farewell(&self, namespace: &str, packet: &[u8], is_text: bool) {
        let opcode = if is_text { frames::TEXT } else { frames::BINARY };
        let mut frame = Vec::with_capacity(packet.len() + 14);
        let packet = match is_text {
            true => [b"4", packet].concat(),
            false => packet.to_vec(),
        };
        frames::client_frame(opcode, &packet, &mut frame);
        let packet = match is_text {
            true => packet,
            false => format!("b{}", BASE64.encode(packet)).into_bytes(),
        };
        let (namespace, frame, packet) = (namespace.into(), frame.into(), packet.into());
        let farewell = Farewell { namespace, frame, packet };
        let _ = self.shared.farewell.set(farewell);
    }

    /// Cuts a session that has joined no namespace in this time.
    pub(super) fn cut_unless_joined(&self, sid: Sid, limit: Duration) {
        let wires = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            if wires.get(sid).is_some_and(|wire| !wire.has_joined()) {
                wires.kill(sid, KillReason::Vanished);
            }
        });
    }

    /// The engine has given up this session: its client has not answered a ping in time. A websocket
    /// is closed by the engine; of a session that polls nobody else would be told.
    pub(crate) fn timed_out(&self, sid: Sid) {
        if let Some(wire) = self.get(sid)
            && wire.phase() != Phase::Websocket
        {
            self.forget(&wire);
        }
    }

    /// The engine has heard the farewell of this session.
    pub(crate) fn farewell_heard(&self, sid: Sid) {
        if let Some(wire) = self.get(sid) {
            wire.farewell_heard();
        }
    }

    /// Counts from now on the CONNECTs to namespaces that `exists` does not know. Said once, before
    /// there are sessions.
    pub(crate) fn count_unknown_namespaces(
        &self,
        exists: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) {
        let counter = self.shared.counters.unknown_namespaces.clone();
        let connects = Connects::new(move |namespace| {
            if !exists(namespace) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _ = self.shared.connects.set(connects);
    }

    /// Who is told of the CONNECTs of clients.
    pub(super) fn connects(&self) -> Connects {
        self.shared.connects.get().cloned().unwrap_or_default()
    }

    /// What the engine has to read before a websocket ends, as a frame.
    pub(super) fn farewell_frame(&self, wire: &Wire) -> Option<Bytes> {
        let farewell = self.shared.farewell.get().filter(|_| wire.needs_farewell())?;
        wire.expect_farewell_answer();
        Some(farewell.frame.clone())
    }

    /// The same as the body of a request.
    pub(super) fn farewell_body(&self, wire: &Wire) -> Option<Bytes> {
        let farewell = self.shared.farewell.get().filter(|_| wire.needs_farewell())?;
        wire.expect_farewell_answer();
        Some(farewell.packet.clone())
    }

    /// Whether the engine answers the farewell in this packet.
    pub(super) fn takes_farewell_answer(&self, wire: &Wire, packet: &[u8]) -> bool {
        wire.takes_farewell_answer(|| {
            self.shared.farewell.get().is_some_and(|farewell| {
                let name = farewell.namespace.as_bytes();
                packet.windows(name.len()).any(|part| part == name)
            })
        })
    }

    /// The session is over, as far as the edge is concerned.
    pub(super) fn forget(&self, wire: &Wire) {
        if let Some(sid) = wire.sid.get() {
            let known = self.shared.by_sid.remove_if(sid, |_, known| std::ptr::eq(&**known, wire));
            if known.is_some() {
                self.counted(|traffic| traffic.closed());
                wire.end();
            }
        }
    }

    /// The stream of a websocket is gone.
    pub(super) fn stream_ended(&self, wire: &Wire) {
        self.forget(wire);
        if wire.polling.is_some() {
            // cut in the middle of the engine's own part of the upgrade, the session would stay
            // behind, neither polling nor websocket; closing one that has ended does no harm
            self.close_in_engine(wire);
        }
    }

    fn close_in_engine(&self, wire: &Wire) {
        if let Some(sid) = wire.sid.get() {
            // without a housekeeper there is no engine either
            self.shared.closing.send(Closing { sid: *sid, v3: wire.v3 }).ok();
        }
    }

    pub(super) fn take_closings(&self) -> Option<UnboundedReceiver<Closing>> {
        self.shared.closings.lock().take()
    }

    /// Cuts the polling sessions that were silent for longer than `limit`.
    pub(super) fn sweep(&self, limit: Duration) {
        let now = self.now();
        let silent: Vec<_> = self
            .shared
            .by_sid
            .iter()
            .filter(|wire| wire.is_silent(now, limit))
            .map(|wire| Arc::clone(&wire))
            .collect();
        for wire in silent {
            self.kill_wire(&wire, KillReason::Vanished);
        }
    }

    /// Counts from now on what passes, and names each session of which a websocket took over from
    /// polling, as long as there is room in the channel. Said once, before there are sessions.
    pub(crate) fn count_traffic(&self, upgrades: Sender<Sid>) {
        let _ = self.shared.traffic.set(Counted::new(upgrades));
    }

    /// What has passed, if it is counted.
    pub(crate) fn traffic(&self) -> Traffic {
        self.shared.traffic.get().map(Counted::so_far).unwrap_or_default()
    }

    #[inline]
    pub(super) fn counted(&self, count: impl FnOnce(&Counted)) {
        if let Some(traffic) = self.shared.traffic.get() {
            count(traffic);
        }
    }

    /// The clock of [`Wire::seen`].
    pub(super) fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    pub(super) fn count_refused(&self, reason: RefuseReason) {
        self.shared.counters.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn probe_began(&self) {
        self.shared.counters.probes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn probe_ended(&self, sid: Sid, upgraded: bool) {
        if upgraded {
            self.counted(|traffic| traffic.upgraded(sid));
        }
        let counters = &self.shared.counters;
        counters.probes.fetch_sub(1, Ordering::Relaxed);
        let outcome = if upgraded { &counters.upgraded } else { &counters.probes_failed };
        outcome.fetch_add(1, Ordering::Relaxed);
    }
}
