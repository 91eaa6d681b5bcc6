//! A client's socket in one namespace, as handlers see it.

mod ask;
mod broadcast;
mod data;
mod end;
mod expiry;
mod extensions;
mod identity;
mod rooms;
mod shown;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock, Weak, atomic::AtomicBool},
    time::SystemTime,
};

use data::Data;
use end::End;
pub(crate) use expiry::Expiry;
pub use extensions::Extensions;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde_json::{Map, Value as Json};
use socketioxide::{extract::SocketRef, socket::Socket as RawSocket};
use socketioxide_core::Sid;

use crate::{
    auth::Identity,
    id::{NodeId, SocketId},
    payload::{Payload, PayloadError},
    sockets::{
        adapter::{Adapter, transport_of},
        audience::Audience,
        door::{self, Sender, Start},
        record::SocketRecord,
    },
    telemetry::traces::Origin,
};

/// A client's socket in one namespace. Cheap to clone. It outlives the connection; emits go nowhere
/// then.
///
/// ```
/// use switchboard::{Data, Fault, Gateway, Reply, Socket};
///
/// let chat = Gateway::new("/chat").on("enter", async |socket: Socket, Data(room): Data<String>| {
///     socket.join(room.clone()).await?;
///     socket.set("room", &room)?;
///     let name = socket.user().map_or_else(|| "somebody".to_owned(), |user| user.to_string());
///     Ok::<_, Fault>(Reply::event("entered", &name).to(room).except_sender())
/// });
///
/// /// A line for the log.
/// fn shown(socket: &Socket) -> String {
///     let age = socket.connected_at().elapsed().unwrap_or_default();
///     let (node, peer, end) = (socket.node(), socket.peer_addr(), socket.expires_at());
///     format!("{} on {node} from {peer:?}: {} s old, its token ends at {end:?}", socket.id(), age.as_secs())
/// }
/// ```
#[derive(Clone)]
pub struct Socket(Arc<Inner>);

struct Inner {
    /// Its id, unless it has come back.
    first_id: SocketId,
    restored: OnceLock<Restored>,
    sid: Sid,
    adapter: Arc<Adapter>,
    /// Weak, because the raw socket holds handlers that hold this.
    raw: Weak<RawSocket<Adapter>>,
    identity: RwLock<Identity>,
    params: Box<[(Box<str>, Box<str>)]>,
    peer: Option<IpAddr>,
    connected_at: SystemTime,
    data: Mutex<Data>,
    closed: AtomicBool,
    end: Mutex<End>,
    /// `None`: tokens are checked once, when a socket connects.
    expiry: Option<Expiry>,
    /// The next deadline of the token, if it is watched.
    deadline: Mutex<Option<Box<expiry::Due>>>,
    /// The handshake for other nodes. Empty without other nodes.
    shown: OnceLock<Box<Map<String, Json>>>,
    /// The payload of CONNECT as text, for a map takes 600 bytes. Empty if it has no members.
    auth: OnceLock<Box<str>>,
    extensions: extensions::Values,
    origin: Origin,
}

/// The identity of a session that a client has come back to.
struct Restored {
    id: SocketId,
    connected_at: SystemTime,
}

impl Inner {
    fn id(&self) -> SocketId {
        self.restored.get().map_or(self.first_id, |restored| restored.id)
    }
}

pub(crate) struct NewSocket {
    pub(crate) id: SocketId,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) params: Box<[(Box<str>, Box<str>)]>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) origin: Origin,
}

impl Socket {
    pub(crate) fn new(raw: &Arc<RawSocket<Adapter>>, new: NewSocket) -> Self {
        let NewSocket { id, adapter, params, peer, expiry, origin } = new;
        Self(Arc::new(Inner {
            first_id: id,
            restored: OnceLock::new(),
            sid: raw.id,
            adapter,
            raw: Arc::downgrade(raw),
            identity: RwLock::new(Identity::anonymous()),
            params,
            peer,
            connected_at: SystemTime::now(),
            data: Mutex::default(),
            closed: AtomicBool::new(false),
            end: Mutex::default(),
            expiry,
            deadline: Mutex::new(None),
            shown: OnceLock::new(),
            auth: OnceLock::new(),
            extensions: Default::default(),
            origin,
        }))
    }

    /// The public id, `socket.id` in the client. A socket that recovers gets its former one back
    /// after the namespace's middleware.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("id", async |socket: Socket| socket.id());
    /// ```
    pub fn id(&self) -> SocketId {
        self.0.id()
    }

    /// Whether the client has come back to this socket, as `socket.recovered` in Node.js: it has
    /// its former id, rooms and [data](Self::set), and what was sent to it meanwhile follows.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on_connect(async |socket: Socket| {
    ///     if !socket.recovered() {
    ///         socket.join("news").await.expect("a room is free");
    ///     }
    /// });
    /// ```
    pub fn recovered(&self) -> bool {
        self.0.restored.get().is_some()
    }

    /// The socket is this one again. Data that the middleware has set stays.
    pub(crate) fn restore(&self, record: SocketRecord) {
        self.0.data.lock().add_missing(record.data);
        let SocketRecord { id, connected_at, .. } = record;
        // Set once, when the socket enters.
        let _ = self.0.restored.set(Restored { id, connected_at });
    }

    /// The engine's id. Never shown to a client or to another socket.
    pub(crate) fn sid(&self) -> Sid {
        self.0.sid
    }

