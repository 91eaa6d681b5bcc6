//! How a socket enters a namespace, and how it leaves.
//!
//! Everything is registered in the middleware, before the client hears that it is connected, so
//! that its first event finds its handler. The socket's disconnect undoes it. If the connection
//! broke before the socket was in its namespace, socketioxide drops the socket, and that undoes it.

mod leaving;
mod recovery;

#[cfg(any(test, fuzzing))]
pub(crate) use recovery::said;

use std::{collections::HashMap, pin::Pin, sync::Arc};

use leaving::{Leave, Membership, Receive};
use parking_lot::Mutex;
use socketioxide::{ProtocolVersion, handler::ConnectHandler, socket::Socket as RawSocket};
use socketioxide_core::{Sid, Value, adapter::Room};

use crate::{
    auth::Identity,
    fault::{Code, Fault},
    gateway::{
        Inner as Gateway,
        handshake::{Handshake, connect_payload},
        queue::Queue,
        request::OpeningRequest,
    },
    id::SocketId,
    inbox::Device,
    names::rooms::{AUTHENTICATED, check_name},
    sockets::{
        adapter::{Adapter, Adapters, Entering},
        handover::Handover,
        node::Node,
        socket::{Expiry, NewSocket, Socket},
    },
    users::{Directory, UserSocket},
};

/// The way into the namespaces of one gateway.
#[derive(Clone)]
pub(crate) struct Entrance(Arc<Parts>);

/// The state shared by the ways into all namespaces.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) adapters: Arc<Adapters>,
    pub(crate) directory: Directory,
    pub(crate) node: Arc<Node>,
    pub(crate) expiry: Option<Expiry>,
    /// `None`: sessions do not move to other nodes.
    pub(crate) handover: Option<Arc<Handover>>,
}

struct Parts {
    gateway: Arc<Gateway>,
    around: Surroundings,
    params: matchit::Router<()>,
    /// Sockets that are past the middleware but not yet in their namespace.
    waiting: Mutex<Waiting>,
}

type Waiting = HashMap<(Sid, Box<str>), Arc<Queue>>;

impl Entrance {
    pub(crate) fn new(gateway: Gateway, around: Surroundings) -> Self {
        let mut params = matchit::Router::new();
        // A path that does not parse has no parameters. Declaring the namespace refuses it.
        let _ = params.insert(gateway.path.clone(), ());
        let waiting = Mutex::default();
        Self(Arc::new(Parts { gateway: Arc::new(gateway), around, params, waiting }))
    }

    /// The gateway's path.
    pub(crate) fn path(&self) -> &str {
        &self.0.gateway.path
    }

    fn is_hidden(&self, namespace: &str) -> bool {
        self.0.around.adapters.get(namespace).is_some_and(|adapter| adapter.is_hidden())
    }

