//! Sockets come into the namespace and leave it, and so they do with rooms. Recovery's ledger, the
//! list of members and socketioxide's own list change in one step; then the other nodes' messages to
//! these rooms are listened to, or no longer.

use std::sync::{Arc, Weak};

use socketioxide::{ProtocolVersion, socket::Socket as RawSocket};
use socketioxide_core::{Sid, adapter::Room};
use tokio::task::JoinHandle;

use super::{Adapter, Describe, NewSession, recovering::Recovering};
use crate::{cluster::message::Selection, id::SocketId, sockets::record::SocketRecord};

impl Adapter {
    /// Puts a socket of this node into rooms. Emits of this node reach it from now on, those of
    /// others once [`settled`](Self::settled) has ended. If the rooms have a history, the task that
    /// brings it.
    pub(crate) fn join(&self, sid: Sid, rooms: &[Room]) -> Option<JoinHandle<()>> {
        {
            let mut ledger = self.recovering.as_ref().map(Recovering::lock);
            // Under the lock that `exit` takes: a socket that has left joins nothing any more.
            let mut members = self.members.write();
            if !members.has(sid) {
                return None;
            }
            self.hold_back(&members, sid, rooms, ledger.as_ref().map(|ledger| ledger.now()));
            members.join(sid, rooms);
            self.local.add_all(sid, rooms.to_vec());
            if let Some(ledger) = &mut ledger {
                ledger.joined(sid, rooms);
            }
        }
        self.show_joined(sid, rooms);
        if let Some(interest) = &self.interest {
            interest.joined(rooms);
        }
        self.bring_history(sid)
    }

    pub(crate) fn leave(&self, sid: Sid, room: Room) {
        self.show_leaving(sid, &room);
        {
            let mut ledger = self.recovering.as_ref().map(Recovering::lock);
            let mut members = self.members.write();
            members.leave(sid, std::slice::from_ref(&room));
            self.local.del(sid, room.clone());
            if let Some(ledger) = &mut ledger {
                ledger.left(sid, std::slice::from_ref(&room));
            }
        }
        self.left([room]);
    }

    pub(super) fn left(&self, rooms: impl IntoIterator<Item = Room>) {
        if let Some(interest) = &self.interest {
            interest.left(rooms);
        }
    }

    /// Ends when the node hears of these joined rooms, or when the link is down; at the latest
    /// after `redis.request_timeout`, so that a Redis that hangs does not hold up sockets for ever.
    pub(crate) async fn settled(&self, rooms: &[Room]) {
        if let (Some(peers), Some(_)) = (&self.peers, &self.interest) {
            peers.settled(self.namespace(), rooms).await;
        }
    }

    /// Lists a socket that is about to enter. `false`: the session to which it comes back has just
    /// been ended.
    pub(crate) fn enter(
        &self,
        socket: &Arc<RawSocket<Adapter>>,
        id: SocketId,
        described_by: Weak<dyn Describe>,
        session: Option<NewSession>,
    ) -> bool {
        let has_begun = {
            let ledger = self.recovering.as_ref().map(Recovering::lock);
            {
                let mut members = self.members.write();
                if members.enter(socket, id, described_by) {
                    self.local.del_all(socket.id);
                }
            }
            match (ledger, session) {
                (Some(mut ledger), Some(session)) => {
                    self.begin_session(&mut ledger, socket.id, session)
                }
                _ => true,
            }
        };
        self.open();
        if let Some(interest) = &self.interest
            && socket.protocol() == ProtocolVersion::V4
        {
            interest.joined(&[self.name_by_connection(socket.id)]);
        }
        has_begun
    }

    /// Forgets a socket and its rooms. Another socket that has taken its id since stays. Its
    /// session is kept for its client, if there is a `record` to keep.
    pub(crate) fn exit(
        &self,
        sid: Sid,
        socket: &Weak<RawSocket<Adapter>>,
        rooms: &[Room],
        record: Option<SocketRecord>,
    ) {
        let (member, is_kept) = {
            let ledger = self.recovering.as_ref().map(Recovering::lock);
            let member = {
                let mut members = self.members.write();
                let member = members.exit(sid, socket);
                if member.is_some() {
                    self.local.del_all(sid);
                }
                member
            };
            let is_kept = match (ledger, &member) {
                (Some(mut ledger), Some(member)) => {
                    let record = record.filter(|_| member.reach.may_return());
                    self.end_session(&mut ledger, sid, record, member.reach.last())
                }
                _ => false,
            };
            (member, is_kept)
        };
        if let Some(interest) = &self.interest {
            if !is_kept {
                interest.left(rooms.iter().cloned());
            }
            if member.is_some_and(|member| member.is_known_by_connection) {
                interest.left([self.name_by_connection(sid)]);
            }
        }
    }

    pub(super) fn look_after_interest(&self) {
        if let Some(interest) = &self.interest {
            let all = || {
                let mut all = self.rooms_here(Selection::default().into());
                all.extend(self.kept_rooms());
                all
            };
            let is_empty = |room: &Room| !self.is_of_interest(room);
            interest.look_after(self.raw.count(), is_empty, all);
        }
    }
}
