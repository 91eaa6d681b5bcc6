//! Emitting from outside of a handler: `io.to(…).except(…).emit(…)` of Socket.IO.

mod cluster;

use std::sync::Arc;

use serde::Serialize;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, Room};

pub use cluster::{Acks, Answers, RemoteSocket};

use crate::{
    cluster::{
        message::{Flags, Message, Selection},
        peers::Peers,
    },
    id::{SocketId, connection_known_as},
    names::rooms::AUTHENTICATED,
    payload::{Payload, PayloadError},
    sockets::{
        adapter::{Adapter, Adapters},
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
    options: BroadcastOptions,
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
        Self { context, namespace, place, options: Selection::default().into() }
    }

    /// The members of a room.
    pub fn room(mut self, room: impl Into<Room>) -> Self {
        let room = self.own_room_or(room.into());
        self.options.rooms.push(room);
        self
    }

    /// The sockets of a user.
    pub fn user(self, user: &str) -> Self {
        let room = self.context.user_room(user);
        self.room(room)
    }

    /// One socket.
    pub fn socket(self, id: SocketId) -> Self {
        self.room(id.as_str().to_owned())
    }

    /// One socket, by what its client sees as `socket.id`. A client of version 2 sees the id of its
    /// connection instead of the public one, and its socket is found by that, too, on whatever node.
    pub fn socket_known_as(self, id: &str) -> Self {
        if id.parse::<SocketId>().is_err()
            && let Some(sid) = connection_known_as(id, &self.namespace)
        {
            let id = SocketId::of_connection(sid, &self.namespace);
            return self.socket(id);
        }
        // Of ours, or of a Node.js node.
        self.room(id.to_owned())
    }

    /// Everybody who is authenticated.
    pub fn authenticated(self) -> Self {
        self.room(AUTHENTICATED)
    }

    /// Not the members of a room.
    pub fn except_room(mut self, room: impl Into<Room>) -> Self {
        let room = self.own_room_or(room.into());
        self.options.except.push(room);
        self
    }

    /// Not the sockets of a user.
    pub fn except_user(self, user: &str) -> Self {
        let room = self.context.user_room(user);
        self.except_room(room)
    }

    /// Not this socket.
    pub fn except_socket(self, id: SocketId) -> Self {
        self.except_room(id.as_str().to_owned())
    }

    /// Dropped for sockets that are not ready to take it: something waits for their client already,
    /// or it polls and no poll of its waits. As in Node.js.
    pub fn volatile(mut self) -> Self {
        self.options.add_flag(BroadcastFlags::Volatile);
        self
    }

    /// Only sockets of this node.
    pub fn local(mut self) -> Self {
        self.options.add_flag(BroadcastFlags::Local);
        self
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
        match &this.place {
            Place::Here(adapter) => adapter.emit(payload, this.options),
            Place::Elsewhere(peers) => {
                let span = this.context.trace_emit(&this.namespace, &payload, &this.options);
                this.context.count_emit(&this.options);
                if let Some(peers) = peers.as_ref().filter(|_| !this.is_local()) {
                    let flags = Flags::of(&this.options, span.traceparent());
                    peers.broadcast(&this.namespace, payload.value(), &this.selection(), flags);
                }
                Ok(())
            }
        }
    }

    /// Disconnects these sockets, on every node, and returns how many they were on this node. Each
    /// client sees `io server disconnect`. With `close_transport` the connections are closed too.
    pub fn disconnect(self, close_transport: bool) -> usize {
        let this = self.of_today();
        this.tell(|to| Message::Disconnect { to, close: close_transport });
        match this.place {
            Place::Here(adapter) => adapter.disconnect_here(this.options, close_transport),
            Place::Elsewhere(_) => 0,
        }
    }

    /// Puts these sockets into rooms, on every node. In force on this node when this returns, on
    /// the others when they have heard of it.
    pub fn join<R: Into<Room>>(self, rooms: impl IntoIterator<Item = R>) {
        let rooms: Vec<Room> = rooms.into_iter().map(Into::into).collect();
        let this = self.of_today();
        this.tell(|to| Message::Join { to, rooms: rooms.clone() });
        if let Place::Here(adapter) = this.place {
            adapter.join_here(this.options, &rooms);
        }
    }

    /// Takes these sockets out of rooms, on every node.
    pub fn leave<R: Into<Room>>(self, rooms: impl IntoIterator<Item = R>) {
        let rooms: Vec<Room> = rooms.into_iter().map(Into::into).collect();
        let this = self.of_today();
        this.tell(|to| Message::Leave { to, rooms: rooms.clone() });
        if let Place::Here(adapter) = this.place {
            adapter.leave_here(this.options, &rooms);
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

    /// Ids are rooms, too; a version 2 client that is here may be named by the id that it knows.
    fn own_room_or(&self, room: Room) -> Room {
        match &self.place {
            Place::Here(adapter) => adapter.own_room_or(room),
            Place::Elsewhere(_) => room,
        }
    }

    fn is_local(&self) -> bool {
        self.options.has_flag(BroadcastFlags::Local)
    }

    fn selection(&self) -> Selection {
        Selection { rooms: self.options.rooms.to_vec(), except: self.options.except.to_vec() }
    }

    /// Tells the other nodes something about their sockets among these.
    fn tell(&self, say: impl FnOnce(Selection) -> Message) {
        match &self.place {
            Place::Here(adapter) => adapter.tell(&self.options, say),
            Place::Elsewhere(Some(peers)) if !self.is_local() => {
                peers.say(&self.namespace, &say(self.selection()));
            }
            Place::Elsewhere(_) => {}
        }
    }
}
