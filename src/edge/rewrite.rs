//! Changes in the engine's packets that the engine has no setting for. The OPEN packet gets the
//! client's session id, a CONNECT the public id of its socket, a CONNECT_ERROR its `data`, and
//! binary for Engine.IO 3 polling the type that its encoder forgets. Pure functions over complete
//! packets and bodies; unknown ones pass unchanged.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use serde_json::Value;
use socketioxide_core::Sid;

use super::{packets::SEPARATOR, v3};
use crate::id::SocketId;

/// The answer to a CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// CONNECT with this id, and the secret by which the client recovers.
    Admitted(SocketId, Option<Box<str>>),
    /// CONNECT_ERROR with this as `data`.
    Refused(Value),
}

/// The kinds of such answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    ConnectError,
}

impl Answer {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Admitted(..) => Kind::Connect,
            Self::Refused(_) => Kind::ConnectError,
        }
    }
}

/// Called with the namespace of each CONNECT and CONNECT_ERROR. The result is spliced in.
pub(super) trait Answers: FnMut(Kind, &str) -> Option<Answer> {}
impl<F: FnMut(Kind, &str) -> Option<Answer>> Answers for F {}

/// The engine's session id in an OPEN packet (`0{"sid":"…",…}`, as text of any framing).
pub(super) fn sid_of_open(packet: &[u8]) -> Option<Sid> {
    let (start, end) = sid_in_open(packet)?;
    std::str::from_utf8(&packet[start..end]).ok()?.parse().ok()
}

fn sid_in_open(packet: &[u8]) -> Option<(usize, usize)> {
    const KEY: &[u8] = br#""sid":""#;
    const LEN: usize = 16;
    let start = packet.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    (packet.get(start + LEN) == Some(&b'"')).then_some((start, start + LEN))
}

