//! The options of a broadcast as MessagePack: what [`fields`](super::fields) writes and reads, without a
//! tree in between. Every broadcast has them.

use rmpv::Value as Tree;
use socketioxide_core::adapter::Room;

use super::{
    DecodeError, FRAME_DEPTH,
    fields::{NUMBER, TRACE, flags_of, read_room, write_flags, write_room},
};
use crate::{
    cluster::message::{Flags, Selection},
    msgpack::{self, Reader, Token},
    names::rooms::NUMERIC_ROOM,
};

/// Writes options.
pub(super) fn pack(out: &mut Vec<u8>, to: &Selection, flags: Flags) {
    let more = usize::from(flags.trace.is_some()) + usize::from(flags.number.is_some());
    msgpack::map_header(out, 3 + more);
    msgpack::text(out, "rooms");
    pack_rooms(out, &to.rooms);
    msgpack::text(out, "except");
    pack_rooms(out, &to.except);
    msgpack::text(out, "flags");
    msgpack::write(out, &write_flags(flags));
    if let Some(trace) = flags.trace {
        msgpack::text(out, TRACE);
        msgpack::text(out, &trace.to_string());
    }
    if let Some(number) = flags.number {
        msgpack::text(out, NUMBER);
        msgpack::write(out, &Tree::from(number));
    }
}

fn pack_rooms(out: &mut Vec<u8>, rooms: &[Room]) {
    msgpack::array_header(out, rooms.len());
    for room in rooms {
        match room.starts_with(NUMERIC_ROOM) {
            true => msgpack::write(out, &write_room(room)),
            false => msgpack::text(out, room),
        }
    }
}

/// Reads options. Of members with one name the first counts.
///
/// # Errors
/// If they are no map, or have no selection.
pub(super) fn unpack(bytes: &[u8]) -> Result<(Selection, Flags), DecodeError> {
    let mut reader = Reader::new(bytes);
    let Token::Map(length) = reader.token()? else { return Err(DecodeError::Malformed) };
    let (mut rooms, mut except) = (None, None);
    let (mut flags, mut trace, mut number) = (None, None, None);
    for _ in 0..length {
        let name = reader.token()?;
        let other = match name {
            Token::Text(b"rooms") if rooms.is_none() => {
                rooms = Some(unpack_rooms(&mut reader, "rooms")?);
                continue;
            }
            Token::Text(b"except") if except.is_none() => {
                except = Some(unpack_rooms(&mut reader, "except")?);
                continue;
            }
            Token::Text(b"flags") => &mut flags,
            Token::Text(name) if name == TRACE.as_bytes() => &mut trace,
            Token::Text(name) if name == NUMBER.as_bytes() => &mut number,
            other => {
                reader.value_of(&other, FRAME_DEPTH)?;
                reader.skip(FRAME_DEPTH)?;
                continue;
            }
        };
        let value = reader.value(FRAME_DEPTH)?;
        other.get_or_insert(value);
    }
    let to = Selection { rooms: rooms.unwrap_or_default(), except: except.unwrap_or_default() };
    Ok((to, flags_of(flags.as_ref(), trace.as_ref(), number.as_ref())))
}

/// A list of rooms. Null is an empty one.
fn unpack_rooms(reader: &mut Reader<'_>, name: &'static str) -> Result<Vec<Room>, DecodeError> {
    let length = match reader.token()? {
        Token::Nil => 0,
        Token::Array(length) => length,
        _ => return Err(DecodeError::Member(name)),
    };
    // Each element takes at least a byte.
    let mut rooms = Vec::with_capacity(length.min(reader.rest().len()));
    for _ in 0..length {
        let room = match reader.token()? {
            Token::Text(text) => Some(Room::Owned(String::from_utf8_lossy(text).into_owned())),
            other => read_room(&reader.value_of(&other, FRAME_DEPTH)?),
        };
        rooms.push(room.ok_or(DecodeError::Member(name))?);
    }
    Ok(rooms)
}
