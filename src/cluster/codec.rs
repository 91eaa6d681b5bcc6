//! The vocabulary as bytes: the formats of `@socket.io/redis-adapter`, classic and sharded.
//!
//! Pure: bytes and channel names in, messages out, and back. Strict in what it writes, because a
//! wrong message stops a Node.js node; lenient in what it reads, because anybody who reaches Redis
//! can publish.

mod classic;
mod fields;
mod sharded;
#[cfg(test)]
mod tests;
mod value;

use bytes::Bytes;
use socketioxide_core::Value;

pub(crate) use fields::{read_room, write_room};
pub(crate) use value::event_to_packet;

use super::{
    broker::{Channel, Topic},
    message::{Envelope, Event, Flags, Message, Selection},
};
use crate::{
    config::WireProtocol,
    msgpack,
    packet::{MAX_DEPTH, ReadError},
    payload::from_packet,
};

/// Why a frame is not a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Neither of the encodings, or cut short.
    #[error("it is neither JSON nor MessagePack")]
    Malformed,
    /// What its values are made of.
    #[error(transparent)]
    Values(#[from] ReadError),
    /// A member that the message cannot be without.
    #[error("its member `{0}` is missing or has the wrong type")]
    Member(&'static str),
    /// An event that no client may get: it would drop its connection.
    #[error("its event has a name that Socket.IO keeps for itself, or none")]
    EventName,
    /// A newer node may speak.
    #[error("type {0} is unknown")]
    UnknownType(i64),
}

/// Why a message cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    /// The packet is not one.
    #[error("the packet cannot be read")]
    Packet(#[source] ReadError),
    /// This wire format has no words for it.
    #[error("the wire format has no such message")]
    NotInThisFormat,
}

/// How deep a frame may be nested: as deep as an event, and what is around it.
const FRAME_DEPTH: usize = MAX_DEPTH + 8;

/// The name of an event, the rest of which is not read.
pub(crate) fn event_name(event: &Event) -> Option<&str> {
    match event {
        Event::Values(values) => values.first()?.as_str(),
        Event::Encoded(bytes) => msgpack::first_text(bytes),
    }
}

/// How this node writes and reads.
#[derive(Debug)]
pub(crate) struct Wire {
    format: Format,
    prefix: Box<str>,
    node: Box<str>,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Classic,
    Sharded {
        /// Whether a broadcast to one room goes to the channel of the room, as Node.js does it in
        /// its dynamic modes. If not, everything is on the common channel, which is always safe.
        rooms: bool,
    },
}

/// A channel and what to publish on it.
pub(crate) type Frame = (Channel, Vec<u8>);

impl Wire {
    /// `node` names this node on the wire; any text does. `rooms`: see [`Format::Sharded`].
    pub(crate) fn new(protocol: WireProtocol, prefix: &str, node: &str, rooms: bool) -> Self {
        let format = match protocol {
            WireProtocol::Sharded => Format::Sharded { rooms },
            // Streams are refused by the configuration.
            WireProtocol::Classic | WireProtocol::Streams => Format::Classic,
        };
        Self { format, prefix: prefix.into(), node: node.into() }
    }

    /// What a node listens to for as long as it serves a namespace; with `all`, every room too.
    pub(crate) fn topics(&self, namespace: &str, all: bool) -> Vec<Topic> {
        let common: Channel = format!("{}#{namespace}#", self.prefix).into();
        let mut topics = self.answer_topics(namespace);
        match self.format {
            Format::Classic => {
                topics.push(if all { Topic::Prefix(common) } else { Topic::Channel(common) });
                // The last: whoever is counted here has to hear everything else.
                topics.push(Topic::Channel(self.counted(namespace)));
            }
            Format::Sharded { .. } => topics.push(Topic::Channel(common)),
        }
        topics
    }

    /// Where answers to this node's questions come in.
    pub(crate) fn answer_topics(&self, namespace: &str) -> Vec<Topic> {
        let own = Topic::Channel(self.own_channel(namespace, &self.node));
        match self.format {
            Format::Classic => {
                let all = format!("{}-response#{namespace}#", self.prefix);
                vec![Topic::Channel(all.into()), own]
            }
            Format::Sharded { .. } => vec![own],
        }
    }

    /// Whether what comes on a channel are answers to questions.
    pub(crate) fn carries_answers(&self, channel: &str) -> bool {
        match self.format {
            Format::Classic => channel
                .strip_prefix(&*self.prefix)
                .is_some_and(|rest| rest.starts_with("-response#")),
            // The channel of this node alone.
            Format::Sharded { .. } => channel
                .strip_suffix('#')
                .and_then(|rest| rest.strip_suffix(&*self.node))
                .is_some_and(|rest| rest.ends_with('#')),
        }
    }

    /// The channel of a room.
    pub(crate) fn room_channel(&self, namespace: &str, room: &str) -> Channel {
        let room = fields::room_text(room);
        format!("{}#{namespace}#{room}#", self.prefix).into()
    }

    /// The channel whose listeners are the nodes that serve the namespace.
    pub(crate) fn counted(&self, namespace: &str) -> Channel {
        match self.format {
            Format::Classic => format!("{}-request#{namespace}#", self.prefix).into(),
            Format::Sharded { .. } => format!("{}#{namespace}#", self.prefix).into(),
        }
    }

    /// The channel that only this node listens to.
    pub(crate) fn own_channel(&self, namespace: &str, node: &str) -> Channel {
        match self.format {
            Format::Classic => format!("{}-response#{namespace}#{node}#", self.prefix).into(),
            Format::Sharded { .. } => format!("{}#{namespace}#{node}#", self.prefix).into(),
        }
    }

    /// The namespaces that a channel can belong to. More than one if there is a `#` in the name of
    /// the namespace or of the room; the caller knows which one it serves.
    pub(crate) fn namespaces<'a>(
        &self,
        channel: &'a str,
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        let rest = channel.strip_prefix(&*self.prefix).unwrap_or_default();
        let rest = ["-request", "-response"]
            .into_iter()
            .find_map(|kind| rest.strip_prefix(kind))
            .unwrap_or(rest);
        let rest = rest.strip_prefix('#').unwrap_or_default();
        rest.match_indices('#').map(|(at, _)| &rest[..at])
    }

    /// Writes a message. `asker` is the node whose question an answer answers.
    ///
    /// # Errors
    /// If the format has no such message.
    pub(crate) fn encode(
        &self,
        namespace: &str,
        message: &Message,
        asker: Option<&str>,
    ) -> Result<Frame, EncodeError> {
        match self.format {
            Format::Classic => Ok(classic::encode(self, namespace, message)),
            Format::Sharded { rooms } => sharded::encode(self, namespace, message, asker, rooms),
        }
    }

    /// Writes a broadcast of a packet as clients get it; the way that most messages go.
    ///
    /// # Errors
    /// If the packet is malformed.
    pub(crate) fn encode_broadcast(
        &self,
        namespace: &str,
        packet: &Value,
        to: &Selection,
        flags: Flags,
    ) -> Result<Frame, EncodeError> {
        match self.format {
            Format::Classic => classic::broadcast(self, namespace, packet, to, flags),
            Format::Sharded { rooms } => {
                let event = from_packet(packet).map_err(EncodeError::Packet)?;
                Ok(sharded::broadcast(self, namespace, &event, to, flags, rooms))
            }
        }
    }

    /// Reads a frame. None: nothing for this node, such as its own echo, or a message to a room
    /// that `wants` does not want; such a frame is not even decoded.
    ///
    /// # Errors
    /// If it makes no sense.
    pub(crate) fn decode(
        &self,
        namespace: &str,
        channel: &str,
        frame: &Bytes,
        wants: &dyn Fn(&str) -> bool,
    ) -> Result<Option<Envelope>, DecodeError> {
        match self.format {
            Format::Classic => classic::decode(self, namespace, channel, frame, wants),
            Format::Sharded { .. } => sharded::decode(self, namespace, frame),
        }
    }

    /// Whether a node id is this node's own. No id is nobody's.
    fn is_own(&self, node: Option<&str>) -> bool {
        node == Some(&self.node)
    }
}
