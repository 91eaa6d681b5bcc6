//! The rooms of a namespace that this node listens to: exactly those with members here.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use socketioxide_core::adapter::Room;

use crate::cluster::peers::Peers;

/// The time between two checks for empty rooms, and for joins past our API. A room that is listened
/// to a moment too long costs nothing but its frames.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// The rooms that one adapter listens to.
pub(super) struct Interest {
    namespace: Box<str>,
    peers: Arc<Peers>,
    /// `None`: the namespace is gone.
    rooms: Mutex<Option<HashSet<Room>>>,
    /// Rooms that lost a member since the last check.
    left: Mutex<HashSet<Room>>,
    /// The number of possible changes past our API, as of the last check.
    seen: AtomicU64,
}

impl Interest {
    pub(super) fn new(namespace: &str, peers: Arc<Peers>) -> Self {
        Self {
            namespace: namespace.into(),
            peers,
            rooms: Mutex::new(Some(HashSet::new())),
            left: Mutex::default(),
            seen: AtomicU64::new(0),
        }
    }

    /// These rooms have a member here. To be called after the socket is in them.
    pub(super) fn joined(&self, joined: &[Room]) {
        let mut rooms = self.rooms.lock();
        let Some(rooms) = &mut *rooms else { return };
        for room in joined {
            if !rooms.contains(room) {
                rooms.insert(room.clone());
                self.peers.listen(&self.namespace, room);
            }
        }
    }

    /// These rooms may have lost their last member.
    pub(super) fn left(&self, rooms: impl IntoIterator<Item = Room>) {
        self.left.lock().extend(rooms);
    }

    /// Whether the node listens to a room.
    pub(super) fn hears_of(&self, room: &str) -> bool {
        self.rooms.lock().as_ref().is_some_and(|rooms| rooms.contains(room))
    }

    /// The namespace is gone, and its rooms are not listened to any more.
    pub(super) fn close(&self) {
        for room in self.rooms.lock().take().into_iter().flatten() {
            self.peers.unlisten(&self.namespace, &room);
        }
    }

    /// Handles changes. `raw` counts the possible changes past our API, `is_empty` tells whether a
    /// room has no members here, and `all` lists the rooms with members.
    pub(super) fn look_after(
        &self,
        raw: u64,
        is_empty: impl Fn(&Room) -> bool,
        all: impl FnOnce() -> HashSet<Room>,
    ) {
        let left = std::mem::take(&mut *self.left.lock());
        for room in left {
            // Under the lock, so that a join in between is either seen here or listens again.
            let mut rooms = self.rooms.lock();
            let Some(rooms) = &mut *rooms else { return };
            if is_empty(&room) && rooms.remove(&room) {
                self.peers.unlisten(&self.namespace, &room);
            }
        }
        if self.seen.swap(raw, Ordering::Relaxed) == raw {
            return;
        }
        let all = all();
        let gone: Vec<Room> = match &*self.rooms.lock() {
            Some(rooms) => rooms.difference(&all).cloned().collect(),
            None => return,
        };
        self.joined(&all.into_iter().collect::<Vec<_>>());
        // Checked once more the next time, when a join under way has ended.
        self.left(gone);
    }
}
