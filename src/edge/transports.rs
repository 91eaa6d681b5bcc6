//! All transports of this node, by session. The rest of the server reaches them here.

mod counts;
mod cut;
mod farewell;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, OnceLock, Weak},
    time::{Duration, Instant},
};

use dashmap::DashMap;
use parking_lot::Mutex;
use serde_json::Value;
use socketioxide_core::Sid;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    answers::Answers,
    inbound::Connects,
    intake::Intake,
    load::{Budget, Load},
    rewrite::Answer,
    traffic::Counted,
    transport::Transport,
};
use crate::id::SocketId;
use counts::Counters;
pub use counts::TransportCounts;
use farewell::Farewell;

/// How long an answer to CONNECT waits for its session to be known here. An Engine.IO 3 session
/// connects to `/` a moment before its OPEN packet passes.
const EARLY_PATIENCE: Duration = Duration::from_secs(30);

/// Room for so many sessions is always kept.
const ROOMY: usize = 1024;

/// A session that the engine has to close, as if the client had closed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    pub(super) sid: Sid,
    pub(super) v3: bool,
}

/// Told of each answer to a question of our own: the session, the namespace, the id.
type OnAnswer = dyn Fn(Sid, &str, i64) + Send + Sync;

struct Shared {
    by_sid: DashMap<Sid, Arc<Transport>>,
    early: Mutex<HashMap<Sid, Early>>,
    counters: Counters,
    /// Unbounded, but a session is named at most twice: when it is cut (it keeps its place until it
    /// is closed), and when the stream that took it over ends.
    closing: UnboundedSender<Closing>,
    /// For the edge's housekeeping task, which takes it once.
    closings: Mutex<Option<UnboundedReceiver<Closing>>>,
    /// Set if the traffic is counted.
    traffic: OnceLock<Counted>,
    budget: Arc<Budget>,
    /// Held while the largest clients are being cut.
    relieving: Mutex<()>,
    farewell: OnceLock<Farewell>,
    connects: OnceLock<Connects>,
    on_answer: OnceLock<Arc<OnAnswer>>,
    started: Instant,
}

struct Early {
    since: Instant,
    answers: Vec<(Box<str>, Answer)>,
}

/// The transports of this node. Clones are the same.
#[derive(Clone)]
pub(crate) struct Transports {
    shared: Arc<Shared>,
}

impl Default for Transports {
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
            on_answer: OnceLock::new(),
            started: Instant::now(),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Transports {
    /// All sessions, in no order.
    pub(crate) fn all(&self) -> Vec<Sid> {
        self.shared.by_sid.iter().map(|entry| *entry.key()).collect()
    }

    /// Whether there is no session.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.by_sid.is_empty()
    }

    /// Puts `data` into the next CONNECT_ERROR of this session in `namespace`. A connect middleware
    /// calls this right before it returns its error.
    pub(crate) fn refuse_with(&self, sid: Sid, namespace: &str, data: Value) {
        self.answer(sid, namespace, Answer::Refused(data));
    }

    /// Puts `id` in place of the engine's id in the next CONNECT of this session in `namespace`. A
    /// connect middleware calls this right before it returns. With `pid` the client can recover.
    pub(crate) fn admit_as(&self, sid: Sid, namespace: &str, id: SocketId, pid: Option<Box<str>>) {
        self.answer(sid, namespace, Answer::Admitted(id, pid));
    }

    fn answer(&self, sid: Sid, namespace: &str, answer: Answer) {
        // held during the check: `register` cannot come in between and leave the answer behind
        let mut early = self.shared.early.lock();
        if let Some(transport) = self.get(sid) {
            return transport.expect_answer(namespace, answer);
        }
        let now = Instant::now();
        early.retain(|_, early| now.duration_since(early.since) < EARLY_PATIENCE);
        let entry = early.entry(sid).or_insert(Early { since: now, answers: Vec::new() });
        entry.answers.push((namespace.into(), answer));
    }

    /// Counts an attempt of the session's client to join a namespace, or to show a new token.
    /// `false`: there were too many.
    pub(crate) fn may_ask(&self, sid: Sid) -> bool {
        // A session is unknown for a moment at its start.
        self.get(sid).is_none_or(|transport| transport.may_ask(tokio::time::Instant::now()))
    }

