//! Operations on the sockets of this node alone: for other nodes, and for this node's part of an
//! operation on the whole cluster.

use std::{collections::HashSet, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, stream::SelectAll};
use socketioxide::{AckError, SocketError, adapter::Emitter};
use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastOptions, Room, SocketEmitter},
    packet::Packet,
};

use super::{Adapter, recovering::Recovering};
use crate::{
    cluster::message::Description,
    edge::{KillReason, Load},
    names::rooms::AUTHENTICATED,
    payload::Payload,
    recovery::{Change, Position},
};

/// How many sockets are described under one lock.
const DESCRIBED_AT_ONCE: usize = 128;

impl Adapter {
    /// Puts the sockets of this node that `options` select into rooms. `at` is the place of the
    /// message that says so in a log in Redis.
    pub(crate) fn join_here(
        &self,
        options: &BroadcastOptions,
        rooms: &[Room],
        at: Option<Position>,
    ) {
        self.show_all_joining(options, rooms);
        let newcomers = {
            let mut ledger = self.recovering.as_ref().map(Recovering::lock);
            self.note_change(&mut ledger, options, at, || Change::Join(rooms.into()));
            self.kept_join(&mut ledger, options, rooms);
            let selected = self.sids_of(options);
            let mut members = self.members.write();
            let since = ledger.as_ref().map(|ledger| ledger.now());
            for &sid in &selected {
                // A socket that has left meanwhile joins nothing any more. A socket in a namespace
                // without a gateway is not listed.
                if members.has(sid) || !self.has_gateway {
                    self.hold_back(&members, sid, rooms, since);
                    members.join(sid, rooms);
                    self.local.add_all(sid, rooms.to_vec());
                    if let Some(ledger) = &mut ledger {
                        ledger.joined(sid, rooms);
                    }
                }
            }
            selected
        };
        if let Some(interest) = &self.interest {
            interest.joined(rooms);
            // The selection may have been empty.
            interest.left(rooms.iter().cloned());
        }
        if self.node.archive().is_some() {
            newcomers.into_iter().for_each(|sid| _ = self.bring_history(sid));
        }
    }

    /// Takes the sockets of this node that `options` select out of rooms. No socket leaves the
    /// rooms that the server gave it (its own id, its user, `authenticated`): emits of others
    /// depend on them.
    pub(crate) fn leave_here(
        &self,
        options: &BroadcastOptions,
        rooms: &[Room],
        at: Option<Position>,
    ) {
        let belongs_to_the_server = |room: &str| {
            room == AUTHENTICATED
                || self.node.is_user_room(room)
                || self.is_own_room_of_a_socket_here(room)
        };
        let rooms: Vec<Room> =
            rooms.iter().filter(|room| !belongs_to_the_server(room)).cloned().collect();
        self.show_all_leaving(options, &rooms);
        {
            let mut ledger = self.recovering.as_ref().map(Recovering::lock);
            self.note_change(&mut ledger, options, at, || Change::Leave(rooms.clone().into()));
            self.kept_leave(&mut ledger, options, &rooms);
            let selected = self.sids_of(options);
            let mut members = self.members.write();
            for sid in selected {
                if let Some(ledger) = &mut ledger {
                    ledger.left(sid, &rooms);
                }
                members.leave(sid, &rooms);
                self.local.del(sid, rooms.clone());
            }
        }
        self.left(rooms);
    }

    /// Disconnects the sockets of this node that `options` select, and returns their number.
    pub(crate) fn disconnect_here(
        &self,
        options: &BroadcastOptions,
        close_transport: bool,
        at: Option<Position>,
    ) -> usize {
        let sockets = {
            let mut ledger = self.recovering.as_ref().map(Recovering::lock);
            self.note_change(&mut ledger, options, at, || Change::End);
            self.kept_end(&mut ledger, options);
            let sockets = self.sockets_of(options);
            if let Some(ledger) = &mut ledger {
                sockets.iter().for_each(|socket| ledger.end(socket.id));
            }
            sockets
        };
        let (count, this) = (sockets.len(), self.itself());
        for socket in sockets {
            match &this {
                Some(this) => this.disconnect(socket, close_transport),
                None => self.disconnect_now(socket, close_transport),
            }
        }
        count
    }

    /// The sockets of this node that `options` select, described for other nodes. Empty for a
    /// hidden namespace.
    pub(crate) fn describe_here(&self, options: BroadcastOptions) -> Vec<Description> {
        if self.hidden {
            return Vec::new();
        }
        let targets = self.local.sockets(options);
        let mut described = Vec::with_capacity(targets.len());
        // In steps: a socket that enters or leaves meanwhile waits for one step at most.
        for step in targets.chunks(DESCRIBED_AT_ONCE) {
            let found: Vec<_> = {
                let members = self.members.read();
                let found = |&sid: &Sid| Some((sid, members.get(sid)?.described_by.upgrade()?));
                step.iter().filter_map(found).collect()
            };
            // Not under the lock, for reading the rooms takes it again.
            described.extend(found.into_iter().map(|(sid, described_by)| {
                let mut description = described_by.describe();
                description.rooms = self.rooms_of(sid);
                description
            }));
        }
        described
    }

