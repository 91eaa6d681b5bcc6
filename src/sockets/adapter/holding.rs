//! A socket that joins a room with a history gets the last events before it gets new ones.
//!
//! From the moment at which it is in the room, new events wait. Then it is listened to the room, and the
//! history is read, in this order, so that an event that is not in the one is in the other. What waits
//! is left out of the history, with everything that its sender has sent to the room behind it, and what
//! the history has is left out when it comes later: it may still be under way from another node. Then
//! what has waited is sent, and everything goes its ordinary way.

use std::sync::Arc;

use futures_util::future::join_all;
use socketioxide_core::{Sid, adapter::Room, packet::Packet};
use tokio::task::JoinHandle;

use super::{
    Adapter,
    hold::{Hold, Join, Turn, Waiting},
    members::{Member, Members},
    reach::Step,
};
use crate::{
    id::SocketId,
    recovery::Position,
    sockets::archive::{Archive, Kept},
};

/// Events of a history that are sent before the client's writer has a turn.
const SENT: usize = 64;

impl Adapter {
    /// A socket is about to join rooms: from now on events to those with a history wait. `since` is the
    /// place in the log.
    pub(super) fn hold_back(
        &self,
        members: &Members,
        sid: Sid,
        rooms: &[Room],
        since: Option<Position>,
    ) {
        let Some(archive) = self.node.archive() else { return };
        let Some(member) = members.get(sid) else { return };
        for room in rooms {
            let count = archive.on_join(room);
            if count > 0 && !members.is_in(sid, room) && !self.node.is_reserved(room) {
                member.reach.hold().begin(Join { room: room.clone(), count, since });
            }
        }
    }

    /// Sends a socket the histories of the rooms that it has just joined, if it is in the namespace
    /// already. The task ends when that is done.
    pub(super) fn bring_history(&self, sid: Sid) -> Option<JoinHandle<()>> {
        let archive = self.node.archive()?;
        let (id, joins) = {
            let members = self.members.read();
            let member = members.get(sid).filter(|member| member.reach.hold().is_on())?;
            if !member.reach.has_entered(Step::Inside) {
                return None;
            }
            (member.id, member.reach.hold().take_begun())
        };
        if joins.is_empty() {
            return None;
        }
        let to = Newcomer { adapter: self.itself()?, archive: archive.clone(), sid, id };
        Some(self.node.tasks.spawn(to.gets_history(joins)))
    }

    /// Decides about an event to a socket with a hold.
    pub(super) fn turn_of(&self, member: &Member, event: &Waiting, is_volatile: bool) -> Turn {
        // Offsets of a log are in one order for all rooms.
        member.reach.hold().turn(event, is_volatile, self.recovers())
    }
}

/// A socket that has joined rooms.
struct Newcomer {
    adapter: Arc<Adapter>,
    archive: Arc<dyn Archive>,
    sid: Sid,
    /// Another socket may have the same connection later.
    id: SocketId,
}

impl Newcomer {
    async fn gets_history(self, joins: Vec<Join>) {
        let rooms: Vec<Room> = joins.iter().map(|join| join.room.clone()).collect();
        self.adapter.settled(&rooms).await;
        let namespace = self.adapter.namespace();
        let read = joins.iter().map(|it| self.archive.last(namespace, &it.room, it.count));
        let histories = join_all(read).await;
        let mut sent = 0;
        for (join, history) in joins.iter().zip(histories) {
            let is_in = self.adapter.is_in(self.sid, &join.room);
            let history = history.filter(|_| is_in).unwrap_or_default();
            let history =
                self.with_hold(|hold| hold.not_yet_sent(&join.room, history)).unwrap_or_default();
            for event in history {
                if sent > 0 && sent % SENT == 0 {
                    let Some(load) = self.adapter.load_of(self.sid) else { return };
                    load.uncrowded().await;
                    tokio::task::yield_now().await;
                }
                self.send(event, join.since);
                sent += 1;
            }
        }
        self.with_hold(|hold| hold.sent(joins.len()));
        let under_way = self.archive.under_way();
        while let Some(waiting) = self.with_hold(|hold| hold.next(under_way))
            && !waiting.is_empty()
        {
            for Waiting { packet, place, .. } in waiting {
                self.adapter.send_to_one(packet, self.sid, false, place);
            }
        }
    }

    fn with_hold<T>(&self, act: impl FnOnce(&Hold) -> T) -> Option<T> {
        let members = self.adapter.members.read();
        let member = members.get(self.sid).filter(|member| member.id == self.id)?;
        Some(act(member.reach.hold()))
    }

    fn send(&self, event: Kept, since: Option<Position>) {
        let adapter = &self.adapter;
        let Ok(value) = event.payload.into_wire(adapter.node.parser()) else { return };
        let value = match (&adapter.recovering, since) {
            (Some(recovering), Some(since)) => recovering.marked_at(value, since),
            _ => value,
        };
        let packet = Packet::event(adapter.local.path().clone(), value);
        let delivered = adapter.send_to_one(packet, self.sid, false, None);
        adapter.count_sent(delivered);
    }
}
