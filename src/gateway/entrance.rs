//! How a socket enters a namespace and how it leaves, whatever the way.
//!
//! Everything is registered in the middleware, before the client hears that it is connected, so that
//! its first event finds its handler. What was registered is undone when the socket disconnects, or,
//! if the connection broke before the socket was in its namespace, when socketioxide drops it.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use parking_lot::Mutex;
use socketioxide::{
    ProtocolVersion, SocketIo,
    handler::{ConnectHandler, DisconnectHandler, MessageHandler},
    socket::{DisconnectReason, Socket},
};
use socketioxide_core::{Sid, Value, adapter::Room};

use crate::{
    auth::Identity,
    fault::{Code, Fault},
    gateway::{
        Inner as Gateway,
        handshake::{Handshake, connect_payload},
        queue::Inbox,
    },
    id::SocketId,
    names::rooms::{AUTHENTICATED, check_name},
    payload::Payload,
    sockets::{
        adapter::{Adapter, Adapters, Entering},
        node::Context,
        socket::{Expiry, NewSession, Session},
        watch::What,
    },
    telemetry::meters::reason_name,
    users::{Directory, UserSocket},
};

/// The way into the namespaces of one gateway.
#[derive(Clone)]
pub(crate) struct Entrance(Arc<Parts>);

/// What the ways into all namespaces share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) adapters: Arc<Adapters>,
    pub(crate) directory: Directory,
    pub(crate) context: Arc<Context>,
    pub(crate) expiry: Option<Expiry>,
}

struct Parts {
    gateway: Arc<Gateway>,
    around: Surroundings,
    params: matchit::Router<()>,
    /// Sockets that are through the middleware but not yet in their namespace.
    waiting: Mutex<Waiting>,
}

type Waiting = HashMap<(Sid, Box<str>), Arc<Inbox>>;

impl Entrance {
    pub(crate) fn new(gateway: Gateway, around: Surroundings) -> Self {
        let mut params = matchit::Router::new();
        // A path that does not parse has no parameters; declaring the namespace refuses it.
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
        socket: &Arc<Socket<Adapter>>,
        id: SocketId,
        auth: Option<&Value>,
    ) -> Result<(), Fault> {
        let parts = &*self.0;
        let mut entering = parts.around.adapters.enter(socket)?;
        if !parts.around.context.wires().may_ask(socket.id) {
            entering.leave_nothing();
            entering.adapter().explain_hand_out();
            return Err(Fault::new(Code::RateLimited, "too many attempts to connect"));
        }
        let adapter = entering.adapter().clone();
        let peer = parts.around.context.wires().peer_addr(socket.id);
        let params = self.params(socket.ns());
        let expiry = parts.around.expiry.clone();
        let auth = connect_payload(auth)?;
        let tracer = parts.around.context.tracer();
        let (span, origin) = tracer.connect(socket.req_parts(), &auth, socket.ns(), id);
        let session =
            Session::new(socket, NewSession { id, adapter, params, peer, expiry, origin });
        let handshake = Handshake::new(session.clone(), socket.req_parts().clone(), auth);
        let entering = async {
            let entered = self.enter(socket, handshake, entering).await;
            let failed = entered.as_ref().err().map(Fault::code);
            failed.into_iter().for_each(|code| tracer.failed(code));
            entered
        };
        let entered = span.around(entering).await;
        span.of_user(tracer, || session.user());
        if entered.is_err() {
            // socketioxide removes who is refused.
            session.adapter().explain_hand_out();
        }
        entered
    }

