//! Emitting from outside of a handler: `io.to(…).except(…).emit(…)` of Socket.IO.

mod cluster;

use std::sync::Arc;

use serde::Serialize;
use socketioxide_core::adapter::{BroadcastOptions, Room};

pub use cluster::{Acks, Answers, RemoteSocket};

use crate::{
    cluster::{
        message::{Message, Selection},
        peers::Peers,
    },
    id::{SocketId, UserId, connection_known_as},
    payload::{Payload, PayloadError},
    sockets::{
        adapter::{Adapter, Adapters},
        audience::Audience,
        door::{self, Start},
        node::Context,
    },
};

/// Collects who is to get an event, then emits it. Several targets are one audience: a socket that
/// belongs to more than one gets the event once. Without a target: everybody in the namespace. The
/// sockets of every node are meant, unless [`local`](Self::local) is called.
///
/// Made by [`Switchboard::of`](crate::Switchboard::of) and [`Socket::to`](crate::Socket::to).
#[derive(Clone)]
#[must_use = "nothing is sent before `emit`"]
pub struct Emitter {
    context: Arc<Context>,
    namespace: Arc<str>,
    place: Place,
    audience: Audience,
}

/// Where the emit starts.
#[derive(Clone)]
enum Place {
    /// This node has sockets in the namespace, or had some.
    Here(Arc<Adapter>),
    /// Only others can have some.
    Elsewhere(Option<Arc<Peers>>),
}

impl Emitter {
    pub(crate) fn here(adapter: Arc<Adapter>) -> Self {
        let namespace = adapter.namespace().as_str().into();
        Self::new(adapter.context().clone(), namespace, Place::Here(adapter))
    }

    /// For a namespace of this node, or, if it has none of that name, of others.
    pub(crate) fn of(
        adapters: &Adapters,
        context: &Arc<Context>,
        peers: Option<&Arc<Peers>>,
        namespace: &str,
    ) -> Self {
        match adapters.get(namespace) {
            Some(adapter) => Self::here(adapter),
            None => Self::elsewhere(context.clone(), namespace, peers.cloned()),
        }
    }

    /// For a namespace that no socket of this node has been in.
    pub(crate) fn elsewhere(
        context: Arc<Context>,
        namespace: &str,
        peers: Option<Arc<Peers>>,
    ) -> Self {
        Self::new(context, namespace.into(), Place::Elsewhere(peers))
    }

    fn new(context: Arc<Context>, namespace: Arc<str>, place: Place) -> Self {
        Self { context, namespace, place, audience: Audience::everybody() }
    }

