//! The members that both formats share: reading and writing them.

use std::time::Duration;

use rmpv::Value as Tree;
use serde_json::{Map, Value as Json};
use socketioxide_core::adapter::Room;

use super::{DecodeError, FRAME_DEPTH};
use crate::{
    cluster::message::{Description, Flags, Selection},
    javascript::{javascript_number, json},
    msgpack,
    names::{events::is_reserved_event, rooms::NUMERIC_ROOM},
    payload::to_json_text,
    telemetry::traceparent::TraceParent,
};

/// The member of a broadcast's options that names its trace, only where a trace is sampled. It is
/// ours alone; Node.js ignores unknown members.
pub(super) const TRACE: &str = "traceparent";

/// The member with the number of an event, only where sockets recover. Node.js takes no notice of it.
pub(super) const NUMBER: &str = "number";

/// The members of a map.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [(Tree, Tree)]);

impl<'a> Fields<'a> {
    pub(super) fn of(tree: &'a Tree) -> Result<Self, DecodeError> {
        tree.as_map().map(|members| Self(members)).ok_or(DecodeError::Malformed)
    }

    /// The member, if it exists. It may be null (pitfall 5).
    pub(super) fn get(self, name: &str) -> Option<&'a Tree> {
        self.0.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }

    /// The member, if it exists and is not null.
    pub(super) fn some(self, name: &str) -> Option<&'a Tree> {
        self.get(name).filter(|value| !value.is_nil())
    }

    pub(super) fn text(self, name: &'static str) -> Result<&'a str, DecodeError> {
        self.some(name).and_then(Tree::as_str).ok_or(DecodeError::Member(name))
    }

    pub(super) fn map(self, name: &'static str) -> Result<Fields<'a>, DecodeError> {
        let members = self.get(name).and_then(Tree::as_map).ok_or(DecodeError::Member(name))?;
        Ok(Fields(members))
    }

    pub(super) fn list(self, name: &'static str) -> Result<&'a [Tree], DecodeError> {
        let list = self.get(name).and_then(Tree::as_array).ok_or(DecodeError::Member(name))?;
        Ok(list)
    }

    /// A list of rooms. A missing or null member is an empty one.
    pub(super) fn rooms(self, name: &'static str) -> Result<Vec<Room>, DecodeError> {
        if self.some(name).is_none() {
            return Ok(Vec::new());
        }
        self.list(name)?
            .iter()
            .map(|room| read_room(room).ok_or(DecodeError::Member(name)))
            .collect()
    }

    pub(super) fn rooms_of_one(self, name: &'static str) -> Result<Room, DecodeError> {
        self.get(name).and_then(read_room).ok_or(DecodeError::Member(name))
    }

    pub(super) fn truthy(self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.as_bool() == Some(true))
    }

    pub(super) fn count(self, name: &'static str) -> Result<usize, DecodeError> {
        let count = self.get(name).and_then(|value| match value {
            Tree::F64(number) if *number >= 0.0 => Some(*number as usize),
            other => other.as_u64().and_then(|count| usize::try_from(count).ok()),
        });
        count.ok_or(DecodeError::Member(name))
    }

    pub(super) fn selection(self) -> Result<Selection, DecodeError> {
        Ok(Selection { rooms: self.rooms("rooms")?, except: self.rooms("except")? })
    }

    pub(super) fn flags(self) -> Flags {
        flags_of(self.get("flags"), self.get(TRACE), self.get(NUMBER))
    }
}

/// The flags, by these members of the options. One that is not understood is not set.
pub(super) fn flags_of(flags: Option<&Tree>, trace: Option<&Tree>, number: Option<&Tree>) -> Flags {
    let trace = trace.and_then(Tree::as_str).and_then(TraceParent::parse);
    let number = number.and_then(Tree::as_u64);
    let Some(flags) = flags.and_then(Tree::as_map).map(|members| Fields(members)) else {
        return Flags { trace, number, ..Flags::default() };
    };
    Flags {
        trace,
        number,
        volatile: flags.truthy("volatile"),
        compress: flags.get("compress").and_then(Tree::as_bool),
        timeout: flags
            .get("timeout")
            .and_then(Tree::as_f64)
            .and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok()),
    }
}

/// A frame of a channel that takes both encodings: JSON if it starts with a brace (pitfall 11).
pub(super) fn read_either(frame: &[u8]) -> Result<Tree, DecodeError> {
    if frame.first() == Some(&b'{') {
        // JavaScript reads broken UTF-8 with replacement characters.
        Ok(json::read(&String::from_utf8_lossy(frame))?)
    } else {
        Ok(msgpack::read_nested(frame, FRAME_DEPTH)?)
    }
}

/// Whether this is the type of a packet with an event. Type 5 is read like 2 and never written
/// (pitfall 2).
pub(super) fn is_event(kind: Option<i64>) -> Result<(), DecodeError> {
    if matches!(kind, Some(2 | 5)) { Ok(()) } else { Err(DecodeError::Member("type")) }
}

/// The event of a packet.
pub(super) fn event_of(packet: Fields<'_>) -> Result<Vec<Tree>, DecodeError> {
    is_event(packet.get("type").and_then(Tree::as_i64))?;
    let event = packet.list("data")?;
    is_event_name(event.first())?;
    Ok(event.to_vec())
}

