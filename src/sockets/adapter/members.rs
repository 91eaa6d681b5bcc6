//! The sockets of one namespace on this node, and the only map from public ids to connections.
//!
//! The rooms of each socket are here, too. socketioxide's local adapter also has them, but gives
//! only a copy of all rooms of a socket, or of all members of a room.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Weak},
    time::Instant,
};

use socketioxide::{ProtocolVersion, socket::Socket as RawSocket};
use socketioxide_core::{Sid, adapter::Room};

use super::{Adapter, Describe, reach::Reach};
use crate::id::SocketId;

/// A socket of this node.
pub(super) struct Member {
    pub(super) id: SocketId,
    pub(super) socket: Weak<RawSocket<Adapter>>,
    pub(super) described_by: Weak<dyn Describe>,
    /// The client has version 2 and knows itself by its connection.
    pub(super) is_known_by_connection: bool,
    pub(super) reach: Reach,
    /// The time of its entrance.
    pub(super) entered: Instant,
    rooms: HashSet<Room>,
}

/// The list of sockets. A connection has at most one socket in a namespace, so its id finds the
/// socket, too.
#[derive(Default)]
pub(super) struct Members {
    by_sid: HashMap<Sid, Member, BuildHasherDefault<OfSid>>,
    by_id: HashMap<SocketId, Sid>,
    /// The number of members of each room.
    sizes: HashMap<Room, usize>,
}

/// A hash for random keys: this server draws the ids of connections, and no client can choose one.
/// It runs for each receiver of each emit.
#[derive(Default)]
struct OfSid(u64);

impl Hasher for OfSid {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            // Letters and digits have the same bits in each byte. The product spreads the others.
            let word = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
            self.0 = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// The length is the same for all keys.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

impl Members {
    /// Lists a socket. Returns whether another one with its connection was still listed.
    pub(super) fn enter(
        &mut self,
        socket: &Arc<RawSocket<Adapter>>,
        id: SocketId,
        described_by: Weak<dyn Describe>,
    ) -> bool {
        let member = Member {
            id,
            socket: Arc::downgrade(socket),
            described_by,
            is_known_by_connection: socket.protocol() == ProtocolVersion::V4,
            reach: Reach::default(),
            entered: Instant::now(),
            rooms: HashSet::new(),
        };
        let before = self.by_sid.remove(&socket.id);
        if let Some(before) = &before {
            self.forget(before);
        }
        self.by_sid.insert(socket.id, member);
        self.by_id.insert(id, socket.id);
        before.is_some()
    }

    fn forget(&mut self, member: &Member) {
        self.by_id.remove(&member.id);
        member.rooms.iter().for_each(|room| self.shrink(room));
    }

    fn shrink(&mut self, room: &Room) {
        if let Some(size) = self.sizes.get_mut(room) {
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(room);
            }
        }
    }

    /// A socket joins rooms.
    pub(super) fn join(&mut self, sid: Sid, rooms: &[Room]) {
        let Some(member) = self.by_sid.get_mut(&sid) else { return };
        for room in rooms {
            if member.rooms.insert(room.clone()) {
                *self.sizes.entry(room.clone()).or_default() += 1;
            }
        }
    }

    /// A socket leaves rooms.
    pub(super) fn leave(&mut self, sid: Sid, rooms: &[Room]) {
        for room in rooms {
            if self.by_sid.get_mut(&sid).is_some_and(|member| member.rooms.remove(room)) {
                self.shrink(room);
            }
        }
    }

    /// The rooms of a socket.
    pub(super) fn rooms_of(&self, sid: Sid) -> Option<&HashSet<Room>> {
        self.by_sid.get(&sid).map(|member| &member.rooms)
    }

    /// Whether a room has members.
    pub(super) fn has_any_in(&self, room: &str) -> bool {
        self.sizes.contains_key(room)
    }

    /// Removes a socket, unless another one has its connection by now.
    pub(super) fn exit(&mut self, sid: Sid, socket: &Weak<RawSocket<Adapter>>) -> Option<Member> {
        if !self.by_sid.get(&sid)?.socket.ptr_eq(socket) {
            return None;
        }
        let member = self.by_sid.remove(&sid)?;
        self.forget(&member);
        Some(member)
    }

    pub(super) fn len(&self) -> usize {
        self.by_sid.len()
    }

    pub(super) fn sockets(&self) -> Vec<Arc<RawSocket<Adapter>>> {
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