    /// This audience, in the place of what was named so far.
    pub fn to(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// The members of a room.
    pub fn room(self, room: impl Into<Room>) -> Self {
        self.with(|audience| audience.room(room))
    }

    /// The sockets of a user.
    pub fn user(self, user: impl Into<UserId>) -> Self {
        self.with(|audience| audience.user(user))
    }

    /// One socket.
    pub fn socket(self, id: SocketId) -> Self {
        self.with(|audience| audience.socket(id))
    }

    /// One socket, by what its client sees as `socket.id`. A client of version 2 sees the id of its
    /// connection instead of the public one, and its socket is found by that, too, on whatever node.
    pub fn socket_known_as(self, id: &str) -> Self {
        if let Ok(id) = id.parse() {
            return self.socket(id);
        }
        match connection_known_as(id, &self.namespace) {
            Some(sid) => {
                let id = SocketId::of_connection(sid, &self.namespace);
                self.socket(id)
            }
            // Perhaps that of a Node.js node.
            None => self.room(id.to_owned()),
        }
    }

    /// Everybody who is authenticated.
    pub fn authenticated(self) -> Self {
        self.with(Audience::authenticated)
    }

    /// Not the members of a room.
    pub fn except_room(self, room: impl Into<Room>) -> Self {
        self.with(|audience| audience.except_room(room))
    }

    /// Not the sockets of a user.
    pub fn except_user(self, user: impl Into<UserId>) -> Self {
        self.with(|audience| audience.except_user(user))
    }

    /// Not this socket.
    pub fn except_socket(self, id: SocketId) -> Self {
        self.with(|audience| audience.except_socket(id))
    }

    /// Dropped for sockets that are not ready to take it: something waits for their client already,
    /// or it polls and no poll of its waits. As in Node.js.
    pub fn volatile(self) -> Self {
        self.with(Audience::volatile)
    }

    /// Only sockets of this node.
    pub fn local(self) -> Self {
        self.with(Audience::local)
    }

    fn with(self, change: impl FnOnce(Audience) -> Audience) -> Self {
        Self { audience: change(self.audience), ..self }
    }

    /// Emits the event. A tuple gives several arguments. Emits of one node to one room arrive at
    /// each socket in the order of the calls.
    ///
    /// # Errors
    /// If `data` cannot be serialized or the name is reserved; nothing was sent then.
    pub fn emit<T: Serialize + ?Sized>(self, name: &str, data: &T) -> Result<(), PayloadError> {
        self.emit_payload(Payload::event(name, data)?)
    }

    /// Emits an event with arguments that are encoded already.
    ///
    /// # Errors
    /// As [`Emitter::emit`].
    pub fn emit_payload(self, payload: Payload) -> Result<(), PayloadError> {
        let this = self.of_today();
        door::send(this.start(), payload, &this.audience, None)
    }

    /// Disconnects these sockets, on every node, and returns how many they were on this node. Each
    /// client sees `io server disconnect`. With `close_transport` the connections are closed too.
    pub fn disconnect(self, close_transport: bool) -> usize {
        let this = self.of_today();
        this.tell(|to| Message::Disconnect { to, close: close_transport });
        match &this.place {
            Place::Here(adapter) => adapter.disconnect_here(this.rooms_meant(), close_transport),
            Place::Elsewhere(_) => 0,
        }
    }

    /// Puts these sockets into rooms, on every node. In force on this node when this returns, on
    /// the others when they have heard of it.
    pub fn join<R: Into<Room>>(self, rooms: impl IntoIterator<Item = R>) {
        let rooms: Vec<Room> = rooms.into_iter().map(Into::into).collect();
        let this = self.of_today();
        this.tell(|to| Message::Join { to, rooms: rooms.clone() });
        if let Place::Here(adapter) = &this.place {
            adapter.join_here(this.rooms_meant(), &rooms);
        }
    }

    /// Takes these sockets out of rooms, on every node.
    pub fn leave<R: Into<Room>>(self, rooms: impl IntoIterator<Item = R>) {
        let rooms: Vec<Room> = rooms.into_iter().map(Into::into).collect();
        let this = self.of_today();
        this.tell(|to| Message::Leave { to, rooms: rooms.clone() });
        if let Place::Here(adapter) = &this.place {
            adapter.leave_here(this.rooms_meant(), &rooms);
        }
    }

    /// With the adapter that the namespace has by now: an emitter may be kept for longer than a
    /// namespace of a pattern lives.
    pub(super) fn of_today(mut self) -> Self {
        if let Place::Here(adapter) = &self.place
            && adapter.is_retired()
        {
            self.place = match adapter.successor() {
                Some(successor) => Place::Here(successor),
                None => Place::Elsewhere(adapter.peers().cloned()),
            };
        }
        self
    }

    fn start(&self) -> Start<'_> {
        match &self.place {
            Place::Here(adapter) => Start::Here(adapter),
            Place::Elsewhere(peers) => Start::Elsewhere {
                context: &self.context,
                namespace: &self.namespace,
                peers: peers.as_ref(),
            },
        }
    }

    fn rooms_meant(&self) -> BroadcastOptions {
        door::lower(self.start(), &self.audience, None)
    }

    /// What is meant on other nodes, if anything can be.
    fn others(&self) -> Option<Selection> {
        door::others(self.start(), &self.rooms_meant())
    }

    fn peers(&self) -> Option<&Arc<Peers>> {
        self.start().peers()
    }

    /// Tells the other nodes something about their sockets among these.
    fn tell(&self, say: impl FnOnce(Selection) -> Message) {
        if let (Some(peers), Some(to)) = (self.peers(), self.others()) {
            peers.say(&self.namespace, &say(to));
        }
    }
}