    /// The namespace of the socket.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/chat/{room}").on("where", async |socket: Socket| socket.namespace().to_owned());
    /// ```
    pub fn namespace(&self) -> &str {
        self.0.adapter.namespace()
    }

    /// A parameter of the gateway's path: `room` in `/chat/{room}`.
    ///
    /// ```
    /// use switchboard::{Gateway, Reply, Socket};
    ///
    /// let chat = Gateway::new("/chat/{room}")
    ///     .on("where", async |socket: Socket| Reply::ack(&socket.param("room")));
    /// ```
    pub fn param(&self, name: &str) -> Option<&str> {
        self.0.params.iter().find(|(key, _)| &**key == name).map(|(_, value)| &**value)
    }

    pub(crate) fn downgrade(&self) -> WeakSocket {
        WeakSocket(Arc::downgrade(&self.0))
    }

    /// The node that holds the connection.
    pub fn node(&self) -> &NodeId {
        self.0.adapter.node().id()
    }

    /// The client's address; behind trusted proxies, the one that they report.
    pub fn peer_addr(&self) -> Option<IpAddr> {
        self.0.peer
    }

    /// When the socket was accepted, for the first time if it has recovered since.
    pub fn connected_at(&self) -> SystemTime {
        self.0.restored.get().map_or(self.0.connected_at, |restored| restored.connected_at)
    }

    /// `websocket` or `polling`, as of now. `None` after the disconnect.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("how", async |socket: Socket| socket.transport());
    /// ```
    pub fn transport(&self) -> Option<&'static str> {
        self.0.raw.upgrade().map(|raw| transport_of(&raw))
    }

    /// Sends an event to this socket. A tuple gives several arguments.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on_connect(async |socket: Socket| {
    ///     socket.emit("welcome", &("hello", 1)).expect("this can be encoded");
    /// });
    /// ```
    ///
    /// # Errors
    /// If `data` cannot be serialized or the name is reserved. A socket that has left, or that is
    /// being cut off because it reads too slowly, is no error.
    pub fn emit<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<(), PayloadError> {
        let me = Audience::nobody().to(self.id());
        self.send(Payload::event(name, data)?, &me)
    }

    /// Sends an event of this socket's handler.
    pub(crate) fn send(&self, payload: Payload, audience: &Audience) -> Result<(), PayloadError> {
        let sender = Sender { id: self.id(), sid: self.0.sid };
        door::send(Start::Here(&self.0.adapter), payload, audience, Some(sender), || self.user())
    }

    pub(crate) fn acknowledge(&self, ack_id: i64, payload: Payload) -> Result<(), PayloadError> {
        self.0.adapter.acknowledge(self.0.sid, ack_id, payload)
    }

    /// Disconnects this socket from its namespace. The client sees `io server disconnect` and does
    /// not come back by itself. With `close_transport` the connection below it is closed too.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("bye", async |socket: Socket| socket.disconnect(true));
    /// ```
    pub fn disconnect(&self, close_transport: bool) {
        if let Some(raw) = self.0.raw.upgrade() {
            self.0.adapter.disconnect(raw, close_transport);
        }
    }

    /// The socket of socketioxide, while it is connected.
    ///
    /// What is done through it is not seen by Switchboard. Its `emit` bypasses interceptors,
    /// metrics and recovery; its `on`, `on_fallback` and `on_disconnect` replace what the gateway
    /// registered (calling `on_fallback` inside a handler deadlocks); rooms joined through it do not
    /// count against the limit. Its `id` is the engine's, not [`Socket::id`].
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on("protocol", async |socket: Socket| socket.raw().map(|raw| format!("{:?}", raw.protocol())));
    /// ```
    pub fn raw(&self) -> Option<SocketRef<Adapter>> {
        let raw = self.0.raw.upgrade()?;
        let mut no_arguments = socketioxide_core::Value::Str("[]".into(), None);
        socketioxide::handler::FromMessageParts::from_message_parts(&raw, &mut no_arguments, &None)
            .ok()
    }

    /// Keeps the payload of CONNECT, for handlers that ask for it.
    pub(crate) fn keep_auth(&self, auth: &Json) {
        if auth.as_object().is_none_or(|members| !members.is_empty()) {
            // Set once, when the socket enters.
            let _ = self.0.auth.set(auth.to_string().into());
        }
    }

    /// The payload of CONNECT.
    pub(crate) fn auth(&self) -> Json {
        let kept = self.0.auth.get().and_then(|text| serde_json::from_str(text).ok());
        kept.unwrap_or_else(|| Json::Object(Map::new()))
    }

    /// Looks at the request that opened the connection, as long as the socket is connected.
    pub(crate) fn with_request<T>(
        &self,
        look: impl FnOnce(&http::request::Parts) -> T,
    ) -> Option<T> {
        Some(look(self.0.raw.upgrade()?.req_parts()))
    }

    /// The trace of its connect.
    pub(crate) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    pub(crate) fn weak_raw(&self) -> &Weak<RawSocket<Adapter>> {
        &self.0.raw
    }

    pub(crate) fn adapter(&self) -> &Arc<Adapter> {
        &self.0.adapter
    }
}

/// A socket that may be gone.
#[derive(Clone)]
pub(crate) struct WeakSocket(Weak<Inner>);

impl WeakSocket {
    /// The socket, as long as it is connected.
    pub(crate) fn upgrade(&self) -> Option<Socket> {
        self.0.upgrade().map(Socket).filter(Socket::is_connected)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.id())
            .field("namespace", &self.namespace())
            .field("user", &self.user())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Socket {}
