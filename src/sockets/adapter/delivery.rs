//! The last step to the sockets of this node. A message is encoded once. For each client it is
//! counted, and appended to what waits for it at the edge. A client that takes too little is cut
//! off, and a client with waiting packets is skipped by volatile ones.
//!
//! A client that polls or speaks Engine.IO 3 gets its packet through the engine's queue.

use std::{cell::OnceCell, sync::Arc};

use smallvec::SmallVec;
use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastFlags, BroadcastOptions, Room},
    packet::Packet,
    parser::Parse,
};

use super::{
    Adapter,
    hold::{Turn, Waiting},
    members::Member,
    reach::Step,
};
use crate::{
    edge::{Frame, KillReason, Load, Sent},
    id::SocketId,
    recovery::{EventId, Position},
};

/// The outcome of an event on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// The number of its target sockets.
    pub(crate) meant: usize,
    /// The number of sockets whose queue has taken it.
    pub(crate) queued: usize,
}

impl Delivered {
    /// Notes the fate of an event to a socket that waits for a history. Returns whether it is to be sent
    /// now.
    fn note(&mut self, sid: Sid, turn: Turn, cut: &mut ToCut) -> bool {
        match turn {
            Turn::Now => return true,
            // It will be sent.
            Turn::Waits => self.queued += 1,
            Turn::Never => {}
            Turn::TooMuch => cut.full.push(sid),
        }
        false
    }
}

/// Clients that are cut after a delivery.
#[derive(Default)]
pub(super) struct ToCut {
    /// Clients for which too much waits.
    pub(super) full: SmallVec<[Sid; 4]>,
    pub(super) is_node_full: bool,
}

impl ToCut {
    /// Notes the fate of a frame for a client. Returns whether it is on its way.
    fn note(&mut self, sid: Sid, sent: Sent) -> bool {
        match sent {
            Sent::Full => self.full.push(sid),
            Sent::NodeFull => self.is_node_full = true,
            _ => {}
        }
        matches!(sent, Sent::Appended | Sent::NodeFull)
    }
}

impl Adapter {
    /// The socket's CONNECT is next, with this id. From now on packets come to it after that.
    pub(crate) fn admits(&self, sid: Sid, id: SocketId) {
        let pid = self.pid_of(sid).map(|pid| pid.reveal().into());
        self.node.transports().admit_as(sid, self.namespace(), id, pid);
        if let Some(member) = self.members.read().get(sid) {
            member.reach.enters(Step::AtTheDoor);
        }
    }

    /// The socket is in the namespace now, and packets reach it.
    pub(crate) fn admitted(&self, sid: Sid) {
        self.node.transports().joined(sid);
        if let Some(member) = self.members.read().get(sid) {
            member.reach.enters(Step::Inside);
            // The reason for a cut is found there later, when the transport is unknown already.
            member.reach.load(sid, self.node.transports());
        }
        // Of rooms that it has joined on its way.
        self.bring_history(sid);
    }

    /// Whether events pass this socket by. Without recovery nobody has to look.
    fn is_gated(&self, sid: Sid) -> bool {
        let is_gated = || self.members.read().get(sid).is_some_and(|it| it.reach.is_gated());
        self.recovers() && is_gated()
    }

    /// What waits because of a socket's client, see [`Transports::load`].
    pub(crate) fn load_of(&self, sid: Sid) -> Option<Arc<Load>> {
        self.node.transports().load(sid)
    }

    /// Delivers to sockets of this node. A socket for which too much waits is cut off at the
    /// transport: a packet is never silently missing from an open connection. A volatile packet
    /// skips sockets with waiting packets, and never overtakes these.
    pub(super) fn deliver(&self, packet: Packet, options: BroadcastOptions) -> Delivered {
        self.deliver_at(packet, options, None, None)
    }

    /// [`deliver`](Self::deliver) for an event with a place in the log, or with a name among all nodes.
    pub(super) fn deliver_at(
        &self,
        packet: Packet,
        options: BroadcastOptions,
        place: Option<Position>,
        id: Option<EventId>,
    ) -> Delivered {
        let is_volatile = options.has_flag(BroadcastFlags::Volatile);
        let is_broadcast = options.has_flag(BroadcastFlags::Broadcast);
        if let (Some(sid), true, false) = (options.sid, options.rooms.is_empty(), is_broadcast) {
            return match self.is_gated(sid) {
                true => Delivered::default(),
                false => self.deliver_to_one(packet, sid, is_volatile, (place, id), &[]),
            };
        }
        let options = if is_volatile { not_volatile(options) } else { options };
        // Without a gateway no socket is listed.
        if !self.has_gateway {
            let targets = self.local.sockets(options.clone());
            return self.deliver_by_engine(packet, options, &targets, is_volatile);
        }
        let (frame, waiting) = (OnceCell::new(), OnceCell::new());
        let mut delivered = Delivered::default();
        let mut cut = ToCut::default();
        let mut by_engine: SmallVec<[Sid; 8]> = SmallVec::new();
        let mut rooms = Vec::new();
        {
            let members = self.members.read();
            let targets = self.select(&members, &options);
            delivered.meant = targets.len();
            for slot in &*targets {
                let member = members.at(*slot);
                // Its replay brings it.
                if member.reach.is_gated() {
                    continue;
                }
                if member.reach.hold().is_on() {
                    let event = waiting.get_or_init(|| Waiting {
                        packet: packet.clone(),
                        rooms: options.rooms.iter().cloned().collect(),
                        place,
                        id,
                    });
                    let turn = self.turn_of(member, event, is_volatile);
                    if !delivered.note(member.sid, turn, &mut cut) {
                        continue;
                    }
                }
                if let Some(place) = place {
                    member.reach.sends(place);
                }
                match self.send(member, &packet, &frame, targets.len(), is_volatile) {
                    Sent::ThroughEngine => by_engine.push(member.sid),
                    sent => delivered.queued += usize::from(cut.note(member.sid, sent)),
                }
            }
            // Others get it past the engine, so the engine gets these by name.
            if by_engine.len() < targets.len() {
                let ids = by_engine.iter().filter_map(|sid| members.id_of(*sid));
                rooms.extend(ids.map(|id| Room::Owned(id.as_str().to_owned())));
            }
        }
        self.cut(&cut);
        if !by_engine.is_empty() {
            let to = match rooms.is_empty() {
                true => options,
                false => {
                    let mut to = BroadcastOptions::default();
                    to.rooms.extend(rooms);
                    to
                }
            };
            let rest = self.deliver_by_engine(packet, to, &by_engine, is_volatile);
            delivered.queued += rest.queued;
        }
        delivered
    }

