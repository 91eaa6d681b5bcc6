//! The sockets of one namespace on this node, and the only map from public ids to connections.
//!
//! The rooms of each socket are here, too, and the sockets of each room. socketioxide's local
//! adapter also has them, but gives only a copy of all rooms of a socket, or of all members of a
//! room.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Weak},
    time::Instant,
};

use slab::Slab;
use socketioxide::{ProtocolVersion, socket::Socket as RawSocket};
use socketioxide_core::{Sid, adapter::Room};

use super::{Adapter, Describe, reach::Reach};
use crate::id::SocketId;

/// A socket of this node.
pub(super) struct Member {
    pub(super) id: SocketId,
    pub(super) sid: Sid,
    pub(super) socket: Weak<RawSocket<Adapter>>,
    pub(super) described_by: Weak<dyn Describe>,
    /// The client has version 2 and knows itself by its connection.
    pub(super) is_known_by_connection: bool,
    pub(super) reach: Reach,
    /// The time of its entrance.
    pub(super) entered: Instant,
    /// Its rooms, with its position among the members of each.
    rooms: HashMap<Room, usize>,
}

/// Where a member is listed.
pub(super) type Slot = usize;

/// The list of sockets. A connection has at most one socket in a namespace, so its id finds the
/// socket, too.
#[derive(Default)]
pub(super) struct Members {
    listed: Slab<Member>,
    by_sid: HashMap<Sid, Slot, BuildHasherDefault<OfId>>,
    by_id: HashMap<SocketId, Slot, BuildHasherDefault<OfId>>,
    /// The members of each room, in no order. No room is empty.
    rooms: HashMap<Room, Vec<Slot>>,
}

/// A hash for random keys: servers draw the ids of connections and sockets, and no client can choose
/// one. It runs for each receiver of each emit.
#[derive(Default)]
struct OfId(u64);

impl Hasher for OfId {
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
            sid: socket.id,
            socket: Arc::downgrade(socket),
            described_by,
            is_known_by_connection: socket.protocol() == ProtocolVersion::V4,
            reach: Reach::default(),
            entered: Instant::now(),
            rooms: HashMap::new(),
        };
        let before = self.by_sid.get(&socket.id).copied();
        if let Some(slot) = before {
            self.remove(slot);
        }
        let slot = self.listed.insert(member);
        self.by_sid.insert(socket.id, slot);
        self.by_id.insert(id, slot);
        before.is_some()
    }

    fn remove(&mut self, slot: Slot) -> Member {
        let member = self.listed.remove(slot);
        self.by_sid.remove(&member.sid);
        self.by_id.remove(&member.id);
        for (room, at) in &member.rooms {
            self.vacate(room, *at);
        }
        if self.listed.is_empty() {
            // gives the memory of many back
            *self = Self::default();
        }
        member
    }

    /// Gives the place of a member of a room to the last one.
    fn vacate(&mut self, room: &Room, at: usize) {
        let Some(slots) = self.rooms.get_mut(room) else { return };
        slots.swap_remove(at);
        match slots.get(at) {
            Some(moved) => {
                if let Some(place) = self.listed[*moved].rooms.get_mut(room) {
                    *place = at;
                }
            }
            None if slots.is_empty() => _ = self.rooms.remove(room),
            None => {}
        }
    }

    /// A socket joins rooms.
    pub(super) fn join(&mut self, sid: Sid, rooms: &[Room]) {
        let Some(slot) = self.by_sid.get(&sid).copied() else { return };
        let member = &mut self.listed[slot];
        for room in rooms {
            if !member.rooms.contains_key(room) {
                let slots = self.rooms.entry(room.clone()).or_default();
                member.rooms.insert(room.clone(), slots.len());
                slots.push(slot);
            }
        }
    }

    /// A socket leaves rooms.
    pub(super) fn leave(&mut self, sid: Sid, rooms: &[Room]) {
        let Some(slot) = self.by_sid.get(&sid).copied() else { return };
        for room in rooms {
            if let Some(at) = self.listed[slot].rooms.remove(room) {
                self.vacate(room, at);
            }
        }
    }

    /// The rooms of a socket.
    pub(super) fn rooms_of(&self, sid: Sid) -> Option<impl ExactSizeIterator<Item = &Room>> {
        Some(self.get(sid)?.rooms.keys())
    }

    /// Whether a socket is in a room.
    pub(super) fn is_in(&self, sid: Sid, room: &str) -> bool {
        self.get(sid).is_some_and(|member| member.rooms.contains_key(room))
    }

    /// Whether a room has members.
    pub(super) fn has_any_in(&self, room: &str) -> bool {
        self.rooms.contains_key(room)
    }

    /// The members of a room.
    pub(super) fn in_room(&self, room: &str) -> &[Slot] {
        self.rooms.get(room).map_or(&[], |slots| slots)
    }

    /// All sockets.
    pub(super) fn all(&self) -> impl Iterator<Item = (Slot, &Member)> {
        self.listed.iter()
    }

    /// Removes a socket, unless another one has its connection by now.
    pub(super) fn exit(&mut self, sid: Sid, socket: &Weak<RawSocket<Adapter>>) -> Option<Member> {
        let slot = *self.by_sid.get(&sid)?;
        let is_it = self.listed[slot].socket.ptr_eq(socket);
        is_it.then(|| self.remove(slot))
    }

    pub(super) fn len(&self) -> usize {
        self.listed.len()
    }

    pub(super) fn sockets(&self) -> Vec<Arc<RawSocket<Adapter>>> {
        self.listed.iter().filter_map(|(_, member)| member.socket.upgrade()).collect()
    }

    /// The member in a slot that was taken from this list under the same lock.
    pub(super) fn at(&self, slot: Slot) -> &Member {
        &self.listed[slot]
    }

    pub(super) fn slot_of(&self, sid: Sid) -> Option<Slot> {
        self.by_sid.get(&sid).copied()
    }

    pub(super) fn get(&self, sid: Sid) -> Option<&Member> {
        self.by_sid.get(&sid).map(|slot| &self.listed[*slot])
    }

    pub(super) fn has(&self, sid: Sid) -> bool {
        self.by_sid.contains_key(&sid)
    }

    pub(super) fn sid_of(&self, id: SocketId) -> Option<Sid> {
        self.by_id.get(&id).map(|slot| self.listed[*slot].sid)
    }

    pub(super) fn id_of(&self, sid: Sid) -> Option<SocketId> {
        self.get(sid).map(|member| member.id)
    }

    /// The socket whose client knows itself by this connection.
    pub(super) fn known_by(&self, sid: Sid) -> Option<SocketId> {
        let member = self.get(sid)?;
        member.is_known_by_connection.then_some(member.id)
    }
}
