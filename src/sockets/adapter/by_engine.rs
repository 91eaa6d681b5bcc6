//! Packets that go through the engine's queue: to clients that poll or speak Engine.IO 3, and to
//! namespaces without a gateway. They are counted before they are queued.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use smallvec::SmallVec;
use socketioxide::{SendError, SocketError, socket::Socket as RawSocket};
use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastFlags, BroadcastOptions, Room},
    packet::{Packet, PacketData},
};

use super::{
    Adapter,
    delivery::{Delivered, ToCut},
    members::Members,
    reach::Step,
};
use crate::{
    edge::{KillReason, Load, Room as Space, Size},
    id::SocketId,
};

/// The outcome of counting a packet for its target clients.
#[derive(Default)]
struct Counted {
    /// The number of clients that get it.
    fit: usize,
    /// Clients that are not ready for a volatile packet.
    busy: SmallVec<[SocketId; 4]>,
    cut: ToCut,
}

impl Counted {
    /// The number of clients that have it after sending.
    fn queued(&self, sent: &Result<(), Vec<SocketError>>) -> usize {
        let failed = sent.as_ref().err().map_or(0, Vec::len);
        self.fit.saturating_sub(failed)
    }
}

impl Adapter {
    /// Queues a packet in the engine for `targets`, which are those that `options` select.
    pub(super) fn deliver_by_engine(
        &self,
        packet: Packet,
        mut options: BroadcastOptions,
        targets: &[Sid],
        is_volatile: bool,
    ) -> Delivered {
        if targets.is_empty() {
            return Delivered::default();
        }
        let counted = self.count(targets, size_of(&packet), is_volatile);
        let mut sent = Ok(());
        if options.rooms.is_empty() && !options.has_flag(BroadcastFlags::Broadcast) {
            // Exceptions mean nothing for a single socket.
            if counted.busy.is_empty() {
                sent = self.local.broadcast(packet, options);
            }
        } else {
            let busy = counted.busy.iter().map(|id| Room::Owned(id.as_str().to_owned()));
            options.except.extend(busy);
            sent = self.local.broadcast(packet, options);
        }
        // A client may have left polling meanwhile. Later packets stay behind this one.
        {
            let members = self.members.read();
            self.loads_of(&members, targets).for_each(|load| load.through_engine(|| ()));
        }
        let delivered = Delivered { meant: targets.len(), queued: counted.queued(&sent) };
        self.cut(&counted.cut);
        self.cut_overflown(sent, targets);
        delivered
    }

    fn count(&self, targets: &[Sid], size: Size, is_volatile: bool) -> Counted {
        let mut counted = Counted::default();
        let (members, transports) = (self.members.read(), self.node.transports());
        for sid in targets {
            let Some(member) = members.get(*sid) else {
                // Without a gateway no socket is listed.
                counted.fit += usize::from(!self.has_gateway);
                continue;
            };
            if !member.reach.has_entered(Step::Inside) {
                continue;
            }
            let Some(load) = member.reach.load(*sid, transports) else { continue };
            if is_volatile && !load.is_ready() {
                counted.busy.push(member.id);
                continue;
            }
            match load.submit(size, targets.len()) {
                Space::Full => counted.cut.full.push(*sid),
                Space::Enough => counted.fit += 1,
                Space::NodeFull => {
                    counted.fit += 1;
                    counted.cut.is_node_full = true;
                }
            }
        }
        counted
    }

    /// Counts a packet for each of these sockets, and returns their loads.
    pub(super) fn count_for_each(&self, packet: &Packet, targets: &[Sid]) -> Vec<Arc<Load>> {
        let counted = self.count(targets, size_of(packet), false);
        self.cut(&counted.cut);
        self.loads_of(&self.members.read(), targets).cloned().collect()
    }

    /// The loads of those that are in the namespace.
    pub(super) fn loads_of<'a>(
        &'a self,
        members: &'a Members,
        targets: &'a [Sid],
    ) -> impl Iterator<Item = &'a Arc<Load>> {
        let load = |sid: &Sid| {
            let reach = &members.get(*sid)?.reach;
            let load = reach.load(*sid, self.node.transports());
            load.filter(|_| reach.has_entered(Step::Inside))
        };
        targets.iter().filter_map(load)
    }

    /// Cuts the clients whose queue in the engine is full.
    pub(super) fn cut_overflown(&self, sent: Result<(), Vec<SocketError>>, targets: &[Sid]) {
        let is_full = |error: &SocketError| matches!(error, SocketError::InternalChannelFull);
        if sent.is_err_and(|errors| errors.iter().any(is_full)) {
            self.cut_slow(targets);
        }
    }

    /// The errors of a broadcast carry no ids. So each target with waiting packets is asked whether
    /// its queue is full.
    #[cold]
    fn cut_slow(&self, targets: &[Sid]) {
        let transports = self.node.transports();
        let suspects: Vec<_> = {
            let members = self.members.read();
            let suspect = |sid: &Sid| {
                let member = members.get(*sid)?;
                let load = member.reach.load(*sid, transports);
                let waits = load.is_none_or(|load| load.is_waited_for());
                waits.then(|| member.socket.upgrade()).flatten()
            };
            targets.iter().filter_map(suspect).collect()
        };
        for socket in suspects.iter().filter(|socket| is_queue_full(socket)) {
            transports.kill(socket.id, KillReason::SlowConsumer);
        }
    }
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