    /// The rooms with members on this node that `options` select.
    pub(crate) fn rooms_here(&self, options: BroadcastOptions) -> HashSet<Room> {
        self.local.rooms(options)
    }

    /// Whether a frame for a room concerns this node. The last member may just have left.
    pub(crate) fn hears_of(&self, room: &str) -> bool {
        match &self.interest {
            Some(interest) => interest.hears_of(room),
            // One pattern brings all rooms, so only the members tell.
            None => self.is_of_interest(room),
        }
    }

    /// Sends an event to sockets of this node and asks each for an acknowledgement. Returns the
    /// stream of acknowledgements, and the number of asked clients.
    pub(crate) fn ask_here(
        self: &Arc<Self>,
        value: Value,
        options: BroadcastOptions,
        timeout: Duration,
    ) -> (impl Stream<Item = Payload> + Send + use<>, usize) {
        self.show_sent(&value, &options);
        let packet = Packet::event(self.local.path().clone(), value);
        let targets = self.local.sockets(options.clone());
        // Clients are read from as long as their answers are awaited.
        let loads = self.count_for_each(&packet, &targets);
        let awaited: Vec<_> = loads.iter().map(Load::await_answer).collect();
        let (acks, asked) = self.ask(&packet, options, &targets, timeout);
        let meters = self.node.meters();
        meters.events_sent.add(asked.into());
        meters.acks_asked.add(asked.into());
        let adapter = self.clone();
        let acks = acks.filter_map(move |(sid, ack)| {
            let _until_dropped = &awaited;
            std::future::ready(adapter.acknowledgement(sid, ack))
        });
        (acks, asked as usize)
    }

    /// Sends an event to one socket of this node that is to be acknowledged under this id. The engine
    /// does not know of it. A socket that has left gets nothing.
    pub(crate) fn ask_by_id(&self, sid: Sid, value: Value, id: i64) {
        let options = BroadcastOptions::new(sid);
        self.show_sent(&value, &options);
        let mut packet = Packet::event(self.local.path().clone(), value);
        packet.inner.set_ack_id(id);
        let Some(load) = self.count_for_each(&packet, &[sid]).pop() else { return };
        let sent = load.through_engine(|| self.local.broadcast(packet, options));
        self.node.meters().events_sent.count();
        self.node.meters().acks_asked.count();
        self.cut_overflown(sent, &[sid]);
    }

    /// Each client that has frames past the engine is asked by itself, so that the question keeps its
    /// place among them.
    fn ask(
        &self,
        packet: &Packet,
        options: BroadcastOptions,
        targets: &[Sid],
        timeout: Duration,
    ) -> (SelectAll<Pin<Box<<Emitter as SocketEmitter>::AckStream>>>, u32) {
        let (mut direct, mut others) = (Vec::new(), Vec::new());
        {
            let members = self.members.read();
            for sid in targets {
                let load = self.loads_of(&members, std::slice::from_ref(sid)).next();
                match load.filter(|load| load.is_direct()) {
                    Some(load) => direct.push((*sid, Arc::clone(load))),
                    None => others.push(*sid),
                }
            }
        }
        let (mut streams, mut asked) = (SelectAll::new(), 0);
        let mut ask = |to: BroadcastOptions| {
            let (acks, count) = self.local.broadcast_with_ack(packet.clone(), to, Some(timeout));
            streams.push(Box::pin(acks));
            asked += count;
        };
        for (sid, load) in &direct {
            load.through_engine(|| ask(BroadcastOptions::new(*sid)));
        }
        if direct.is_empty() {
            ask(options);
        } else {
            others.into_iter().for_each(|sid| ask(BroadcastOptions::new(sid)));
        }
        (streams, asked)
    }

    fn acknowledgement(&self, sid: Sid, ack: Result<Value, AckError>) -> Option<Payload> {
        match ack {
            Ok(value) => match Payload::acknowledged(value) {
                Ok(ack) => {
                    self.node.meters().acks_received.count();
                    return Some(ack);
                }
                // Nobody else can be told that its answer is unreadable.
                Err(error) => {
                    tracing::debug!(%error, "an acknowledgement cannot be read");
                    self.node.transports().kill(sid, KillReason::BadRequest);
                }
            },
            Err(AckError::Socket(SocketError::InternalChannelFull)) => {
                self.node.transports().kill(sid, KillReason::SlowConsumer);
            }
            // The client is gone, or was silent until the end.
            Err(_) => {}
        }
        None
    }
}