    async fn enter(
        &self,
        socket: &Arc<Socket<Adapter>>,
        handshake: Handshake,
        entering: Entering,
    ) -> Result<(), Fault> {
        let parts = &*self.0;
        let session = handshake.session().clone();
        parts.gateway.admit(&handshake).await?;
        check_rooms(&session.identity(), session.adapter().context())?;
        let adapter = session.adapter();
        let is_shown = !adapter.is_hidden()
            && (adapter.peers().is_some() || adapter.context().watch().is_some());
        if is_shown {
            session.show_handshake(handshake.shown());
        }
        drop(handshake);

        // From here on whatever happens undoes the membership, a cancelled future included.
        let io = entering.server().clone();
        let membership = Membership { session: session.clone(), entrance: self.clone(), io };
        session.adapter().enter(socket, session.id(), session.described_by());
        let identity = session.identity();
        let mut rooms: Vec<Room> = vec![session.id().as_str().to_owned().into()];
        rooms.extend(identity.rooms().iter().cloned().map(Room::Owned));
        if let Some(user) = identity.user_id() {
            rooms.push(session.adapter().context().user_room(user).into());
            rooms.push(AUTHENTICATED.into());
        }
        // Before the directory is asked: the subscriptions travel while it answers. Whoever is
        // refused leaves these rooms with the membership.
        session.join_own(&rooms);
        if let Some(user) = identity.user_id() {
            let entry = UserSocket {
                id: session.id(),
                node: session.node().clone(),
                namespace: session.namespace().into(),
                connected_at: session.connected_at(),
                transport: session.transport().unwrap_or("websocket").into(),
            };
            let evicted = parts.around.directory.enter(user.clone(), entry).await?;
            for UserSocket { id, namespace, .. } in evicted {
                tracing::debug!(
                    socket.id = %id,
                    %namespace,
                    "socket goes for a newer one of its user"
                );
                parts.around.adapters.disconnect(&namespace, id);
            }
        }
        session.settled().await;
        // Its sockets are cut off when a namespace is retired; this one may not have been seen.
        if session.adapter().is_retired() {
            return Err(session.adapter().just_removed(socket.id));
        }

        let inbox = Inbox::new(session.clone(), parts.gateway.clone());
        parts.waiting.lock().insert((socket.id, socket.ns().into()), inbox.clone());
        let io = entering.server().clone();
        socket.on_disconnect(Leave { inbox: inbox.clone(), entrance: self.clone(), io });
        socket.on_fallback(Receive { inbox, _membership: membership });
        Ok(())
    }
}

/// Whether a client may be put into the rooms that its token names. One that it may not is refused as
/// a whole: whoever issues such a token has to hear of it.
fn check_rooms(identity: &Identity, context: &Context) -> Result<(), Fault> {
    let rooms = identity.rooms();
    let limit = context.limits().max_rooms_per_socket;
    if limit > 0 && rooms.len() > limit {
        let count = rooms.len();
        return Err(Fault::forbidden(format!(
            "the token names {count} rooms, and a socket may be in {limit} at most"
        )));
    }
    for room in rooms {
        check_name(room)
            .map_err(|fault| Fault::new(fault.code(), format!("the token: {}", fault.message())))?;
        if context.is_reserved(room) && !context.tokens_name_reserved_rooms() {
            let message = format!("the token names the room {room:?}, which belongs to the server");
            return Err(Fault::forbidden(message));
        }
    }
    Ok(())
}

/// Undoes what entering a namespace has done. Done once; later calls change nothing.
/// Without a reason: it had not come into its namespace yet.
fn leave(session: &Session, directory: &Directory, reason: Option<DisconnectReason>) {
    let adapter = session.adapter();
    let rooms = adapter.rooms_of(session.sid());
    if !session.mark_closed(rooms) {
        return;
    }
    let rooms = session.rooms();
    adapter.exit(session.sid(), session.socket(), &rooms);
    if let Some(watch) = adapter.watch() {
        let id = session.id();
        if let Some(reason) = reason.map(reason_name) {
            watch.tell(adapter.namespace(), What::Disconnected { id, reason });
        }
        for room in rooms {
            watch.tell(adapter.namespace(), What::Left { id, room });
        }
    }
    if let Some(user) = session.user() {
        directory.leave(&user, session.namespace(), session.id());
    }
}

/// A socket's place in its namespace. Held by the socket itself, so that it cannot outlive it.
struct Membership {
    session: Session,
    entrance: Entrance,
    io: SocketIo<Adapter>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        leave(&self.session, &self.entrance.0.around.directory, None);
        self.session.adapter().left_by_one(&self.io);
        let key = (self.session.sid(), self.session.namespace().into());
        let mut waiting = self.entrance.0.waiting.lock();
        if waiting.get(&key).is_some_and(|inbox| inbox.session() == &self.session) {
            waiting.remove(&key);
            // It was gone before it could be told, and socketioxide has removed it.
            self.session.adapter().explain_hand_out();
        }
    }
}

