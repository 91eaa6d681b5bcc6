//! The sharded format: one shape for every message, in JSON unless it has binary parts.

use std::borrow::Cow;

use rmpv::Value as Tree;

use super::{
    Codec, DecodeError, EncodeError, Format, Frame,
    fields::{self, Fields, map, write_options, write_rooms},
};
use crate::{
    cluster::message::{Answer, Envelope, Event, Flags, Message, Selection},
    msgpack,
    names::rooms::NUMERIC_ROOM,
    packet::ReadError,
};

/// Rooms of this length are taken for the ids of Node.js sockets, which listen to no channel of
/// their own in the dynamic mode (pitfall 9).
const NODE_ID_LENGTH: usize = 20;

/// The type of a broadcast.
pub(super) const BROADCAST: u8 = 3;

pub(super) fn broadcast(
    codec: &Codec,
    namespace: &str,
    event: &[Tree],
    to: &Selection,
    flags: Flags,
    rooms: bool,
) -> Frame {
    let channel = match to.rooms.as_slice() {
        [room]
            if rooms
                && (room.starts_with(NUMERIC_ROOM)
                    || room.encode_utf16().count() != NODE_ID_LENGTH) =>
        {
            codec.room_channel(namespace, room)
        }
        _ => codec.counted(namespace),
    };
    (channel, frame(codec, namespace, BROADCAST, broadcast_data(event, to, flags)))
}

pub(super) fn broadcast_data(event: &[Tree], to: &Selection, flags: Flags) -> Tree {
    map([("packet", packet(event)), ("opts", write_options(to, flags))])
}

fn packet(event: &[Tree]) -> Tree {
    map([("type", Tree::from(2)), ("data", Tree::Array(event.to_vec()))])
}

/// A message with its frame. Streams carry these as MessagePack only.
pub(super) fn frame(codec: &Codec, namespace: &str, kind: u8, data: Tree) -> Vec<u8> {
    let binary = is_binary(kind, &data) || matches!(codec.format, Format::Streams);
    let tree = map([
        ("type", Tree::from(kind)),
        ("data", data),
        ("uid", Tree::from(&*codec.node)),
        ("nsp", Tree::from(namespace)),
    ]);
    if !binary {
        return fields::write_json(&tree);
    }
    let mut frame = Vec::with_capacity(128);
    msgpack::write(&mut frame, &tree);
    frame
}

/// Whether the data of a message has to be MessagePack.
pub(super) fn is_binary(kind: u8, data: &Tree) -> bool {
    matches!(kind, BROADCAST | 8 | 9 | 10 | 12) && fields::has_binary(data)
}

pub(super) fn encode(
    codec: &Codec,
    namespace: &str,
    message: &Message,
    asker: Option<&str>,
    rooms: bool,
) -> Result<Frame, EncodeError> {
    if let Message::Broadcast { event, to, flags } = message {
        return Ok(broadcast(codec, namespace, &values(event)?, to, *flags, rooms));
    }
    let (kind, data) = kind_and_data(codec, message)?;
    let channel = match message {
        Message::Answer { .. } => {
            codec.own_channel(namespace, asker.ok_or(EncodeError::NotInThisFormat)?)
        }
        _ => codec.counted(namespace),
    };
    Ok((channel, frame(codec, namespace, kind, data)))
}

fn values(event: &Event) -> Result<Cow<'_, [Tree]>, EncodeError> {
    match event {
        Event::Values(values) => Ok(Cow::Borrowed(values)),
        Event::Encoded(bytes) => match msgpack::read(bytes).map_err(EncodeError::Packet)? {
            Tree::Array(values) => Ok(Cow::Owned(values)),
            _ => Err(EncodeError::Packet(ReadError::NoList)),
        },
    }
}

