//! Packets of the MessagePack parser: `{type, data, nsp, id}`, of which only the event's name has to
//! be read here.

use crate::{
    msgpack::{self, Reader, Token},
    packet::{MAX_DEPTH, ReadError, WRAPPED},
};

/// What the engine reads at most: members of a packet, and levels of its data.
const MEMBERS: usize = 20;
const LEVELS: usize = 128;

const NIL: u8 = 0xc0;

/// The packet that the engine is to read in the place of this one; none if it reads this one, or if
/// nobody can.
pub(super) fn readable(packet: &[u8]) -> Option<Vec<u8>> {
    const { assert!(MAX_DEPTH < LEVELS) };
    let mut reader = Reader::new(packet);
    let Token::Map(members @ 1..=MEMBERS) = reader.token().ok()? else { return None };
    let (mut is_event, mut replaced) = (false, None);
    for _ in 0..members {
        let Token::Text(name) = reader.token().ok()? else { return None };
        match name {
            b"type" => is_event = is_type_of_event(&reader.token().ok()?),
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
    let (start, data, end) = replaced.filter(|_| is_event)?;
    Some([&packet[..start], &data, &packet[end..]].concat())
}

/// An event with attachments is one, too.
fn is_type_of_event(kind: &Token<'_>) -> bool {
    matches!(kind, Token::Integer(kind) if matches!(kind.as_u64(), Some(2 | 5)))
}

/// Whether the engine reads the event's name; what is no event, neither reads nor it.
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
