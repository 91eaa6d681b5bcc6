//! The last step to the sockets of this node. A packet is counted for each client before it is
//! queued. A client that takes too little is cut off, and a client with waiting packets is skipped
//! by volatile ones.

use std::sync::{Arc, atomic::Ordering};

use serde::{Serialize, Serializer};
use smallvec::SmallVec;
use socketioxide::{SendError, SocketError, socket::Socket as RawSocket};
use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastFlags, BroadcastOptions, Room},
    packet::{Packet, PacketData},
};

use super::{Adapter, members::Members};
use crate::{
    edge::{KillReason, Load, Room as Space, Size},
    id::SocketId,
};

/// The outcome of an event on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// The number of its target sockets.
    pub(crate) meant: usize,
    /// The number of sockets whose queue has taken it.
    pub(crate) queued: usize,
}

/// The outcome of counting a packet for its target clients.
#[derive(Default)]
struct Counted {
    /// The number of clients that get it.
    fit: usize,
    /// Clients for which too much waits.
    full: SmallVec<[Sid; 4]>,
    /// Clients that are not ready for a volatile packet.
    busy: SmallVec<[SocketId; 4]>,
    is_node_full: bool,
}

impl Counted {
    /// The number of clients that have it after sending.
    fn queued(&self, sent: &Result<(), Vec<SocketError>>) -> usize {
        let failed = sent.as_ref().err().map_or(0, Vec::len);
        self.fit.saturating_sub(failed)
    }
}

impl Adapter {
    /// The socket is in the namespace now, and packets reach it.
    pub(crate) fn admitted(&self, sid: Sid) {
        self.context.transports().joined(sid);
        if let Some(member) = self.members.read().get(sid) {
            member.reach.is_inside.store(true, Ordering::Release);
        }
    }

    /// What waits because of a socket's client, see [`Transports::load`].
    pub(crate) fn load_of(&self, sid: Sid) -> Option<Arc<Load>> {
        self.context.transports().load(sid)
    }

    /// Delivers to sockets of this node. A socket for which too much waits is cut off at the
    /// transport: a packet is never silently missing from an open connection. A volatile packet
    /// skips sockets with waiting packets, and never overtakes these.
    pub(super) fn deliver(&self, packet: Packet, options: BroadcastOptions) -> Delivered {
        let is_volatile = options.has_flag(BroadcastFlags::Volatile);
        let is_broadcast = options.has_flag(BroadcastFlags::Broadcast);
        if let (Some(sid), true, false) = (options.sid, options.rooms.is_empty(), is_broadcast) {
            return self.deliver_to_one(packet, sid, is_volatile);
        }
        let mut options = if is_volatile { not_volatile(options) } else { options };
        let targets = self.local.sockets(options.clone());
        if targets.is_empty() {
            return Delivered::default();
        }
        let size = size_of(&packet);
        let counted = self.count(&targets, size, is_volatile);
        options.except.extend(counted.busy.iter().map(|id| Room::Owned(id.as_str().to_owned())));
        let sent = self.local.broadcast(packet, options);
        let delivered = Delivered { meant: targets.len(), queued: counted.queued(&sent) };
        self.cut(&counted, sent, &targets);
        delivered
    }

    /// [`deliver`](Self::deliver) for one socket.
    pub(super) fn deliver_to_one(&self, packet: Packet, sid: Sid, is_volatile: bool) -> Delivered {
        let counted = self.count(&[sid], size_of(&packet), is_volatile);
        if !counted.busy.is_empty() {
            return Delivered { meant: 1, queued: 0 };
        }
        let sent = self.local.broadcast(packet, BroadcastOptions::new(sid));
        let delivered = Delivered { meant: 1, queued: counted.queued(&sent) };
        self.cut(&counted, sent, &[sid]);
        delivered
    }

    fn count(&self, targets: &[Sid], size: Size, is_volatile: bool) -> Counted {
        let mut counted = Counted::default();
        let (members, transports) = (self.members.read(), self.context.transports());
        for sid in targets {
            let Some(member) = members.get(*sid) else {
                // Without a gateway no socket is listed.
                counted.fit += usize::from(!self.has_gateway);
                continue;
            };
            let Some(load) = member.reach.load(*sid, transports) else { continue };
            if is_volatile && !load.is_ready() {
                counted.busy.push(member.id);
                continue;
            }
            match load.submit(size, targets.len()) {
                Space::Full => counted.full.push(*sid),
                Space::Enough => counted.fit += 1,
                Space::NodeFull => {
                    counted.fit += 1;
                    counted.is_node_full = true;
                }
            }
        }
        counted
    }

    /// Counts a packet for each socket that `options` select, and returns their loads.
    pub(super) fn count_for_each(
        &self,
        packet: &Packet,
        options: BroadcastOptions,
    ) -> Vec<Arc<Load>> {
        let targets = self.local.sockets(options);
        let counted = self.count(&targets, size_of(packet), false);
        self.cut(&counted, Ok(()), &targets);
        self.loads_of(&self.members.read(), &targets).cloned().collect()
    }

