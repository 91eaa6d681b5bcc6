//! The shared parts of one node: its name, its limits, its transports and its background tasks.

use std::{
    any::Any,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{self, Config, Limits},
    edge::{Hop, Transports},
    id::NodeId,
    names::rooms::is_reserved,
    payload::Parser,
    recovery::Pid,
    sockets::{archive::Archive, questions::Questions, roaming::Roaming, watch::Watch},
    state::States,
    telemetry::{meters::Meters, traces::Tracer},
};

/// The shared parts of one node.
pub(crate) struct Node {
    id: NodeId,
    parser: Parser,
    user_prefix: Box<str>,
    secure: bool,
    tokens_name_reserved_rooms: bool,
    limits: ArcSwap<Limits>,
    transports: Transports,
    questions: Questions,
    meters: Meters,
    tracer: Tracer,
    watch: OnceLock<Watch>,
    archive: OnceLock<Arc<dyn Archive>>,
    draining: AtomicBool,
    recovery: Option<Arc<Recovery>>,
    states: States,
    /// The server itself, for handlers that ask for it.
    server: OnceLock<Box<dyn Any + Send + Sync>>,
    /// Ends everything that runs in the background.
    pub(crate) stop: CancellationToken,
    /// All handlers under way and all background tasks.
    pub(crate) tasks: TaskTracker,
}

impl Node {
    pub(crate) fn new(id: NodeId, parser: Parser, config: &Config) -> Self {
        let transports = Transports::default();
        let engine = &config.engine;
        // a client must be able to get any packet that it may send
        let bytes = engine.max_buffered_bytes.max(engine.max_payload.saturating_mul(2));
        let node_bytes = config.limits.max_buffered_bytes;
        transports.budget().set(engine.max_buffered_packets, size(bytes), size(node_bytes));
        Self {
            id,
            parser,
            user_prefix: config.users.room_prefix.as_str().into(),
            secure: config.tls.cert_file.is_some(),
            tokens_name_reserved_rooms: config.auth.reserved_rooms,
            limits: ArcSwap::from_pointee(config.limits.clone()),
            transports,
            questions: Questions::default(),
            meters: Meters::default(),
            tracer: Tracer::default(),
            watch: OnceLock::new(),
            archive: OnceLock::new(),
            draining: AtomicBool::new(false),
            recovery: config.recovery.enabled.then(|| Arc::new(Recovery::new(&config.recovery))),
            states: States::default(),
            server: OnceLock::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The same parts, with spans.
    pub(crate) fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// The same parts, with what the program gave the server.
    pub(crate) fn with_states(self, states: States) -> Self {
        Self { states, ..self }
    }

    /// The same parts of a server whose clients speak TLS, whatever the configuration says.
    pub(crate) fn secured(self, secure: bool) -> Self {
        Self { secure: self.secure || secure, ..self }
    }

    /// What the program gave the server.
    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    /// Sets the handle to the server, once.
    pub(crate) fn set_server<T: Send + Sync + 'static>(&self, server: T) {
        let _ = self.server.set(Box::new(server));
    }

    /// The handle to the server.
    pub(crate) fn server<T: 'static>(&self) -> Option<&T> {
        self.server.get()?.downcast_ref()
    }

    pub(crate) fn id(&self) -> &NodeId {
        &self.id
    }

    pub(crate) fn parser(&self) -> Parser {
        self.parser
    }

    /// The room that holds the sockets of a user.
    pub(crate) fn user_room(&self, user: &str) -> String {
        let mut room = String::with_capacity(self.user_prefix.len() + user.len());
        room.push_str(&self.user_prefix);
        room.push_str(user);
        room
    }

    /// Whether the server reserves a room.
    pub(crate) fn is_reserved(&self, room: &str) -> bool {
        is_reserved(room, &self.user_prefix)
    }

    /// Whether a token may name reserved rooms.
    pub(crate) fn tokens_name_reserved_rooms(&self) -> bool {
        self.tokens_name_reserved_rooms
    }

    /// Whether a room belongs to a user.
    pub(crate) fn is_user_room(&self, room: &str) -> bool {
        room.starts_with(&*self.user_prefix)
    }

