//! Emitting from outside of a handler: `io.to(…).except(…).emit(…)` of Socket.IO.

use std::sync::Arc;

use serde::Serialize;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, Room};

use crate::{
    adapter::Adapter,
    context::Context,
    id::SocketId,
    payload::{Payload, PayloadError},
    rooms::AUTHENTICATED,
};

/// Collects who is to get an event, then emits it. Several targets are one audience: a socket that
/// belongs to more than one gets the event once. Without a target: everybody in the namespace.
///
/// Made by [`Switchboard::of`](crate::Switchboard::of) and [`Session::to`](crate::Session::to).
#[derive(Clone)]
#[must_use = "nothing is sent before `emit`"]
pub struct Emitter {
    context: Arc<Context>,
    /// None: no socket of this node is in the namespace.
    adapter: Option<Arc<Adapter>>,
    options: BroadcastOptions,
}

impl Emitter {
    pub(crate) fn new(context: Arc<Context>, adapter: Option<Arc<Adapter>>) -> Self {
        let mut options = BroadcastOptions::default();
        options.add_flag(BroadcastFlags::Broadcast);
        Self { context, adapter, options }
    }

    /// The members of a room.
    pub fn room(mut self, room: impl Into<Room>) -> Self {
        self.options.rooms.push(room.into());
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

    /// Everybody who is authenticated.
    pub fn authenticated(self) -> Self {
        self.room(AUTHENTICATED)
    }

    /// Not the members of a room.
    pub fn except_room(mut self, room: impl Into<Room>) -> Self {
        self.options.except.push(room.into());
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

    /// Dropped for sockets that are not ready to take it.
    pub fn volatile(mut self) -> Self {
        self.options.add_flag(BroadcastFlags::Volatile);
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
        match self.adapter {
            Some(adapter) => adapter.emit(payload, self.options),
            None => Ok(()),
        }
    }

    /// Disconnects these sockets and returns how many they were on this node. Each client sees
    /// `io server disconnect`. With `close_transport` the connections are closed too.
    pub fn disconnect(self, close_transport: bool) -> usize {
        let Some(adapter) = self.adapter else { return 0 };
        let sockets = adapter.sockets_of(self.options);
        let count = sockets.len();
        for socket in sockets {
            adapter.disconnect(socket, close_transport);
        }
        count
    }
}
