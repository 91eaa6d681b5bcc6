//! Ids as others name them, and the matching sockets of this node.

use socketioxide::{TransportType, socket::Socket as RawSocket};
use socketioxide_core::{
    Sid,
    adapter::{BroadcastOptions, Room},
};

use super::Adapter;
use crate::{
    cluster::message::Selection,
    id::{SocketId, connection_known_as},
};

/// The present transport of a socket's connection.
pub(crate) fn transport_of(raw: &RawSocket<Adapter>) -> &'static str {
    match raw.transport_type() {
        TransportType::Websocket => "websocket",
        TransportType::Polling => "polling",
    }
}

impl Adapter {
    /// The public id of a connection's socket in this namespace.
    pub(crate) fn id_of(&self, sid: Sid) -> Option<SocketId> {
        self.members.read().id_of(sid)
    }

    /// The sockets of this node that `options` select.
    pub(crate) fn ids_here(&self, options: BroadcastOptions) -> Vec<SocketId> {
        let targets = self.local.sockets(options);
        let members = self.members.read();
        targets.into_iter().filter_map(|sid| members.id_of(sid)).collect()
    }

    /// The connection of a socket of this node.
    pub(crate) fn sid_of(&self, id: SocketId) -> Option<Sid> {
        self.members.read().sid_of(id)
    }

    /// The socket of this node with this id: its public one, or for a client of version 2 the id of
    /// its connection, by which it knows itself.
    pub(crate) fn socket_known_as(&self, id: &str) -> Option<SocketId> {
        let members = self.members.read();
        let public = SocketId::named(id).filter(|id| members.sid_of(*id).is_some());
        public.or_else(|| members.known_by(connection_known_as(id, self.namespace())?))
    }

    /// The name by which a version 2 client knows itself if it began with a websocket. Other nodes
    /// may send to the room of this name, so it is listened to.
    pub(super) fn name_by_connection(&self, sid: Sid) -> Room {
        match self.namespace().as_str() {
            "/" => Room::Owned(sid.as_str().to_owned()),
            namespace => Room::Owned(format!("{namespace}#{sid}")),
        }
    }

    /// Whether a room is a socket's own, and the socket is here.
    pub(super) fn is_own_room_of_a_socket_here(&self, room: &str) -> bool {
        SocketId::named(room).is_some_and(|id| self.sid_of(id).is_some())
    }

    /// Whether a room is one that no client may join, leave or publish to.
    pub(crate) fn belongs_to_server(&self, room: &str) -> bool {
        self.node.is_reserved(room) || self.socket_known_as(room).is_some()
    }

    /// The socket's own room for a room that is named by the id of a version 2 client.
    pub(crate) fn own_room_or(&self, room: Room) -> Room {
        match connection_known_as(&room, self.namespace()) {
            None => room,
            Some(sid) => match self.members.read().known_by(sid) {
                None => room,
                Some(id) => Room::Owned(id.as_str().to_owned()),
            },
        }
    }

    /// Another node's selection, in terms of the sockets of this node.
    pub(crate) fn selected(&self, mut to: Selection) -> BroadcastOptions {
        for room in to.rooms.iter_mut().chain(&mut to.except) {
            let named = std::mem::take(room);
            *room = self.own_room_or(named);
        }
        to.into()
    }
}
