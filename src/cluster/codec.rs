//! The vocabulary as bytes: the formats of `@socket.io/redis-adapter`, classic and sharded, and of
//! `@socket.io/redis-streams-adapter`.
//!
//! Pure: bytes and channel names in, messages out, and back. Writing is strict, because a wrong
//! message stops a Node.js node. Reading is lenient, because everybody who reaches Redis can
//! publish.

mod classic;
mod fields;
mod options;
mod sharded;
mod streams;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use bytes::Bytes;
use socketioxide_core::Value;

pub(crate) use fields::{read_room, to_json, write_room};
pub(crate) use value::event_to_packet;

use super::{
    broker::{Channel, Topic},
    kind::Kind,
    log::{Entry, NewEntry},
    message::{Envelope, Event, Flags, Message, Selection},
};
use crate::{
    msgpack,
    packet::{MAX_DEPTH, ReadError},
    payload::from_packet,
};

/// Why a frame is not a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The frame is in neither encoding, or is cut short.
    #[error("it is neither JSON nor MessagePack")]
    Malformed,
    /// The frame's values are malformed.
    #[error(transparent)]
    Values(#[from] ReadError),
    /// The frame lacks a necessary member.
    #[error("its member `{0}` is missing or has the wrong type")]
    Member(&'static str),
    /// The event may not reach a client, which would drop its connection.
    #[error("its event has a name that Socket.IO keeps for itself, or none")]
    EventName,
    /// The type is unknown. It may come from a newer node.
    #[error("type {0} is unknown")]
    UnknownType(i64),
}

/// Why a message cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    /// The packet is malformed.
    #[error("the packet cannot be read")]
    Packet(#[source] ReadError),
    /// The wire format has no such message.
    #[error("the wire format has no such message")]
    NotInThisFormat,
}

/// Deepest nesting of a frame: that of an event, and what surrounds it.
const FRAME_DEPTH: usize = MAX_DEPTH + 8;

/// Reads an entry of the log, whoever wrote it.
///
/// # Errors
/// If it makes no sense.
pub(crate) fn read_logged(entry: &Entry) -> Result<Message, DecodeError> {
    streams::message(entry)
}

/// The name of an event. The rest is not read.
pub(crate) fn event_name(event: &Event) -> Option<&str> {
    match event {
        Event::Values(values) => values.first()?.as_str(),
        Event::Encoded(bytes) => msgpack::first_text(bytes),
    }
}

/// How this node writes and reads messages.
#[derive(Debug)]
pub(crate) struct Codec {
    format: Format,
    prefix: Box<str>,
    node: Arc<str>,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Classic,
    Sharded {
        /// Whether a broadcast to one room goes to the channel of the room, as in the dynamic modes
        /// of Node.js. Otherwise all frames are on the common channel, which is always safe.
        rooms: bool,
    },
    /// What may not be lost goes to a stream, see [`Codec::entry`]. The rest is on the common
    /// channel, in the sharded form.
    Streams,
}

/// A channel and what to publish on it.
pub(crate) type Frame = (Channel, Vec<u8>);

impl Codec {
    /// `node` names this node on the wire; any text does. `rooms`: see [`Format::Sharded`].
    pub(crate) fn new(kind: Kind, prefix: &str, node: &str, rooms: bool) -> Self {
        let format = match kind {
            Kind::Sharded => Format::Sharded { rooms },
            Kind::Classic => Format::Classic,
            Kind::Streams => Format::Streams,
        };
        Self { format, prefix: prefix.into(), node: node.into() }
    }

    /// The topics of a node while it serves a namespace; with `all`, every room too.
    pub(crate) fn topics(&self, namespace: &str, all: bool) -> Vec<Topic> {
        let common = self.common_channel(namespace);
        let mut topics = self.answer_topics(namespace);
        match self.format {
            Format::Classic => {
                topics.push(if all { Topic::Prefix(common) } else { Topic::Channel(common) });
                // The last one, because a node that is counted must hear everything else.
                topics.push(Topic::Channel(self.counted(namespace)));
            }
            Format::Sharded { .. } | Format::Streams => topics.push(Topic::Channel(common)),
        }
        topics
    }

    /// The topics on which answers to this node's questions arrive.
    pub(crate) fn answer_topics(&self, namespace: &str) -> Vec<Topic> {
        let own = Topic::Channel(self.own_channel(namespace, &self.node));
        match self.format {
            Format::Classic => {
                let all = format!("{}-response#{namespace}#", self.prefix);
                vec![Topic::Channel(all.into()), own]
            }
            Format::Sharded { .. } | Format::Streams => vec![own],
        }
    }

    /// Whether a channel carries answers to questions.
    pub(crate) fn carries_answers(&self, channel: &str) -> bool {
        match self.format {
            Format::Classic => channel
                .strip_prefix(&*self.prefix)
                .is_some_and(|rest| rest.starts_with("-response#")),
            // The channel of this node alone.
            Format::Sharded { .. } | Format::Streams => channel
                .strip_suffix('#')
                .and_then(|rest| rest.strip_suffix(&*self.node))
                .is_some_and(|rest| rest.ends_with('#')),
        }
    }

    /// The channel of a room.
    pub(crate) fn room_channel(&self, namespace: &str, room: &str) -> Channel {
        [&*self.prefix, "#", namespace, "#", fields::room_text(room), "#"].concat().into()
    }

    /// The channel of the namespace.
    fn common_channel(&self, namespace: &str) -> Channel {
        [&*self.prefix, "#", namespace, "#"].concat().into()
    }

    /// The channel whose listeners are the nodes that serve the namespace.
    pub(crate) fn counted(&self, namespace: &str) -> Channel {
        match self.format {
            Format::Classic => format!("{}-request#{namespace}#", self.prefix).into(),
            Format::Sharded { .. } | Format::Streams => self.common_channel(namespace),
        }
    }

    /// The channel to which only this node listens.
    pub(crate) fn own_channel(&self, namespace: &str, node: &str) -> Channel {
        match self.format {
            Format::Classic => format!("{}-response#{namespace}#{node}#", self.prefix).into(),
            Format::Sharded { .. } | Format::Streams => {
                format!("{}#{namespace}#{node}#", self.prefix).into()
            }
        }
    }

    /// The namespaces that a channel may belong to. There are several if the name of the namespace
    /// or of the room has a `#`; the caller knows which one it serves.
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

    /// Writes a message. `asker` is the node that asked the answered question.
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
            Format::Streams => sharded::encode(self, namespace, message, asker, false),
        }
    }

    /// Writes a message as an entry of the log. `None` if the format has no log, or the message is
    /// none for it: then it is a [frame](Self::encode).
    ///
    /// # Errors
    /// If the message cannot be written.
    pub(crate) fn entry(
        &self,
        namespace: &str,
        message: &Message,
    ) -> Result<Option<NewEntry>, EncodeError> {
        match self.format {
            Format::Streams => streams::entry(self, namespace, message),
            Format::Classic | Format::Sharded { .. } => Ok(None),
        }
    }

    /// [`entry`](Self::entry) for a broadcast of a packet in its form for clients.
    ///
    /// # Errors
    /// If the packet is malformed.
    pub(crate) fn broadcast_entry(
        &self,
        namespace: &str,
        packet: &Value,
        to: &Selection,
        flags: Flags,
    ) -> Result<Option<NewEntry>, EncodeError> {
        match self.format {
            Format::Streams => streams::broadcast(self, namespace, packet, to, flags).map(Some),
            Format::Classic | Format::Sharded { .. } => Ok(None),
        }
    }

    /// Reads an entry of the log. `None` if it is this node's own.
    ///
    /// # Errors
    /// If it makes no sense.
    pub(crate) fn read_entry(&self, entry: &Entry) -> Result<Option<Envelope>, DecodeError> {
        streams::read(self, entry)
    }

    /// Writes a broadcast of a packet in its form for clients. Most messages are written here.
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
            Format::Streams => {
                let event = from_packet(packet).map_err(EncodeError::Packet)?;
                Ok(sharded::broadcast(self, namespace, &event, to, flags, false))
            }
        }
    }

    /// Whether a frame is a broadcast that this node has published itself. Most frames that a node hears on
    /// its rooms are, and this is seen without their namespace. A `false` means nothing.
    pub(crate) fn is_echo(&self, frame: &[u8]) -> bool {
        match self.format {
            Format::Classic => self.is_own(msgpack::first_text(frame)),
            Format::Sharded { .. } | Format::Streams => false,
        }
    }

    /// Reads a frame. `None` if it is not for this node, such as its own echo, or a message to a
    /// room that `wants` refuses. Such a frame is not even decoded.
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
            Format::Sharded { .. } | Format::Streams => sharded::decode(self, namespace, frame),
        }
    }

    /// Whether a node id is this node's own. A missing id is not.
    fn is_own(&self, node: Option<&str>) -> bool {
        node == Some(&self.node)
    }
}
