//! Packets of Socket.IO's own parser, as far as they are read before the engine does.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Map, Value as Json};

use super::Inbound;
use crate::packet::WRAPPED;

pub(super) const CONNECT: u8 = b'0';
const EVENT: u8 = b'2';
const ACK: u8 = b'3';
pub(super) const BINARY_EVENT: u8 = b'5';
const BINARY_ACK: u8 = b'6';

/// Most digits of an id that surely fits into the engine's number.
const SHORT_ID: usize = 18;

/// An event without attachments that the engine reads as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) struct PlainEvent<'a> {
    /// Empty for `/`.
    pub(in crate::edge) namespace: &'a [u8],
    /// The id of the acknowledgement that the client waits for.
    pub(in crate::edge) ack_id: Option<i64>,
    /// The list of name and arguments.
    pub(in crate::edge) arguments: &'a str,
}

impl<'a> PlainEvent<'a> {
    /// The event in a packet of Engine.IO 4 that needs no replacement. `None` for any other packet, and for
    /// an event that the engine is to judge.
    #[inline]
    pub(super) fn of(packet: &'a str) -> Option<Self> {
        let message = packet.strip_prefix('4')?;
        let Packet { kind: EVENT, namespace, id, data, .. } = Packet::parse(message.as_bytes())?
        else {
            return None;
        };
        let ack_id = match id.len() {
            0 => None,
            1..=SHORT_ID => Some(std::str::from_utf8(id).ok()?.parse().ok()?),
            _ => return None,
        };
        let arguments = message.get(message.len() - data.len()..)?;
        arguments.starts_with('[').then_some(Self { namespace, ack_id, arguments })
    }
}

/// `<type>[<attachments>-][<namespace>,][<id>][<data>]`
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) kind: u8,
    /// The number of attachments that the packet announces.
    pub(super) attachments: u64,
    /// Empty for `/`, which is not written out.
    namespace: &'a [u8],
    id: &'a [u8],
    data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet. `None` without a type, or with attachments that are not counted.
    #[inline]
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let (kind, mut rest) = message.split_first()?;
        let mut packet = Self { kind: *kind, attachments: 0, namespace: &[], id: &[], data: &[] };
        if packet.is_binary() {
            let (count, after) = digits(rest);
            packet.attachments = std::str::from_utf8(count).ok()?.parse().ok()?;
            rest = after.strip_prefix(b"-")?;
        }
        if rest.first() == Some(&b'/') {
            let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
            packet.namespace = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        (packet.id, packet.data) = digits(rest);
        Some(packet)
    }

    #[inline]
    pub(super) fn is_binary(&self) -> bool {
        matches!(self.kind, BINARY_EVENT | BINARY_ACK)
    }

    /// The namespace's name. In Engine.IO 3 a query may follow it.
    #[inline]
    pub(super) fn namespace_without_query(&self, v3: bool) -> &'a [u8] {
        let query = || self.namespace.iter().position(|byte| *byte == b'?');
        match v3.then(query).flatten() {
            Some(at) => &self.namespace[..at],
            None => self.namespace,
        }
    }

    /// The id of an acknowledgement.
    #[inline]
    pub(super) fn answers(&self) -> Option<&'a [u8]> {
        matches!(self.kind, ACK | BINARY_ACK).then_some(self.id)
    }

    /// Whether this is an acknowledgement without an id.
    #[inline]
    pub(super) fn answers_nothing(&self) -> bool {
        matches!(self.kind, ACK | BINARY_ACK) && self.id.is_empty()
    }

    /// The replacement for the packet.
    #[inline]
    pub(super) fn readable(self, v3: bool) -> Inbound {
        let namespace = self.namespace_without_query(v3);
        let has_query = namespace.len() < self.namespace.len();
        match self.kind {
            CONNECT if has_query => {
                let auth = payload(&self.namespace[namespace.len() + 1..]);
                Inbound::Text(Packet { namespace, data: auth.as_bytes(), ..self }.written())
            }
            // No handler can exist for an event without a name.
            EVENT if self.data.is_empty() => Inbound::Ignore,
            EVENT | BINARY_EVENT => match name(self.data) {
                Some(Name::Readable) if has_query => {
                    Inbound::Text(Packet { namespace, ..self }.written())
                }
                Some(Name::Readable) => Inbound::Pass,
                Some(Name::Other) => {
                    let wrapped = [b"[\"", WRAPPED.as_bytes(), b"\",", self.data, b"]"].concat();
                    Inbound::Text(Packet { namespace, data: &wrapped, ..self }.written())
                }
                None => Inbound::Close,
            },
            // Types that only a server sends, or that do not exist.
            b'4' | b'7'.. | ..CONNECT => Inbound::Close,
            _ if has_query => Inbound::Text(Packet { namespace, ..self }.written()),
            _ => Inbound::Pass,
        }
    }

    /// The event without its attachments, which are too many.
    pub(super) fn refused(self, v3: bool) -> Inbound {
        let namespace = self.namespace_without_query(v3);
        let data = format!("[\"{WRAPPED}\",{}]", self.attachments);
        Inbound::Text(Packet { kind: EVENT, namespace, data: data.as_bytes(), ..self }.written())
    }

    fn written(&self) -> Vec<u8> {
        let attachments = match self.is_binary() {
            true => format!("{}-", self.attachments),
            false => String::new(),
        };
        let comma: &[u8] = if self.namespace.is_empty() { b"" } else { b"," };
        let head = [&[b'4', self.kind], attachments.as_bytes(), self.namespace, comma, self.id];
        [&head.concat(), self.data].concat()
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// The CONNECT payload for a query. Version 2 of Socket.IO has the query of a namespace instead.
fn payload(query: &[u8]) -> String {
    let pairs = form_urlencoded::parse(query);
    let auth: Map<String, Json> =
        pairs.map(|(name, value)| (name.into_owned(), Json::from(value.into_owned()))).collect();
    Json::Object(auth).to_string()
}

enum Name {
    /// The engine reads it.
    Readable,
    /// Text with escapes, a number, or the name under which such events are wrapped.
    Other,
}

/// The kind of an event's name. `None` for what no server takes: an event without a name, or text that
/// breaks off. The engine would end the session for it, too, but not before it has handled what
/// stands behind it.
#[inline]
fn name(data: &[u8]) -> Option<Name> {
    let mut read = serde_json::Deserializer::from_slice(data);
    match read.deserialize_seq(First) {
        Ok(WRAPPED) => Some(Name::Other),
        Ok(_) => Some(Name::Readable),
        Err(_) => {
            let mut read = serde_json::Deserializer::from_slice(data);
            IgnoredAny::deserialize(&mut read).ok()?;
            name_by_its_start(data)
        }
    }
}

/// The first of a list, as the engine reads it. Its own reader makes an error for every event, and throws it
/// away.
struct First;

impl<'de> Visitor<'de> for First {
    type Value = &'de str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list that begins with a text")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<&'de str, A::Error> {
        let first = list.next_element()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        first.ok_or_else(|| A::Error::custom("an empty list"))
    }
}

fn name_by_its_start(data: &[u8]) -> Option<Name> {
    let name = data.trim_ascii_start().strip_prefix(b"[")?.trim_ascii_start();
    let (first, name) = name.split_first()?;
    match first {
        b'"' => {}
        b'-' | b'0'..=b'9' => return Some(Name::Other),
        _ => return None,
    }
    let end = name.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let is_readable = name[end] == b'"' && &name[..end] != WRAPPED.as_bytes();
    Some(if is_readable { Name::Readable } else { Name::Other })
}
