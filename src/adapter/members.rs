//! The sockets of one namespace on this node: the one place that knows which public id belongs to
//! which connection.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use socketioxide::{ProtocolVersion, socket::Socket};
use socketioxide_core::Sid;

use super::{Adapter, Describe, delivery::Reach};
use crate::id::SocketId;

/// A socket of this node.
pub(super) struct Member {
    pub(super) id: SocketId,
    pub(super) socket: Weak<Socket<Adapter>>,
    pub(super) described_by: Weak<dyn Describe>,
    /// A client of version 2 knows itself by its connection.
    pub(super) is_known_by_connection: bool,
    pub(super) reach: Reach,
}

/// A connection has one socket in a namespace at most, so its id finds the socket, too.
#[derive(Default)]
pub(super) struct Members {
    by_sid: HashMap<Sid, Member>,
    by_id: HashMap<SocketId, Sid>,
}

impl Members {
    /// Lists a socket. Answers with the id of the one that had its connection before, if that has
    /// not been taken off.
    pub(super) fn enter(
        &mut self,
        socket: &Arc<Socket<Adapter>>,
        id: SocketId,
        described_by: Weak<dyn Describe>,
    ) -> Option<SocketId> {
        let member = Member {
            id,
            socket: Arc::downgrade(socket),
            described_by,
            is_known_by_connection: socket.protocol() == ProtocolVersion::V4,
            reach: Reach::default(),
        };
        let before = self.by_sid.insert(socket.id, member).map(|before| before.id);
        let before = before.filter(|before| *before != id);
        if let Some(before) = &before {
            self.by_id.remove(before);
        }
        self.by_id.insert(id, socket.id);
        before
    }

    /// Takes a socket off, unless another one has its connection by now.
    pub(super) fn exit(&mut self, sid: Sid, socket: &Weak<Socket<Adapter>>) -> Option<Member> {
        if !self.by_sid.get(&sid)?.socket.ptr_eq(socket) {
            return None;
        }
        let member = self.by_sid.remove(&sid)?;
        self.by_id.remove(&member.id);
        Some(member)
    }

    pub(super) fn len(&self) -> usize {
        self.by_sid.len()
    }

    pub(super) fn sockets(&self) -> Vec<Arc<Socket<Adapter>>> {
        self.by_sid.values().filter_map(|member| member.socket.upgrade()).collect()
    }

    pub(super) fn get(&self, sid: Sid) -> Option<&Member> {
        self.by_sid.get(&sid)
    }

    pub(super) fn has(&self, sid: Sid) -> bool {
        self.by_sid.contains_key(&sid)
    }

    pub(super) fn sid_of(&self, id: SocketId) -> Option<Sid> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn id_of(&self, sid: Sid) -> Option<SocketId> {
        self.by_sid.get(&sid).map(|member| member.id)
    }

    /// The socket whose client knows itself by this connection.
    pub(super) fn known_by(&self, sid: Sid) -> Option<SocketId> {
        let member = self.by_sid.get(&sid)?;
        member.is_known_by_connection.then_some(member.id)
    }
}
