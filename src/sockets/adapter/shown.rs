//! Reports about a namespace for the watcher of its sockets, if there is one. A hidden namespace
//! reports nothing.

use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastOptions, Room},
};

use super::Adapter;
use crate::{
    id::SocketId,
    sockets::watch::{Watch, What},
};

impl Adapter {
    /// Whether the sockets of this namespace are not shown, counted or watched.
    pub(crate) fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// The watcher of this namespace's sockets. `None` while there is none.
    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.node.watch().filter(|watch| watch.is_on() && !self.hidden)
    }

    /// An event goes to sockets of this node.
    pub(super) fn show_sent(&self, value: &Value, options: &BroadcastOptions) {
        if let Some(watch) = self.watch() {
            watch.sent(self.namespace(), || self.ids_here(options.clone()), value);
        }
    }

    /// A socket has joined rooms.
    pub(super) fn show_joined(&self, sid: Sid, rooms: &[Room]) {
        let Some(watch) = self.watch() else { return };
        let Some(id) = self.id_of(sid) else { return };
        for room in rooms {
            watch.tell(self.namespace(), What::Joined { id, room: room.clone() });
        }
    }

    /// A socket is about to leave a room, if it is in it.
    pub(super) fn show_leaving(&self, sid: Sid, room: &Room) {
        let Some(watch) = self.watch() else { return };
        if self.is_in(sid, room)
            && let Some(id) = self.id_of(sid)
        {
            watch.tell(self.namespace(), What::Left { id, room: room.clone() });
        }
    }

    /// Sockets are about to join rooms. Some may be in them already.
    pub(super) fn show_all_joining(&self, options: &BroadcastOptions, rooms: &[Room]) {
        self.show_moves(options, rooms, |is_in, id, room| {
            (!is_in).then_some(What::Joined { id, room })
        });
    }

    /// Sockets are about to leave rooms. Some may not be in them.
    pub(super) fn show_all_leaving(&self, options: &BroadcastOptions, rooms: &[Room]) {
        self.show_moves(options, rooms, |is_in, id, room| is_in.then_some(What::Left { id, room }));
    }

    fn show_moves(
        &self,
        options: &BroadcastOptions,
        rooms: &[Room],
        what: impl Fn(bool, SocketId, Room) -> Option<What>,
    ) {
        let Some(watch) = self.watch() else { return };
        for sid in self.local.sockets(options.clone()) {
            let Some(id) = self.id_of(sid) else { continue };
            let own = self.local.socket_rooms(sid);
            for room in rooms {
                if let Some(what) = what(own.contains(room), id, room.clone()) {
                    watch.tell(self.namespace(), what);
                }
            }
        }
    }
}
