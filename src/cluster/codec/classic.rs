//! The classic format: a MessagePack array for broadcasts, JSON for nearly everything else.

use bytes::Bytes;
use rmpv::Value as Tree;
use socketioxide_core::Value;

use super::{
    Codec, DecodeError, EncodeError, FRAME_DEPTH, Frame,
    fields::{self, Fields, map, write_options, write_rooms, write_selection},
    options, value,
};
use crate::{
    cluster::message::{Answer, Envelope, Event, Flags, Message, Selection},
    msgpack::{self, Reader, Token},
    names::rooms::NUMERIC_ROOM,
    payload::size_of_value,
};

/// A broadcast of a packet.
///
/// # Errors
/// If the packet is malformed.
pub(super) fn broadcast(
    codec: &Codec,
    namespace: &str,
    packet: &Value,
    to: &Selection,
    flags: Flags,
) -> Result<Frame, EncodeError> {
    let mut written = Ok(());
    let frame = write_broadcast(codec, namespace, to, flags, size_of_value(packet), |frame| {
        written = value::packet_to_msgpack(packet, frame);
    });
    written.map(|()| frame)
}

/// `[node, packet, options]` on the channel of the room if there is exactly one. `size`: about that of
/// the event.
fn write_broadcast(
    codec: &Codec,
    namespace: &str,
    to: &Selection,
    flags: Flags,
    size: usize,
    write_event: impl FnOnce(&mut Vec<u8>),
) -> Frame {
    let channel = match to.rooms.as_slice() {
        [room] => codec.room_channel(namespace, room),
        _ => codec.common_channel(namespace),
    };
    let rooms = to.rooms.iter().chain(&to.except).map(|room| room.len() + 5);
    let mut frame = Vec::with_capacity(size + rooms.sum::<usize>() + 96);
    msgpack::array_header(&mut frame, 3);
    msgpack::text(&mut frame, &codec.node);
    msgpack::map_header(&mut frame, 3);
    msgpack::text(&mut frame, "type");
    frame.push(2);
    msgpack::text(&mut frame, "data");
    write_event(&mut frame);
    msgpack::text(&mut frame, "nsp");
    msgpack::text(&mut frame, namespace);
    options::pack(&mut frame, to, flags);
    (channel, frame)
}

pub(super) fn encode(codec: &Codec, namespace: &str, message: &Message) -> Frame {
    let node = || ("uid", Tree::from(&*codec.node));
    let asks = |request: &str| ("requestId", Tree::from(request));
    let kind = |kind: u8| ("type", Tree::from(kind));
    let request = format!("{}-request#{namespace}#", codec.prefix);
    let tree = match message {
        Message::Broadcast { event, to, flags } => {
            let size = if let Event::Encoded(bytes) = event { bytes.len() } else { 0 };
            return write_broadcast(codec, namespace, to, *flags, size, |frame| match event {
                Event::Values(values) => msgpack::write_array(frame, values),
                Event::Encoded(bytes) => frame.extend_from_slice(bytes),
            });
        }
        Message::Answer { request, answer } => {
            return self::answer(codec, namespace, request, answer);
        }
        Message::BroadcastWithAck { request: id, event, to, flags } => {
            let packet = map([
                ("type", Tree::from(2)),
                ("data", Tree::Array(event.clone())),
                ("nsp", Tree::from(namespace)),
            ]);
            let options = ("opts", write_options(to, *flags));
            let tree = map([node(), asks(id), kind(7), ("packet", packet), options]);
            let mut frame = Vec::with_capacity(128);
            msgpack::write(&mut frame, &tree);
            return (request.into(), frame);
        }
        Message::Join { to, rooms } => {
            map([node(), kind(2), ("opts", write_selection(to)), ("rooms", write_rooms(rooms))])
        }
        Message::Leave { to, rooms } => {
            map([node(), kind(3), ("opts", write_selection(to)), ("rooms", write_rooms(rooms))])
        }
        Message::Disconnect { to, close } => {
            map([node(), kind(4), ("opts", write_selection(to)), ("close", Tree::from(*close))])
        }
        Message::FetchSockets { request, to } => {
            map([node(), asks(request), kind(5), ("opts", write_selection(to))])
        }
        Message::AllRooms { request } => map([node(), asks(request), kind(1)]),
        Message::SocketIds { request, rooms } => {
            map([node(), asks(request), kind(0), ("rooms", write_rooms(rooms))])
        }
        Message::JoinOne { request, socket, room } => one(codec, request, 2, socket, room),
        Message::LeaveOne { request, socket, room } => one(codec, request, 3, socket, room),
        Message::DisconnectOne { request, socket, close } => map([
            node(),
            asks(request),
            kind(4),
            ("sid", Tree::from(socket.as_str())),
            ("close", Tree::from(*close)),
        ]),
        Message::ServerSideEmit { request, event } => {
            let event = ("data", Tree::Array(event.clone()));
            match request {
                Some(request) => map([node(), asks(request), kind(6), event]),
                None => map([node(), kind(6), event]),
            }
        }
    };
    (request.into(), fields::write_json(&tree))
}

