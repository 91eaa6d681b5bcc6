//! The members of rooms. Joins and leaves through our API are known without asking the local
//! adapter. Of those past it, through socketioxide's own types, only their possibility is known.

use std::sync::atomic::{AtomicU64, Ordering};

use socketioxide_core::{
    Sid,
    adapter::{BroadcastOptions, Room},
};

use super::Adapter;

/// Counts how often the local adapter was handed out to a caller that may have changed rooms with
/// it. A caller that is known to have taken it for something else is subtracted afterwards.
#[derive(Debug, Default)]
pub(super) struct RawUse {
    handed_out: AtomicU64,
    explained: AtomicU64,
}

impl RawUse {
    pub(super) fn handed_out(&self) {
        self.handed_out.fetch_add(1, Ordering::AcqRel);
    }

    /// How often it was handed out without an explanation.
    pub(super) fn count(&self) -> u64 {
        let explained = self.explained.load(Ordering::Acquire);
        self.handed_out.load(Ordering::Acquire).wrapping_sub(explained)
    }

    /// Whether it never was. After the first time the local adapter is always asked.
    pub(super) fn is_none(&self) -> bool {
        self.count() == 0
    }
}

impl Adapter {
    /// socketioxide has taken the local adapter, or is about to, to remove a socket or to list its
    /// rooms.
    pub(crate) fn explain_hand_out(&self) {
        self.raw.explained.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn is_in(&self, sid: Sid, room: &str) -> bool {
        if !self.raw.is_none() {
            return self.local.socket_rooms(sid).contains(room);
        }
        self.members.read().is_in(sid, room)
    }

    pub(crate) fn rooms_of(&self, sid: Sid) -> Vec<Room> {
        if !self.raw.is_none() {
            return self.local.socket_rooms(sid).into_iter().collect();
        }
        let members = self.members.read();
        members.rooms_of(sid).map(|rooms| rooms.cloned().collect()).unwrap_or_default()
    }

    /// The number of rooms of a socket.
    pub(crate) fn room_count(&self, sid: Sid) -> usize {
        if !self.raw.is_none() {
            return self.local.socket_rooms(sid).len();
        }
        self.members.read().rooms_of(sid).map_or(0, |rooms| rooms.len())
    }

    /// Whether a room has members on this node.
    pub(super) fn has_members(&self, room: &str) -> bool {
        let room = self.own_room_or(Room::Owned(room.to_owned()));
        if self.members.read().has_any_in(&room) {
            return true;
        }
        if self.raw.is_none() {
            return false;
        }
        let mut options = BroadcastOptions::default();
        options.rooms.push(room);
        !self.local.sockets(options).is_empty()
    }
}