    /// Whether clients speak TLS to this node itself.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    pub(crate) fn limits(&self) -> arc_swap::Guard<Arc<Limits>> {
        self.limits.load()
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        self.transports.budget().set_node(size(limits.max_buffered_bytes));
        self.limits.store(Arc::new(limits));
    }

    /// The transports of this node.
    pub(crate) fn transports(&self) -> &Transports {
        &self.transports
    }

    /// Questions to clients with ids of our own may be asked from now on. Called once, when the server is
    /// built.
    pub(crate) fn hear_answers(self: &Arc<Self>) {
        let (questions, node) = (self.questions.clone(), Arc::downgrade(self));
        self.transports.on_answer(move |sid, namespace, id| {
            if questions.answered(sid, namespace, id)
                && let Some(node) = node.upgrade()
            {
                node.meters.acks_received.count();
            }
        });
    }

    /// Questions to clients with ids of our own.
    pub(crate) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// The counts of this node.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Starts the spans of this node.
    pub(crate) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// The sockets of this node can be watched from now on. Called once, when the server is built.
    pub(crate) fn set_watch(&self, watch: Watch) {
        let _ = self.watch.set(watch);
    }

    /// The means to watch the sockets of this node, whether or not it is used.
    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.watch.get()
    }

    /// Events to rooms are kept from now on. Called once, when the server is built.
    pub(crate) fn set_archive(&self, archive: Arc<dyn Archive>) {
        let _ = self.archive.set(archive);
    }

    /// Where events to rooms are kept, if any are.
    pub(crate) fn archive(&self) -> Option<&Arc<dyn Archive>> {
        self.archive.get()
    }

    /// The bounds of recovery. `None`: sockets do not recover.
    pub(crate) fn recovery(&self) -> Option<&Arc<Recovery>> {
        self.recovery.as_ref()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The node is not ready from now on. Returns false if it was draining already.
    pub(crate) fn start_draining(&self) -> bool {
        !self.draining.swap(true, Ordering::AcqRel)
    }
}

/// The bounds of recovery on this node.
pub(crate) struct Recovery {
    pub(crate) max_disconnection: Duration,
    /// Events in the log of a namespace. 0: no limit.
    pub(crate) max_packets: usize,
    /// The memory of all logs.
    pub(crate) log_bytes: Bytes,
    /// The memory of all kept sessions.
    pub(crate) kept_bytes: Bytes,
    /// Set if sessions are in Redis as well.
    roaming: OnceLock<Arc<Roaming>>,
    /// Set if sessions can move to other nodes.
    home: OnceLock<Home>,
}

/// This node, as the secrets of its sessions name it.
struct Home {
    node: NodeId,
    hop: Hop,
}

impl Recovery {
    fn new(config: &config::Recovery) -> Self {
        let bytes = || Bytes { used: AtomicUsize::new(0), limit: size(config.max_bytes) };
        Self {
            max_disconnection: config.max_disconnection,
            max_packets: config.max_packets,
            log_bytes: bytes(),
            kept_bytes: bytes(),
            roaming: OnceLock::new(),
            home: OnceLock::new(),
        }
    }

    /// Sessions are in Redis as well. Called once, when the server is built.
    pub(crate) fn set_roaming(&self, roaming: Arc<Roaming>) {
        let _ = self.roaming.set(roaming);
    }

    /// The way of sessions to Redis and back.
    pub(crate) fn roaming(&self) -> Option<&Arc<Roaming>> {
        self.roaming.get()
    }

    /// Sessions can move to other nodes from now on. Called once, when the server is built.
    pub(crate) fn set_home(&self, node: NodeId, hop: Hop) {
        let _ = self.home.set(Home { node, hop });
    }

    /// Whether sessions can move.
    pub(crate) fn can_move(&self) -> bool {
        self.home.get().is_some()
    }

    /// The secret of a new session. In a cluster it names this node, and is stamped, so that an
    /// invented one makes no node ask another.
    pub(crate) fn new_pid(&self) -> Pid {
        let pid = Pid::random();
        let Some(Home { node, hop }) = self.home.get() else { return pid };
        let named = format!("{node}.{}", pid.reveal());
        let stamp = hop.stamp(&named);
        Pid::said(&format!("{named}.{stamp}")).unwrap_or(pid)
    }

    /// The node that has made a secret. `None` if no node of this cluster has.
    pub(crate) fn home_of<'a>(&self, pid: &'a Pid) -> Option<&'a str> {
        let (named, stamp) = pid.reveal().rsplit_once('.')?;
        let (node, _) = named.rsplit_once('.')?;
        self.home.get()?.hop.has_stamped(named, stamp).then_some(node)
    }
}

/// Memory of one kind, and its bound.
#[derive(Debug)]
pub(crate) struct Bytes {
    used: AtomicUsize,
    /// 0: no limit.
    limit: usize,
}

impl Bytes {
    /// Counts a change. Returns whether it is too much now.
    pub(crate) fn change(&self, by: isize) -> bool {
        let before = self.used.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
        self.limit > 0 && before.wrapping_add(by.cast_unsigned()) > self.limit
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