    /// The address of the client, as trusted proxies name it.
    pub(crate) fn peer_addr(&self, sid: Sid) -> Option<IpAddr> {
        self.get(sid).map(|transport| transport.peer)
    }

    /// Whether the client of this session is still connected, as far as is known.
    pub(crate) fn is_there(&self, sid: Sid) -> bool {
        self.get(sid).is_some_and(|transport| !transport.is_killed())
    }

    pub(super) fn get(&self, sid: Sid) -> Option<Arc<Transport>> {
        self.shared.by_sid.get(&sid).map(|entry| Arc::clone(&entry))
    }

    pub(super) fn register(&self, sid: Sid, transport: &Arc<Transport>) {
        if transport.sid.set(sid).is_err() {
            return; // known already: a session has one id
        }
        transport.seen(self.now());
        transport.load.count_for(&self.shared.budget);
        if let Some(polling) = &transport.polling {
            let mut reader = polling.reader.lock();
            reader.tell(self.connects());
            reader.hear(self.answers_of(transport));
            reader.expect(self.format());
        }
        self.shared.by_sid.insert(sid, Arc::clone(transport));
        self.counted(|traffic| traffic.opened());
        let early = self.shared.early.lock().remove(&sid);
        for (namespace, answer) in early.into_iter().flat_map(|early| early.answers) {
            transport.expect_answer(&namespace, answer);
        }
    }

    /// Reports answers to questions of our own. Called once, before there are sessions.
    pub(crate) fn on_answer(&self, told: impl Fn(Sid, &str, i64) + Send + Sync + 'static) {
        let _ = self.shared.on_answer.set(Arc::new(told));
    }

    /// Takes the answers of a session, whose id may not be known yet.
    pub(super) fn answers_of(&self, transport: &Arc<Transport>) -> Answers {
        let Some(told) = self.shared.on_answer.get().cloned() else { return Answers::default() };
        // Weak, because the transport has the reader that has this.
        let transport = Arc::downgrade(transport);
        Answers::new(move |namespace, id| {
            if let Some(sid) = transport.upgrade().and_then(|it| it.sid.get().copied()) {
                told(sid, namespace, id);
            }
        })
    }

    /// The bounds of waiting memory, and its amount.
    pub(crate) fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// The memory that waits because of this client. `None` if there is no such session (any more),
    /// and for a moment at the start of an Engine.IO 3 session.
    pub(crate) fn load(&self, sid: Sid) -> Option<Arc<Load>> {
        self.get(sid).map(|transport| Arc::clone(&transport.load))
    }

    /// Events of this session's client in `namespace` may go to `intake` past the engine from now on. The
    /// socket has to be in the namespace.
    pub(crate) fn open_intake(&self, sid: Sid, namespace: &str, intake: Weak<dyn Intake>) {
        if let Some(transport) = self.get(sid) {
            transport.intakes.open(namespace, intake);
        }
    }

    /// The client of this session is in a namespace.
    pub(crate) fn joined(&self, sid: Sid) {
        if let Some(transport) = self.get(sid) {
            transport.joined();
        }
    }

    /// The session has ended, as far as the edge is concerned.
    pub(super) fn forget(&self, transport: &Transport) {
        if let Some(sid) = transport.sid.get() {
            let known =
                self.shared.by_sid.remove_if(sid, |_, known| std::ptr::eq(&**known, transport));
            if known.is_some() {
                self.counted(|traffic| traffic.closed());
                transport.end();
            }
        }
    }

    /// The stream of a websocket has ended.
    pub(super) fn stream_ended(&self, transport: &Transport) {
        self.forget(transport);
        if transport.polling.is_some() {
            // a session cut in the middle of the engine's part of the upgrade would stay behind,
            // neither polling nor websocket; closing an ended one does no harm
            self.close_in_engine(transport);
        }
    }

    pub(super) fn take_closings(&self) -> Option<UnboundedReceiver<Closing>> {
        self.shared.closings.lock().take()
    }

    /// Gives back the memory of many sessions of which few are left.
    fn shrink(&self) {
        let sessions = &self.shared.by_sid;
        if sessions.capacity() > ROOMY.max(4 * sessions.len()) {
            sessions.shrink_to_fit();
        }
    }

    /// The clock of [`Transport::seen`].
    pub(super) fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }
}