/// What socketioxide calls for each event of the socket, on the transport's read task.
struct Receive {
    inbox: Arc<Inbox>,
    _membership: Membership,
}

impl MessageHandler<Adapter, ()> for Receive {
    fn call(&self, _: Arc<Socket<Adapter>>, value: Value, ack_id: Option<i64>) {
        self.inbox.push(Payload::received(value), ack_id);
    }
}

/// What socketioxide calls when the socket has left.
struct Leave {
    inbox: Arc<Inbox>,
    entrance: Entrance,
    io: SocketIo<Adapter>,
}

impl DisconnectHandler<Adapter, ()> for Leave {
    fn call_with_defer(
        &self,
        socket: Arc<Socket<Adapter>>,
        reason: DisconnectReason,
        remove: fn(Arc<Socket<Adapter>>),
    ) {
        let session = self.inbox.session();
        tracing::debug!(
            socket.id = %session.id(),
            namespace = session.namespace(),
            user.id = session.user().as_deref(),
            client.address = session.peer_addr().map(tracing::field::display),
            reason = reason_name(reason),
            "socket disconnected"
        );
        let context = &self.entrance.0.around.context;
        if !session.adapter().is_hidden() {
            context.meters().disconnected(reason);
        }
        if reason == DisconnectReason::HeartbeatTimeout {
            context.wires().timed_out(session.sid());
        }
        leave(session, &self.entrance.0.around.directory, Some(reason));
        // At once and not after the handlers: nothing is sent to a socket that has left.
        remove(socket);
        session.adapter().explain_hand_out();
        session.adapter().left_by_one(&self.io);
        self.inbox.disconnected(reason);
    }
}

type Refusal = Box<dyn std::fmt::Display + Send>;

impl ConnectHandler<Adapter, ()> for Entrance {
    fn call(&self, socket: Arc<Socket<Adapter>>, _: Option<Value>) {
        let waiting = self.0.waiting.lock().remove(&(socket.id, socket.ns().into()));
        if let Some(inbox) = waiting {
            let session = inbox.session();
            tracing::debug!(
                socket.id = %session.id(),
                namespace = socket.ns(),
                user.id = session.user().as_deref(),
                client.address = session.peer_addr().map(tracing::field::display),
                transport = session.transport(),
                "socket connected"
            );
            inbox.session().adapter().admitted(socket.id);
            if !inbox.session().adapter().is_hidden() {
                self.0.around.context.meters().connects.count();
            }
            inbox.session().watch_token();
            inbox.session().show_connected();
            inbox.connected();
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<Adapter>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        Box::pin(async move {
            let wires = self.0.around.context.wires();
            // A client of version 2 calls itself by its connection, and is not told otherwise.
            let is_told = socket.protocol() == ProtocolVersion::V5;
            let id = match is_told {
                true => SocketId::random(),
                false => SocketId::of_connection(socket.id, socket.ns()),
            };
            let Err(fault) = self.admit(&socket, id, auth.as_ref()).await else {
                if is_told {
                    wires.admit_as(socket.id, socket.ns(), id);
                }
                return Ok(());
            };
            tracing::debug!(
                socket.id = %id,
                namespace = socket.ns(),
                client.address =
                    self.0.around.context.wires().peer_addr(socket.id).map(tracing::field::display),
                fault = fault.code().as_str(),
                reason = fault.for_log(),
                "socket refused"
            );
            if !self.is_hidden(socket.ns()) {
                self.0.around.context.meters().connect_refused(fault.code());
            }
            let data = serde_json::to_value(&fault).unwrap_or_default();
            wires.refuse_with(socket.id, socket.ns(), data);
            Err(match self.0.gateway.refuses_in_words {
                true => Box::new(fault.message().to_owned()) as Refusal,
                false => Box::new(fault),
            })
        })
    }
}