    fn params(&self, namespace: &str) -> Box<[(Box<str>, Box<str>)]> {
        let Ok(matched) = self.0.params.at(namespace) else { return Box::default() };
        matched.params.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    async fn admit(
        &self,
        raw: &Arc<RawSocket<Adapter>>,
        id: SocketId,
        auth: Option<&Value>,
    ) -> Result<(), Fault> {
        let parts = &*self.0;
        let mut entering = parts.around.adapters.enter(raw)?;
        if !parts.around.node.transports().may_ask(raw.id) {
            entering.leave_nothing();
            entering.adapter().explain_hand_out();
            return Err(Fault::new(Code::RateLimited, "too many attempts to connect"));
        }
        let adapter = entering.adapter().clone();
        let peer = parts.around.node.transports().peer_addr(raw.id);
        let params = self.params(raw.ns());
        let expiry = parts.around.expiry.clone();
        let auth = connect_payload(auth)?;
        let tracer = parts.around.node.tracer();
        let request = OpeningRequest::of(raw.req_parts());
        let (span, origin) = tracer.connect(|| request.headers(), &auth, raw.ns(), id);
        let socket = Socket::new(raw, NewSocket { id, adapter, params, peer, expiry, origin });
        let handshake = Handshake::new(socket.clone(), request, auth);
        let entering = async {
            let entered = self.enter(raw, handshake, entering).await;
            let failed = entered.as_ref().err().map(Fault::code);
            failed.into_iter().for_each(|code| tracer.failed(code));
            entered
        };
        let entered = span.around(entering).await;
        span.of_user(tracer, || socket.user());
        if entered.is_err() {
            // socketioxide removes a refused socket.
            socket.adapter().explain_hand_out();
        } else if is_told_its_id(raw) {
            socket.adapter().admits(raw.id, socket.id());
        }
        entered
    }

    async fn enter(
        &self,
        raw: &Arc<RawSocket<Adapter>>,
        handshake: Handshake,
        entering: Entering,
    ) -> Result<(), Fault> {
        let parts = &*self.0;
        let socket = handshake.socket().clone();
        parts.gateway.admit(&handshake).await?;
        if parts.gateway.inbox.is_some() {
            Device::of(handshake.payload())?;
        }
        check_rooms(&socket.identity(), socket.adapter().node())?;
        let adapter = socket.adapter();
        let is_shown =
            !adapter.is_hidden() && (adapter.peers().is_some() || adapter.node().watch().is_some());
        if is_shown {
            socket.show_handshake(handshake.shown());
        }
        let handover = parts.around.handover.as_ref();
        let session = recovery::begin(raw, &socket, handshake.payload(), handover).await;
        socket.keep_auth(handshake.payload());
        drop(handshake);

        // From here on any failure undoes the membership, a cancelled future included.
        let io = entering.server().clone();
        let membership = Membership { socket: socket.clone(), entrance: self.clone(), io };
        if !socket.adapter().enter(raw, socket.id(), socket.described_by(), session) {
            return Err(socket.adapter().has_just_ended(raw.id));
        }
        let identity = socket.identity();
        let mut rooms: Vec<Room> = vec![socket.id().as_str().to_owned().into()];
        rooms.extend(identity.rooms().iter().cloned().map(Room::Owned));
        if let Some(user) = identity.user_id() {
            rooms.push(socket.adapter().node().user_room(user).into());
            rooms.push(AUTHENTICATED.into());
        }
        // Before the directory is asked, so that the subscriptions travel while it answers. A
        // refused socket leaves these rooms with the membership.
        socket.join_own(&rooms);
        if let Some(user) = identity.user_id() {
            let entry = UserSocket {
                id: socket.id(),
                node: socket.node().clone(),
                namespace: socket.namespace().into(),
                connected_at: socket.connected_at(),
                transport: socket.transport().unwrap_or("websocket").into(),
            };
            let evicted = parts.around.directory.enter(user.clone(), entry).await?;
            for UserSocket { id, namespace, .. } in evicted {
                tracing::debug!(
                    socket.id = %id,
                    %namespace,
                    "socket disconnected: its user has too many, and this is the oldest"
                );
                parts.around.adapters.disconnect(&namespace, id);
            }
        }
        socket.settled().await;
        // Retiring a namespace cuts off its sockets, and may not have seen this one.
        if socket.adapter().is_retired() {
            return Err(socket.adapter().just_removed(raw.id));
        }

        let queue = Queue::new(socket.clone(), parts.gateway.clone());
        parts.waiting.lock().insert((raw.id, raw.ns().into()), queue.clone());
        let io = entering.server().clone();
        raw.on_disconnect(Leave { queue: queue.clone(), entrance: self.clone(), io });
        raw.on_fallback(Receive { queue, _membership: membership });
        Ok(())
    }
}

/// Whether a CONNECT tells the client its id. A client of version 2 calls itself by its connection,
/// whatever the server says.
fn is_told_its_id(raw: &RawSocket<Adapter>) -> bool {
    raw.protocol() == ProtocolVersion::V5
}

/// Whether a client may be in the rooms that its token names. One forbidden room refuses the whole
/// token: its issuer has to notice.
fn check_rooms(identity: &Identity, node: &Node) -> Result<(), Fault> {
    let rooms = identity.rooms();
    let limit = node.limits().max_rooms_per_socket;
    if limit > 0 && rooms.len() > limit {
        let count = rooms.len();
        return Err(Fault::forbidden(format!(
            "the token names {count} rooms, and a socket may be in {limit} at most"
        )));
    }
    for room in rooms {
        check_name(room)
            .map_err(|fault| Fault::new(fault.code(), format!("the token: {}", fault.message())))?;
        if node.is_reserved(room) && !node.tokens_name_reserved_rooms() {
            let message = format!("the token names the room {room:?}, which belongs to the server");
            return Err(Fault::forbidden(message));
        }
    }
    Ok(())
}

type Refusal = Box<dyn std::fmt::Display + Send>;

impl ConnectHandler<Adapter, ()> for Entrance {
    fn call(&self, raw: Arc<RawSocket<Adapter>>, _: Option<Value>) {
        let waiting = self.0.waiting.lock().remove(&(raw.id, raw.ns().into()));
        if let Some(queue) = waiting {
            let socket = queue.socket();
            tracing::debug!(
                socket.id = %socket.id(),
                namespace = raw.ns(),
                user.id = socket.user().as_deref(),
                client.address = socket.peer_addr().map(tracing::field::display),
                transport = socket.transport(),
                recovered = socket.recovered(),
                "socket connected"
            );
            queue.socket().adapter().admitted(raw.id);
            if !queue.socket().adapter().is_hidden() {
                self.0.around.node.meters().connects.count();
            }
            if socket.recovered() {
                self.0.around.node.meters().recovered.count();
            }
            queue.socket().adapter().replay(raw.id);
            queue.socket().watch_token();
            queue.socket().show_connected();
            // Before the connect handler, which may disconnect the socket.
            queue.open_intake();
            queue.connected();
            if let Some(inbox) = &self.0.gateway.inbox {
                inbox.arrived(socket);
            }
        }
    }

    fn call_middleware<'a>(
        &'a self,
        raw: Arc<RawSocket<Adapter>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(async move {
            let transports = self.0.around.node.transports();
            let id = match is_told_its_id(&raw) {
                true => SocketId::random(),
                false => SocketId::of_connection(raw.id, raw.ns()),
            };
            let Err(fault) = self.admit(&raw, id, auth.as_ref()).await else { return Ok(()) };
            tracing::debug!(
                socket.id = %id,
                namespace = raw.ns(),
                client.address =
                    self.0.around.node.transports().peer_addr(raw.id).map(tracing::field::display),
                fault = fault.code().as_str(),
                reason = fault.for_log(),
                "socket refused"
            );
            if !self.is_hidden(raw.ns()) {
                self.0.around.node.meters().connect_refused(fault.code());
            }
            if let Some(data) = fault.connect_data() {
                transports.refuse_with(raw.id, raw.ns(), data);
            }
            Err(match self.0.gateway.refuses_in_words {
                true => Box::new(fault.message().to_owned()) as Refusal,
                false => Box::new(fault),
            })
        })
    }
}