/// Whether clients may get an event that starts like this. JavaScript takes numbers for names, too.
pub(super) fn is_event_name(first: Option<&Tree>) -> Result<(), DecodeError> {
    match first {
        Some(Tree::Integer(_)) => Ok(()),
        Some(name) if name.as_str().is_some_and(|name| !is_reserved_event(name)) => Ok(()),
        _ => Err(DecodeError::EventName),
    }
}

/// The name of a room. A number is marked as one.
pub(crate) fn read_room(room: &Tree) -> Option<Room> {
    let numeric = |number: String| Room::Owned(format!("{NUMERIC_ROOM}{number}"));
    match room {
        Tree::String(name) => name.as_str().map(|name| Room::Owned(name.to_owned())),
        Tree::Integer(number) => Some(numeric(number.to_string())),
        Tree::F64(number) => Some(numeric(javascript_number(*number))),
        _ => None,
    }
}

/// A room in the form of Node.js.
pub(crate) fn write_room(room: &str) -> Tree {
    let Some(number) = room.strip_prefix(NUMERIC_ROOM) else { return Tree::from(room) };
    match (number.parse::<i64>(), number.parse::<f64>()) {
        (Ok(number), _) => Tree::from(number),
        (_, Ok(number)) => Tree::F64(number),
        _ => Tree::from(room),
    }
}

/// The name of a room in a channel. A number is written out.
pub(super) fn room_text(room: &str) -> &str {
    room.strip_prefix(NUMERIC_ROOM).unwrap_or(room)
}

pub(super) fn write_rooms(rooms: &[Room]) -> Tree {
    Tree::Array(rooms.iter().map(|room| write_room(room)).collect())
}

pub(super) fn map<const N: usize>(members: [(&str, Tree); N]) -> Tree {
    Tree::Map(members.into_iter().map(|(name, value)| (Tree::from(name), value)).collect())
}

pub(super) fn write_selection(to: &Selection) -> Tree {
    map([("rooms", write_rooms(&to.rooms)), ("except", write_rooms(&to.except))])
}

pub(super) fn write_options(to: &Selection, flags: Flags) -> Tree {
    let trace = flags.trace.map(|trace| (TRACE, Tree::from(trace.to_string())));
    let members = [
        ("rooms", write_rooms(&to.rooms)),
        ("except", write_rooms(&to.except)),
        ("flags", write_flags(flags)),
    ];
    let number = flags.number.map(|number| (NUMBER, Tree::from(number)));
    let members = members.into_iter().chain(trace).chain(number);
    Tree::Map(members.map(|(name, value)| (Tree::from(name), value)).collect())
}

/// Only flags that are set: an absent one is not the same as a false one (pitfall 5).
pub(super) fn write_flags(flags: Flags) -> Tree {
    let volatile = flags.volatile.then(|| ("volatile", Tree::from(true)));
    let compress = flags.compress.map(|compress| ("compress", Tree::from(compress)));
    let timeout = flags.timeout.map(|timeout| {
        ("timeout", Tree::from(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)))
    });
    let members = [volatile, compress, timeout].into_iter().flatten();
    Tree::Map(members.map(|(name, value)| (Tree::from(name), value)).collect())
}

pub(super) fn read_sockets(list: &[Tree]) -> Result<Vec<Description>, DecodeError> {
    list.iter().map(read_socket).collect()
}

fn read_socket(tree: &Tree) -> Result<Description, DecodeError> {
    let fields = Fields::of(tree).map_err(|_| DecodeError::Member("sockets"))?;
    let object = |name| match fields.get(name).map(to_json) {
        Some(Ok(Json::Object(members))) => members,
        _ => Map::new(),
    };
    Ok(Description {
        id: fields.text("id")?.to_owned(),
        handshake: object("handshake"),
        rooms: fields.rooms("rooms")?,
        data: object("data"),
    })
}

pub(super) fn write_socket(socket: &Description) -> Tree {
    let object = |members: &Map<String, Json>| {
        rmpv::ext::to_value(members).unwrap_or_else(|_| Tree::Map(Vec::new()))
    };
    map([
        ("id", Tree::from(socket.id.as_str())),
        ("handshake", object(&socket.handshake)),
        ("rooms", write_rooms(&socket.rooms)),
        ("data", object(&socket.data)),
    ])
}

pub(crate) fn to_json(tree: &Tree) -> Result<Json, DecodeError> {
    let text = to_json_text(tree, FRAME_DEPTH)?;
    serde_json::from_str(&text).map_err(|_| DecodeError::Malformed)
}

/// JSON text of a tree of ours. Values nested too deeply become null.
pub(super) fn write_json(tree: &Tree) -> Vec<u8> {
    to_json_text(tree, FRAME_DEPTH).map_or_else(|_| b"{}".to_vec(), String::into_bytes)
}

pub(super) fn has_binary(tree: &Tree) -> bool {
    match tree {
        Tree::Binary(_) => true,
        Tree::Array(values) => values.iter().any(has_binary),
        Tree::Map(members) => members.iter().any(|(_, value)| has_binary(value)),
        _ => false,
    }
}