/// The type of a message, and the rest of it without its frame.
pub(super) fn kind_and_data(codec: &Codec, message: &Message) -> Result<(u8, Tree), EncodeError> {
    let id = |request: &str| ("requestId", Tree::from(request));
    let options = |to: &Selection| ("opts", write_options(to, Flags::default()));
    Ok(match message {
        Message::Broadcast { event, to, flags } => {
            (BROADCAST, broadcast_data(&values(event)?, to, *flags))
        }
        Message::BroadcastWithAck { request, event, to, flags } => {
            let options = ("opts", write_options(to, *flags));
            (BROADCAST, map([("packet", packet(event)), id(request), options]))
        }
        Message::Join { to, rooms } => (4, map([options(to), ("rooms", write_rooms(rooms))])),
        Message::Leave { to, rooms } => (5, map([options(to), ("rooms", write_rooms(rooms))])),
        Message::Disconnect { to, close } => (6, map([options(to), ("close", Tree::from(*close))])),
        Message::FetchSockets { request, to } => (7, map([options(to), id(request)])),
        Message::ServerSideEmit { request, event } => {
            let event = ("packet", Tree::Array(event.clone()));
            match request {
                Some(request) => (9, map([id(request), event])),
                None => (9, map([event])),
            }
        }
        Message::Answer { request, answer } => {
            // Streams have a null where there is no value, and the sharded format has nothing.
            let packet = |value: &Option<Tree>| match (value, codec.format) {
                (None, Format::Streams) => Some(("packet", Tree::Nil)),
                (value, _) => value.clone().map(|value| ("packet", value)),
            };
            let (kind, member) = match answer {
                Answer::Sockets(sockets) => {
                    let sockets = sockets.iter().map(fields::write_socket).collect();
                    (8, Some(("sockets", Tree::Array(sockets))))
                }
                Answer::ServerSide(value) => (10, packet(value)),
                Answer::ClientCount(count) => (11, Some(("clientCount", Tree::from(*count)))),
                Answer::ClientAck(value) => (12, packet(value)),
                Answer::SocketIds(_) | Answer::Rooms(_) | Answer::Done => {
                    return Err(EncodeError::NotInThisFormat);
                }
            };
            match member {
                Some(member) => (kind, map([id(request), member])),
                None => (kind, map([id(request)])),
            }
        }
        Message::AllRooms { .. }
        | Message::SocketIds { .. }
        | Message::JoinOne { .. }
        | Message::LeaveOne { .. }
        | Message::DisconnectOne { .. } => return Err(EncodeError::NotInThisFormat),
    })
}

/// Whether the text ends as our own frames do. Most frames that a node hears on its rooms are its
/// own, and this saves reading them.
fn is_own_echo(codec: &Codec, namespace: &str, frame: &[u8]) -> bool {
    let strip = |text: &mut &[u8], end: &str| match text.strip_suffix(end.as_bytes()) {
        Some(rest) => {
            *text = rest;
            true
        }
        None => false,
    };
    let mut text = frame;
    strip(&mut text, "\"}")
        && strip(&mut text, namespace)
        && strip(&mut text, "\",\"nsp\":\"")
        && strip(&mut text, &codec.node)
        && strip(&mut text, "},\"uid\":\"")
}

pub(super) fn decode(
    codec: &Codec,
    namespace: &str,
    frame: &[u8],
) -> Result<Option<Envelope>, DecodeError> {
    if is_own_echo(codec, namespace, frame) {
        return Ok(None);
    }
    let tree = fields::read_either(frame)?;
    let fields = Fields::of(&tree)?;
    // A message without a namespace belongs to none. Version 8.2 sends them, and 8.3 ignores them,
    // too.
    if fields.get("nsp").and_then(Tree::as_str) != Some(namespace) {
        return Ok(None);
    }
    let from = fields.get("uid").and_then(Tree::as_str);
    if codec.is_own(from) {
        return Ok(None);
    }
    let kind = fields.get("type").and_then(Tree::as_i64).ok_or(DecodeError::Member("type"))?;
    let message = message_of(kind, fields.map("data")?)?;
    Ok(Some(Envelope { from: from.map(str::to_owned), message, at: None }))
}

/// The message of a type and its data.
pub(super) fn message_of(kind: i64, data: Fields<'_>) -> Result<Message, DecodeError> {
    let options = || data.map("opts");
    let selection = || options()?.selection();
    let request = || data.text("requestId").map(str::to_owned);
    let answer =
        |answer| -> Result<_, DecodeError> { Ok(Message::Answer { request: request()?, answer }) };
    Ok(match kind {
        3 => {
            let event = fields::event_of(data.map("packet")?)?;
            let (to, flags) = (selection()?, options()?.flags());
            match data.some("requestId") {
                Some(_) => Message::BroadcastWithAck { request: request()?, event, to, flags },
                None => Message::Broadcast { event: Event::Values(event), to, flags },
            }
        }
        4 => Message::Join { to: selection()?, rooms: data.rooms("rooms")? },
        5 => Message::Leave { to: selection()?, rooms: data.rooms("rooms")? },
        6 => Message::Disconnect { to: selection()?, close: data.truthy("close") },
        7 => Message::FetchSockets { request: request()?, to: selection()? },
        8 => answer(Answer::Sockets(fields::read_sockets(data.list("sockets")?)?))?,
        9 => Message::ServerSideEmit {
            request: data.get("requestId").map(|id| id.as_str().unwrap_or_default().to_owned()),
            event: data.list("packet")?.to_vec(),
        },
        10 => answer(Answer::ServerSide(data.get("packet").cloned()))?,
        11 => answer(Answer::ClientCount(data.count("clientCount")?))?,
        12 => answer(Answer::ClientAck(data.get("packet").cloned()))?,
        other => return Err(DecodeError::UnknownType(other)),
    })
}