    /// Appends a message to what waits for one client, if it is not one of the engine's.
    fn send(
        &self,
        member: &Member,
        packet: &Packet,
        frame: &OnceCell<Frame>,
        targets: usize,
        is_volatile: bool,
    ) -> Sent {
        let Some(load) = member.reach.load(member.sid, self.node.transports()) else {
            return Sent::ThroughEngine;
        };
        if !load.is_direct() {
            return Sent::ThroughEngine;
        }
        // The engine would deliver as soon as it has the socket, which may be before its CONNECT.
        if !member.reach.has_entered(Step::AtTheDoor) {
            return Sent::Gone;
        }
        let frame = frame.get_or_init(|| self.frame_of(packet));
        load.send(frame, targets, is_volatile, |fence| {
            let socket = member.socket.upgrade();
            socket.is_some_and(|socket| socket.emit(fence.marker(), &()).is_ok())
        })
    }

    fn frame_of(&self, packet: &Packet) -> Frame {
        match self.local.parser().encode(packet.clone()) {
            Value::Str(text, None) => Frame::text(&text, &[]),
            Value::Str(text, Some(attachments)) => Frame::text(&text, &Vec::from(attachments)),
            Value::Bytes(bytes) => Frame::binary(&bytes),
        }
    }

    /// [`deliver_at`](Self::deliver_at) for one socket, of an event to these rooms.
    pub(super) fn deliver_to_one(
        &self,
        packet: Packet,
        sid: Sid,
        is_volatile: bool,
        (place, id): (Option<Position>, Option<EventId>),
        rooms: &[Room],
    ) -> Delivered {
        // Without an archive no socket waits for a history.
        if self.node.archive().is_none() {
            return self.send_to_one(packet, sid, is_volatile, place);
        }
        let (mut delivered, mut cut) = (Delivered { meant: 1, queued: 0 }, ToCut::default());
        let is_now = {
            let members = self.members.read();
            let held = members.get(sid).filter(|member| member.reach.hold().is_on());
            held.is_none_or(|member| {
                let rooms = rooms.iter().cloned().collect();
                let event = Waiting { packet: packet.clone(), rooms, place, id };
                let turn = self.turn_of(member, &event, is_volatile);
                delivered.note(sid, turn, &mut cut)
            })
        };
        if is_now {
            return self.send_to_one(packet, sid, is_volatile, place);
        }
        self.cut(&cut);
        delivered
    }

    /// Delivers to one socket, whatever waits for it.
    pub(super) fn send_to_one(
        &self,
        packet: Packet,
        sid: Sid,
        is_volatile: bool,
        place: Option<Position>,
    ) -> Delivered {
        let sent = {
            let members = self.members.read();
            let member = members.get(sid);
            if let (Some(member), Some(place)) = (member, place) {
                member.reach.sends(place);
            }
            member.map(|member| self.send(member, &packet, &OnceCell::new(), 1, is_volatile))
        };
        let Some(sent) = sent.filter(|sent| *sent != Sent::ThroughEngine) else {
            return self.deliver_by_engine(packet, BroadcastOptions::new(sid), &[sid], is_volatile);
        };
        let mut cut = ToCut::default();
        let queued = cut.note(sid, sent);
        self.cut(&cut);
        Delivered { meant: 1, queued: usize::from(queued) }
    }

    pub(super) fn cut(&self, cut: &ToCut) {
        let transports = self.node.transports();
        for sid in &cut.full {
            transports.kill(*sid, KillReason::SlowConsumer);
        }
        if cut.is_node_full {
            transports.relieve();
        }
    }
}

/// Removes the volatile flag. The engine handles volatile packets beside its queue, where they
/// overtake earlier packets, or arrive late.
fn not_volatile(options: BroadcastOptions) -> BroadcastOptions {
    let mut same = BroadcastOptions::default();
    for flag in [BroadcastFlags::Local, BroadcastFlags::Broadcast] {
        if options.has_flag(flag) {
            same.add_flag(flag);
        }
    }
    let BroadcastOptions { rooms, except, sid, server_id, .. } = options;
    (same.rooms, same.except, same.sid, same.server_id) = (rooms, except, sid, server_id);
    same
}