fn one(codec: &Codec, request: &str, kind: u8, socket: &str, room: &str) -> Tree {
    map([
        ("uid", Tree::from(&*codec.node)),
        ("requestId", Tree::from(request)),
        ("type", Tree::from(kind)),
        ("sid", Tree::from(socket)),
        ("room", fields::write_room(room)),
    ])
}

/// Always on the common channel, for nodes of version 7.0 hear no other (pitfall 22). Our answers
/// have the node's id as one more member, which Node.js ignores, so that a question can wait for
/// names.
fn answer(codec: &Codec, namespace: &str, request: &str, answer: &Answer) -> Frame {
    let channel = format!("{}-response#{namespace}#", codec.prefix);
    let id = ("requestId", Tree::from(request));
    let mut members: Vec<(&str, Tree)> = match answer {
        Answer::Sockets(sockets) => {
            let sockets = sockets.iter().map(fields::write_socket).collect();
            vec![id, ("sockets", Tree::Array(sockets))]
        }
        Answer::SocketIds(ids) => {
            let ids = ids.iter().map(|id| Tree::from(id.as_str())).collect();
            vec![id, ("sockets", Tree::Array(ids))]
        }
        Answer::Rooms(rooms) => vec![id, ("rooms", write_rooms(rooms))],
        Answer::Done => vec![id],
        Answer::ServerSide(value) => {
            let mut members = vec![("type", Tree::from(6)), id];
            members.extend(value.clone().map(|value| ("data", value)));
            members
        }
        Answer::ClientCount(count) => {
            vec![("type", Tree::from(8)), id, ("clientCount", Tree::from(*count))]
        }
        Answer::ClientAck(value) => {
            let mut members = vec![("type", Tree::from(9)), id];
            members.extend(value.clone().map(|value| ("packet", value)));
            members
        }
    };
    members.push(("uid", Tree::from(&*codec.node)));
    let tree = members.into_iter().map(|(name, value)| (Tree::from(name), value)).collect();
    let tree = Tree::Map(tree);
    let frame = if let Answer::ClientAck(_) = answer {
        let mut frame = Vec::new();
        msgpack::write(&mut frame, &tree);
        frame
    } else {
        fields::write_json(&tree)
    };
    (channel.into(), frame)
}

pub(super) fn decode(
    codec: &Codec,
    namespace: &str,
    channel: &str,
    frame: &Bytes,
    wants: &dyn Fn(&str) -> bool,
) -> Result<Option<Envelope>, DecodeError> {
    let Some(rest) = channel.strip_prefix(&*codec.prefix) else { return Ok(None) };
    let behind = |kind: &str| -> Option<&str> {
        rest.strip_prefix(kind)?.strip_prefix('#')?.strip_prefix(namespace)?.strip_prefix('#')
    };
    if let Some(room) = behind("") {
        let room = room.strip_suffix('#').unwrap_or(room);
        return read_broadcast(codec, namespace, room, frame, wants);
    }
    let envelope = if behind("-request") == Some("") {
        read_request(frame)?
    } else if behind("-response").is_some() {
        read_answer(frame)?
    } else {
        return Ok(None);
    };
    Ok(Some(envelope).filter(|envelope| !codec.is_own(envelope.from.as_deref())))
}

fn read_broadcast(
    codec: &Codec,
    namespace: &str,
    room: &str,
    frame: &Bytes,
    wants: &dyn Fn(&str) -> bool,
) -> Result<Option<Envelope>, DecodeError> {
    // First, because it is the cheapest check.
    let from = msgpack::first_text(frame);
    if codec.is_own(from) {
        return Ok(None);
    }
    // The room is a filter and no target. A number and a text look alike in it.
    let wanted = room.is_empty()
        || wants(room)
        || (room.parse::<f64>().is_ok() && wants(&format!("{NUMERIC_ROOM}{room}")));
    if !wanted {
        return Ok(None);
    }
    let mut reader = Reader::new(frame);
    let Token::Array(length @ 3..) = reader.token()? else { return Err(DecodeError::Malformed) };
    reader.skip(FRAME_DEPTH - 1)?;
    let packet = read_packet(&mut reader)?;
    let options = reader.skip(FRAME_DEPTH - 1)?;
    for _ in 3..length {
        reader.skip(FRAME_DEPTH - 1)?;
    }
    reader.end()?;
    if packet.namespace.unwrap_or("/") != namespace {
        return Ok(None);
    }
    let event = packet.event(frame)?;
    let (to, flags) = options::unpack(options)?;
    let from = from.map(str::to_owned);
    Ok(Some(Envelope { from, message: Message::Broadcast { event, to, flags }, at: None }))
}

/// The members of a packet. Its event is skipped, and read when all else is right.
#[derive(Default)]
struct Packet<'a> {
    kind: Option<i64>,
    data: Option<&'a [u8]>,
    namespace: Option<&'a str>,
}