/// The body of a polling handshake with the client's own session id. In Engine.IO 3 the packet's
/// length stands in front and changes with it.
pub(super) fn open_body(body: &str, id: &str, v3: bool, may_upgrade: bool) -> Option<String> {
    let packet = if v3 { body.split_once(':')?.1 } else { body };
    let (start, end) = sid_in_open(packet.as_bytes())?;
    let mut packet = format!("{}{id}{}", &packet[..start], &packet[end..]);
    if !may_upgrade {
        packet = packet.replacen(r#""upgrades":["websocket"]"#, r#""upgrades":[]"#, 1);
    }
    Some(if v3 { format!("{}:{packet}", v3::utf16_len(&packet)) } else { packet })
}

/// A text packet of Engine.IO. `40{"sid":"…"}` or `40/chat,{"sid":"…"}` gets another id.
/// `44{"message":"…"}` becomes `44{"message":"…","data":…}`; in Engine.IO 3, as in Node.js, the
/// data alone. `None` for all other packets.
pub(super) fn text_packet(packet: &[u8], v3: bool, answers: &mut impl Answers) -> Option<Vec<u8>> {
    let (kind, rest) = match packet {
        [b'4', b'0', rest @ ..] => (Kind::Connect, rest),
        [b'4', b'4', rest @ ..] => (Kind::ConnectError, rest),
        _ => return None,
    };
    let (namespace, object) = match rest.first()? {
        b'/' => {
            let comma = rest.iter().position(|byte| *byte == b',')?;
            (std::str::from_utf8(&rest[..comma]).ok()?, &rest[comma + 1..])
        }
        _ => ("/", rest),
    };
    let members = object.strip_prefix(b"{")?.strip_suffix(b"}")?;
    if kind == Kind::Connect && !members.starts_with(br#""sid":""#) {
        return None;
    }
    Some(match answers(kind, namespace)? {
        Answer::Admitted(id, pid) => {
            let start = &packet[..packet.len() - object.len()];
            let id = id.as_str().as_bytes();
            match pid {
                None => [start, br#"{"sid":""#, id, br#""}"#].concat(),
                Some(pid) => {
                    [start, br#"{"sid":""#, id, br#"","pid":""#, pid.as_bytes(), br#""}"#].concat()
                }
            }
        }
        Answer::Refused(data) if v3 => {
            let start = &packet[..packet.len() - object.len()];
            [start, data.to_string().as_bytes()].concat()
        }
        Answer::Refused(data) => {
            let start = &packet[..packet.len() - 1];
            let comma: &[u8] = if members.is_empty() { b"" } else { b"," };
            [start, comma, br#""data":"#, data.to_string().as_bytes(), b"}"].concat()
        }
    })
}

/// The same packets of the MessagePack parser, exactly in the shape in which they are sent:
/// `{type: 0, nsp, data: {sid}}` and `{type: 4, nsp, data: {message}}`.
pub(super) fn msgpack_packet(packet: &[u8], answers: &mut impl Answers) -> Option<Vec<u8>> {
    let (kind, member, rest) = match packet.strip_prefix(b"\x83\xa4type")? {
        [0, rest @ ..] => (Kind::Connect, b"\xa3sid".as_slice(), rest),
        [4, rest @ ..] => (Kind::ConnectError, b"\xa7message".as_slice(), rest),
        _ => return None,
    };
    let (namespace, rest) = string(rest.strip_prefix(b"\xa3nsp")?)?;
    let data = rest.strip_prefix(b"\xa4data\x81")?;
    let (_, end) = string(data.strip_prefix(member)?)?;
    if !end.is_empty() {
        return None;
    }
    Some(match answers(kind, namespace)? {
        Answer::Admitted(id, pid) => {
            let id = rmp_serde::to_vec(id.as_str()).ok()?;
            match pid {
                None => {
                    let start = &packet[..packet.len() - data.len()];
                    [start, b"\xa3sid", &id].concat()
                }
                Some(pid) => {
                    let start = &packet[..packet.len() - data.len() - 1];
                    let pid = rmp_serde::to_vec(&*pid).ok()?;
                    [start, b"\x82\xa3sid", &id, b"\xa3pid", &pid].concat()
                }
            }
        }
        Answer::Refused(more) => {
            let start = &packet[..packet.len() - data.len() - 1];
            [start, b"\x82", data, b"\xa4data", &rmp_serde::to_vec_named(&more).ok()?].concat()
        }
    })
}

/// How many bytes of a packet [`may_be_answer`] looks at.
pub(super) const ANSWER_START: usize = 7;

/// Whether a packet with this beginning can be an answer to a CONNECT.
pub(super) fn may_be_answer(start: &[u8]) -> bool {
    [b"40".as_slice(), b"44", b"\x83\xa4type\0", b"\x83\xa4type\x04"]
        .iter()
        .any(|answer| start.starts_with(answer))
}

/// A MessagePack string and the rest.
fn string(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (marker, rest) = bytes.split_first()?;
    let (len, rest) = match marker {
        0xa0..=0xbf => (usize::from(marker & 0x1f), rest),
        0xd9 => rest.split_first().map(|(len, rest)| (usize::from(*len), rest))?,
        0xda => rest
            .split_first_chunk()
            .map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?,
        0xdb => {
            let (len, rest) = rest.split_first_chunk()?;
            (usize::try_from(u32::from_be_bytes(*len)).ok()?, rest)
        }
        _ => return None,
    };
    let (string, rest) = rest.split_at_checked(len)?;
    Some((std::str::from_utf8(string).ok()?, rest))
}

/// The body of an Engine.IO 4 poll.
pub(super) fn body_v4(body: Bytes, answers: &mut impl Answers) -> Bytes {
    let mut changed = false;
    let packets: Vec<_> = body
        .split(|byte| *byte == SEPARATOR)
        .map(|packet| match packet_v4(packet, answers) {
            Some(new) => {
                changed = true;
                new.into()
            }
            None => std::borrow::Cow::Borrowed(packet),
        })
        .collect();
    if changed { packets.join(&SEPARATOR).into() } else { body }
}

fn packet_v4(packet: &[u8], answers: &mut impl Answers) -> Option<Vec<u8>> {
    match packet.strip_prefix(b"b") {
        Some(base64) => {
            let packet = msgpack_packet(&BASE64.decode(base64).ok()?, answers)?;
            Some(format!("b{}", BASE64.encode(packet)).into_bytes())
        }
        None => text_packet(packet, false, answers),
    }
}

/// Whether the engine closes the session in this body.
pub(super) fn closes(body: &[u8], v3: bool) -> bool {
    // in a longer Engine.IO 3 body it could be the end of a text
    if v3 { body == b"1:1" } else { body == b"1" || body.ends_with(&[SEPARATOR, b'1']) }
}

/// Whether the client closes the session anywhere in this body.
pub(super) fn leaves(body: &[u8], v3: bool) -> bool {
    if v3 { body == b"1:1" } else { body.split(|byte| *byte == SEPARATOR).any(|p| p == b"1") }
}

/// The body of an Engine.IO 3 poll: `<utf16 length>:<packet>…`, or, when the engine has labelled it
/// binary, `<0|1><length digits><255><packet>…`.
///
/// Attachments arrive here as `b<base64>`; Engine.IO 3 wants `b4<base64>`.
pub(super) fn body_v3(body: Bytes, binary: bool, answers: &mut impl Answers) -> Bytes {
    let rewritten = if binary { binary_v3(&body, answers) } else { string_v3(&body, answers) };
    rewritten.unwrap_or(body)
}

fn string_v3(body: &[u8], answers: &mut impl Answers) -> Option<Bytes> {
    let mut out = Vec::with_capacity(body.len() + 16);
    for packet in v3::texts(body)? {
        let new = packet_v3(packet.as_bytes(), answers);
        v3::put_text(&mut out, new.as_deref().unwrap_or(packet.as_bytes()));
    }
    Some(out.into())
}

fn binary_v3(body: &[u8], answers: &mut impl Answers) -> Option<Bytes> {
    let mut out = Vec::with_capacity(body.len() + 16);
    for (kind, packet) in v3::framed(body)? {
        let new = if kind == v3::STRING { packet_v3(packet, answers) } else { None };
        v3::put_framed(&mut out, kind, new.as_deref().unwrap_or(packet));
    }
    Some(out.into())
}

fn packet_v3(packet: &[u8], answers: &mut impl Answers) -> Option<Vec<u8>> {
    match packet.strip_prefix(b"b") {
        Some(base64) => Some([b"b4", base64].concat()),
        None => text_packet(packet, true, answers),
    }
}

#[cfg(test)]
#[path = "rewrite/tests.rs"]
mod tests;
