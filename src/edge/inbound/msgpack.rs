//! Packets of the MessagePack parser: `{type, data, nsp, id}`. Only the event's name is read here.

use crate::{
    msgpack::{self, Reader, Token},
    packet::{MAX_DEPTH, ReadError, WRAPPED},
};

/// The engine's limits: members of a packet, and levels of its data.
const MEMBERS: usize = 20;
const LEVELS: usize = 128;

const NIL: u8 = 0xc0;

/// The result of reading a packet.
pub(super) enum Read<'a> {
    /// The packet passes: the engine reads it, or ends the session.
    AsItIs,
    /// This is no packet, and no server can read it.
    Unreadable,
    /// The packet passes. The client asks to join this namespace.
    Connect(&'a [u8]),
    /// The packet passes. It acknowledges the event with this id in this namespace.
    Answer(&'a [u8], i64),
    /// The engine has to read this in its place.
    Instead(Vec<u8>),
}

pub(super) fn read(packet: &[u8]) -> Read<'_> {
    read_members(packet).unwrap_or_else(|| match Reader::new(packet).token() {
        Ok(Token::Map(1..=MEMBERS)) => Read::AsItIs,
        _ => Read::Unreadable,
    })
}

fn read_members(packet: &[u8]) -> Option<Read<'_>> {
    const { assert!(MAX_DEPTH < LEVELS) };
    let mut reader = Reader::new(packet);
    let Token::Map(members @ 1..=MEMBERS) = reader.token().ok()? else { return None };
    let (mut kind, mut namespace, mut id, mut replaced) = (None, None, None, None);
    for _ in 0..members {
        let Token::Text(name) = reader.token().ok()? else { return None };
        match name {
            b"type" => kind = type_of(&reader.token().ok()?),
            b"nsp" => {
                namespace = text(reader.rest());
                reader.pass_over().ok()?;
            }
            b"id" => {
                id = number(reader.rest());
                reader.pass_over().ok()?;
            }
            b"data" => {
                let start = packet.len() - reader.rest().len();
                let data = match reader.skip(LEVELS - 1) {
                    Ok(data) if has_readable_name(data) => None,
                    Ok(data) => Some(wrapped(data)),
                    Err(ReadError::TooDeep) => {
                        reader = Reader::new(&packet[start..]);
                        reader.pass_over().ok()?;
                        Some(wrapped(&[NIL]))
                    }
                    Err(_) => return None,
                };
                let end = packet.len() - reader.rest().len();
                replaced = data.map(|data| (start, data, end));
            }
            _ => reader.pass_over().ok()?,
        }
    }
    match (kind, replaced, namespace) {
        // An event with attachments is an event, too.
        (Some(2 | 5), Some((start, data, end)), _) => {
            Some(Read::Instead([&packet[..start], &data, &packet[end..]].concat()))
        }
        (Some(0), _, Some(namespace)) if namespace != b"/" => Some(Read::Connect(namespace)),
        (Some(3 | 6), _, Some(namespace)) => {
            Some(id.map_or(Read::AsItIs, |id| Read::Answer(namespace, id)))
        }
        _ => Some(Read::AsItIs),
    }
}

fn type_of(kind: &Token<'_>) -> Option<u64> {
    match kind {
        Token::Integer(kind) => kind.as_u64(),
        _ => None,
    }
}

fn number(value: &[u8]) -> Option<i64> {
    match Reader::new(value).token().ok()? {
        Token::Integer(number) => number.as_i64(),
        _ => None,
    }
}

fn text(value: &[u8]) -> Option<&[u8]> {
    match Reader::new(value).token().ok()? {
        Token::Text(text) => Some(text),
        _ => None,
    }
}

/// Whether the engine reads the event's name. True for data that is no event.
fn has_readable_name(data: &[u8]) -> bool {
    let Some((1.., elements)) = msgpack::array(data) else { return true };
    match Reader::new(elements).token() {
        Ok(Token::Text(name)) => name != WRAPPED.as_bytes() && std::str::from_utf8(name).is_ok(),
        Ok(Token::Integer(_) | Token::Float(_)) => false,
        _ => true,
    }
}

fn wrapped(data: &[u8]) -> Vec<u8> {
    let mut wrapped = Vec::with_capacity(data.len() + 8);
    msgpack::array_header(&mut wrapped, 2);
    msgpack::text(&mut wrapped, WRAPPED);
    wrapped.extend_from_slice(data);
    wrapped
}