fn read_packet<'a>(reader: &mut Reader<'a>) -> Result<Packet<'a>, DecodeError> {
    let Token::Map(length) = reader.token()? else { return Err(DecodeError::Malformed) };
    let mut packet = Packet::default();
    for _ in 0..length {
        let name = match reader.token()? {
            Token::Text(name) => name,
            // an unknown member, and no reason to lose the message
            other => {
                reader.value_of(&other, FRAME_DEPTH - 2)?;
                b""
            }
        };
        match name {
            b"type" => packet.kind = reader.value(FRAME_DEPTH - 2)?.as_i64(),
            b"data" => packet.data = Some(reader.skip(FRAME_DEPTH - 2)?),
            b"nsp" => {
                packet.namespace = match reader.token()? {
                    Token::Text(text) => Some(std::str::from_utf8(text).unwrap_or_default()),
                    Token::Nil => None,
                    _ => return Err(DecodeError::Member("nsp")),
                }
            }
            _ => _ = reader.skip(FRAME_DEPTH - 2)?,
        }
    }
    Ok(packet)
}

impl Packet<'_> {
    /// The event, a part of `frame`, if clients may get it.
    fn event(&self, frame: &Bytes) -> Result<Event, DecodeError> {
        fields::is_event(self.kind)?;
        let data = self.data.ok_or(DecodeError::Member("data"))?;
        let mut reader = Reader::new(data);
        let Token::Array(length) = reader.token()? else { return Err(DecodeError::Member("data")) };
        let name = (length > 0).then(|| reader.value(FRAME_DEPTH)).transpose()?;
        fields::is_event_name(name.as_ref())?;
        Ok(Event::Encoded(frame.slice_ref(data)))
    }
}

fn sender(fields: Fields<'_>) -> Option<String> {
    fields.get("uid").and_then(Tree::as_str).map(str::to_owned)
}

fn read_request(frame: &[u8]) -> Result<Envelope, DecodeError> {
    let tree = fields::read_either(frame)?;
    let fields = Fields::of(&tree)?;
    let request = || fields.text("requestId").map(str::to_owned);
    let socket = || fields.text("sid").map(str::to_owned);
    let selection = || fields.map("opts").and_then(Fields::selection);
    // The old form has no options.
    let is_old = fields.some("opts").is_none();
    let room = || fields.rooms_of_one("room");
    let kind = fields.get("type").and_then(Tree::as_i64).ok_or(DecodeError::Member("type"))?;
    let message = match kind {
        0 => Message::SocketIds { request: request()?, rooms: fields.rooms("rooms")? },
        1 => Message::AllRooms { request: request()? },
        2 if is_old => Message::JoinOne { request: request()?, socket: socket()?, room: room()? },
        3 if is_old => Message::LeaveOne { request: request()?, socket: socket()?, room: room()? },
        4 if is_old => Message::DisconnectOne {
            request: request()?,
            socket: socket()?,
            close: fields.truthy("close"),
        },
        2 => Message::Join { to: selection()?, rooms: fields.rooms("rooms")? },
        3 => Message::Leave { to: selection()?, rooms: fields.rooms("rooms")? },
        4 => Message::Disconnect { to: selection()?, close: fields.truthy("close") },
        5 => Message::FetchSockets { request: request()?, to: selection()? },
        6 => Message::ServerSideEmit {
            // The member's presence decides, not its value. An id that is no text names nobody.
            request: fields.get("requestId").map(|id| id.as_str().unwrap_or_default().to_owned()),
            event: fields.list("data")?.to_vec(),
        },
        7 => Message::BroadcastWithAck {
            request: request()?,
            event: fields::event_of(fields.map("packet")?)?,
            to: selection()?,
            flags: fields.map("opts")?.flags(),
        },
        other => return Err(DecodeError::UnknownType(other)),
    };
    Ok(Envelope { from: sender(fields), message, at: None })
}

fn read_answer(frame: &[u8]) -> Result<Envelope, DecodeError> {
    let tree = fields::read_either(frame)?;
    let fields = Fields::of(&tree)?;
    let request = fields.text("requestId")?.to_owned();
    let answer = match fields.get("type").and_then(Tree::as_i64) {
        Some(6) => Answer::ServerSide(fields.get("data").cloned()),
        Some(8) => Answer::ClientCount(fields.count("clientCount")?),
        Some(9) => Answer::ClientAck(fields.get("packet").cloned()),
        _ if fields.some("sockets").is_some() => {
            let sockets = fields.list("sockets")?;
            let ids: Option<Vec<String>> =
                sockets.iter().map(|id| id.as_str().map(str::to_owned)).collect();
            match ids {
                Some(ids) if !ids.is_empty() => Answer::SocketIds(ids),
                _ => Answer::Sockets(fields::read_sockets(sockets)?),
            }
        }
        _ if fields.some("rooms").is_some() => Answer::Rooms(fields.rooms("rooms")?),
        _ => Answer::Done,
    };
    Ok(Envelope { from: sender(fields), message: Message::Answer { request, answer }, at: None })
}