    fn loads_of<'a>(
        &'a self,
        members: &'a Members,
        targets: &'a [Sid],
    ) -> impl Iterator<Item = &'a Arc<Load>> {
        let load = |sid: &Sid| members.get(*sid)?.reach.load(*sid, self.context.transports());
        targets.iter().filter_map(load)
    }

    fn cut(&self, counted: &Counted, sent: Result<(), Vec<SocketError>>, targets: &[Sid]) {
        let transports = self.context.transports();
        for sid in &counted.full {
            transports.kill(*sid, KillReason::SlowConsumer);
        }
        if counted.is_node_full {
            transports.relieve();
        }
        let is_full = |error: &SocketError| matches!(error, SocketError::InternalChannelFull);
        if sent.is_err_and(|errors| errors.iter().any(is_full)) {
            self.cut_slow(targets);
        }
    }

    /// The errors of a broadcast carry no ids. So each target with waiting packets is asked whether
    /// its queue is full.
    #[cold]
    fn cut_slow(&self, targets: &[Sid]) {
        let transports = self.context.transports();
        let suspects: Vec<_> = {
            let members = self.members.read();
            let suspect = |sid: &Sid| {
                let member = members.get(*sid)?;
                let waits =
                    member.reach.load(*sid, transports).is_none_or(|load| load.is_waited_for());
                waits.then(|| member.socket.upgrade()).flatten()
            };
            targets.iter().filter_map(suspect).collect()
        };
        for socket in suspects.iter().filter(|socket| is_queue_full(socket)) {
            transports.kill(socket.id, KillReason::SlowConsumer);
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

/// The size of a packet on its way to a client, but for a few bytes.
fn size_of(packet: &Packet) -> Size {
    let (value, ack_id) = match &packet.inner {
        PacketData::Event(value, id) | PacketData::BinaryEvent(value, id) => (value, *id),
        PacketData::EventAck(value, id) | PacketData::BinaryAck(value, id) => (value, Some(*id)),
        _ => return Size { packets: 1, bytes: 2 },
    };
    let digits = |number: i64| number.checked_ilog10().unwrap_or(0) as usize + 1;
    let id = ack_id.map_or(0, digits);
    let namespace = if *packet.ns == *"/" { 0 } else { packet.ns.len() + 1 };
    match value {
        Value::Str(text, attachments) => {
            let attachments = attachments.iter().flatten();
            let (count, bytes) =
                attachments.fold((0, 0), |(count, bytes), it| (count + 1, bytes + it.len()));
            let prefix = if count > 0 { 2 + digits(count as i64) + 1 } else { 2 };
            Size { packets: 1 + count, bytes: prefix + namespace + id + text.len() + bytes }
        }
        // {type, nsp, data}
        Value::Bytes(data) => Size { packets: 1, bytes: 18 + namespace + id + data.len() },
    }
}

/// Whether the socket's queue is full, without sending anything. `emit` reserves a place in the
/// queue before it serializes, and gives it back when that fails.
fn is_queue_full(socket: &RawSocket<Adapter>) -> bool {
    struct Unserializable;
    impl Serialize for Unserializable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("a probe, never sent"))
        }
    }
    let probe = socket.emit("", &Unserializable);
    matches!(probe, Err(SendError::Socket(SocketError::InternalChannelFull)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use socketioxide_core::parser::Parse;
    use socketioxide_parser_common::CommonParser;

    use super::*;

    fn on_the_wire(packet: Packet) -> Size {
        match CommonParser.encode(packet) {
            Value::Str(text, attachments) => {
                let attachments = attachments.unwrap_or_default();
                let bytes: usize = attachments.iter().map(Bytes::len).sum();
                // and the type of Engine.IO
                Size { packets: 1 + attachments.len(), bytes: 1 + text.len() + bytes }
            }
            Value::Bytes(_) => Size::default(),
        }
    }

    #[test]
    fn a_packet_is_counted_as_what_it_is_on_the_wire() {
        let text = |text: &'static str| Value::Str(text.into(), None);
        let attached = |count: usize| {
            let attachments = std::iter::repeat_n(Bytes::from_static(b"12345"), count).collect();
            Value::Str("[\"x\"]".into(), Some(attachments))
        };
        for packet in [
            Packet::event("/", text("[\"x\",1]")),
            Packet::event("/chat", text("[\"x\",1]")),
            Packet::ack("/", text("[1]"), 0),
            Packet::ack("/chat", text("[1]"), 12_345),
            Packet::event("/", attached(1)),
            Packet::event("/chat", attached(12)),
            Packet::ack("/", attached(3), 7),
        ] {
            let counted = size_of(&packet);
            assert_eq!(counted, on_the_wire(packet.clone()), "{packet:?}");
        }
    }
}
