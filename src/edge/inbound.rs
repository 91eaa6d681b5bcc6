//! A client's packets, in the form that the engine can read.
//!
//! Socket.IO allows more than the engine and its parser read. A [`Reader`] sees each whole
//! Engine.IO packet of one client, from either transport, and says what the engine has to read in
//! its place. Nearly all packets pass unchanged, after a look at their beginning.
//!
//! Pure: it decides by the packet and by the packets before it, and does nothing itself. A packet
//! that Node.js (socket.io 4.8, engine.io 6.6) takes is taken here. Where Node.js closes the
//! connection, so does this.

mod base64;
mod body;
mod event;
mod msgpack;

use std::{fmt, sync::Arc};

use bytes::Bytes;

pub(super) use body::{Packets, body};
pub(super) use event::PlainEvent;
use msgpack::Read;

use super::answers::Answers;
use crate::packet::MAX_ATTACHMENTS;

/// The replacement for a client's packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// The packet passes unchanged.
    Pass,
    /// This text packet, the type of Engine.IO included (`42["name"]`).
    Text(Vec<u8>),
    /// Binary that came as text, or that needs another form. On a websocket this is the whole
    /// payload of a binary frame.
    Binary(Bytes),
    /// The packet means nothing here and does no harm. The engine reads nothing.
    Ignore,
    /// The packet makes no sense to any server. The session is closed.
    Close,
}

/// Reads the packets of one client, in the order in which it sent them. It moves with the session
/// from polling to a websocket: a packet's attachments may come by another transport than the
/// packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reader {
    /// Engine.IO 3.
    v3: bool,
    /// Attachments of the last packet that are still to come.
    awaited: u64,
    /// That packet had too many attachments. It was refused, and they are dropped.
    refused: bool,
    /// The namespaces other than `/` that the client has asked to join, as hashes.
    asked: Vec<u64>,
    connects: Connects,
    answers: Answers,
    format: Format,
}

/// The form of this server's packets, which is that of its parser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Nobody has said so yet: the engine decides.
    #[default]
    Unknown,
    /// Text, with binary data in messages of its own.
    Text,
    /// Binary.
    Binary,
}

/// Takes each CONNECT to a namespace other than `/`, by the name of the namespace.
#[derive(Clone, Default)]
pub(crate) struct Connects(Option<Arc<OnConnect>>);

type OnConnect = dyn Fn(&str) + Send + Sync;

impl Connects {
    pub(super) fn new(told: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    fn tell(&self, namespace: &[u8]) {
        if let (Some(told), Ok(namespace)) = (&self.0, std::str::from_utf8(namespace)) {
            told(namespace);
        }
    }
}

impl fmt::Debug for Connects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connects")
    }
}

/// Readers are equal if they have read the same, whatever their listeners.
impl PartialEq for Connects {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Connects {}

/// Most namespaces of a client that are remembered. Beyond it, its packets are trusted to be in
/// one.
const NAMESPACES: usize = 64;

impl Reader {
    pub(crate) fn new(v3: bool) -> Self {
        Self { v3, ..Self::default() }
    }

    /// Reports each CONNECT from now on.
    pub(super) fn tell(&mut self, connects: Connects) {
        self.connects = connects;
    }

    /// Reports each acknowledgement with an id of our own from now on.
    pub(super) fn hear(&mut self, answers: Answers) {
        self.answers = answers;
    }

    /// Closes sessions whose packets have another form. The engine would do so as well, but not before
    /// it has read what stands behind them.
    pub(super) fn expect(&mut self, format: Format) {
        self.format = format;
    }

    /// Reads a text packet: the payload of a text message on a websocket, or one packet of a body.
    pub(crate) fn text(&mut self, packet: &[u8]) -> Inbound {
        match packet {
            [b'4', ..] if self.format == Format::Binary => Inbound::Close,
            [b'4', message @ ..] => self.message(message),
            [b'b', _, ..] | [b'b'] => match base64::attachment(packet, self.v3) {
                Some(bytes) => self.came_as_text(bytes),
                None => Inbound::Ignore,
            },
            [b'1', ..] | [b'2' | b'3'] => Inbound::Pass,
            // A heartbeat may carry any text.
            [b'2', ..] if self.v3 => Inbound::Text(b"2".to_vec()),
            [b'2', rest @ ..] if rest != b"probe" => Inbound::Pass,
            [b'3', ..] if !self.v3 => Inbound::Text(b"3".to_vec()),
            // Packets that only a server sends, or that belong to an upgrade that ended or never
            // began.
            [b'0' | b'5' | b'6', ..] => Inbound::Ignore,
            _ => Inbound::Close,
        }
    }

    /// The event in a text packet that [passes](Inbound::Pass). `None` for any other packet, and for events
    /// that only the engine can read.
    #[inline]
    pub(super) fn plain_event<'a>(&self, packet: &'a str) -> Option<PlainEvent<'a>> {
        if self.v3 || self.format != Format::Text { None } else { PlainEvent::of(packet) }
    }

    /// Reads the payload of a binary message on a websocket. In Engine.IO 3 its first byte is the
    /// packet's type.
    pub(crate) fn binary(&mut self, payload: &[u8]) -> Inbound {
        let data = match payload {
            [4, data @ ..] if self.v3 => data,
            _ if self.v3 => return Inbound::Ignore,
            _ => payload,
        };
        match self.data(data) {
            Inbound::Binary(bytes) => Inbound::Binary(self.framed(bytes)),
            other => other,
        }
    }

    /// Binary data that came as text.
    fn came_as_text(&mut self, bytes: Vec<u8>) -> Inbound {
        match self.data(&bytes) {
            Inbound::Pass => Inbound::Binary(self.framed(bytes.into())),
            Inbound::Binary(bytes) => Inbound::Binary(self.framed(bytes)),
            other => other,
        }
    }

    /// As the payload of a frame.
    fn framed(&self, data: Bytes) -> Bytes {
        if self.v3 { [&[4], &*data].concat().into() } else { data }
    }

    /// An attachment, or a packet of the MessagePack parser.
    fn data(&mut self, data: &[u8]) -> Inbound {
        if self.awaited > 0 {
            self.awaited -= 1;
            return if self.refused { Inbound::Ignore } else { Inbound::Pass };
        }
        if self.format == Format::Text {
            return Inbound::Close;
        }
        match msgpack::read(data) {
            Read::Instead(packet) => Inbound::Binary(packet.into()),
            Read::Connect(namespace) => {
                self.connects.tell(namespace);
                Inbound::Pass
            }
            Read::Answer(namespace, id) => {
                self.answers.tell(namespace, id);
                Inbound::Pass
            }
            Read::AsItIs => Inbound::Pass,
            Read::Unreadable if self.format == Format::Binary => Inbound::Close,
            Read::Unreadable => Inbound::Pass,
        }
    }

    /// Reads a packet of Socket.IO.
    fn message(&mut self, message: &[u8]) -> Inbound {
        // Nothing may come between a packet and its attachments.
        let (Some(packet), 0) = (event::Packet::parse(message), self.awaited) else {
            return Inbound::Close;
        };
        if !self.knows(&packet) {
            return Inbound::Close;
        }
        if packet.kind == event::CONNECT {
            match packet.namespace_without_query(self.v3) {
                b"" | b"/" => {}
                namespace => self.connects.tell(namespace),
            }
        }
        if packet.is_binary() {
            self.awaited = packet.attachments;
            self.refused = packet.attachments > MAX_ATTACHMENTS as u64;
            match packet.kind {
                _ if packet.attachments == 0 => return Inbound::Close,
                event::BINARY_EVENT if self.refused => return packet.refused(self.v3),
                _ if self.refused => return Inbound::Close,
                _ => {}
            }
        }
        if let Some(id) = packet.answers() {
            self.answers.tell_text(packet.namespace_without_query(self.v3), id);
        }
        if packet.answers_nothing() {
            // Its attachments are skipped, too.
            self.refused = true;
            return Inbound::Ignore;
        }
        packet.readable(self.v3)
    }

    /// Whether the client has joined the packet's namespace, or joins it now. Only a namespace that
    /// the client never asked for is found out here; the engine checks all others.
    fn knows(&mut self, packet: &event::Packet<'_>) -> bool {
        let namespace = packet.namespace_without_query(self.v3);
        if matches!(namespace, b"" | b"/") || self.asked.len() >= NAMESPACES {
            return true;
        }
        let hash = hash(namespace);
        let known = self.asked.contains(&hash);
        if !known && packet.kind == event::CONNECT {
            self.asked.push(hash);
            return true;
        }
        known
    }
}

/// The arguments and the id of a plain event in a text packet, as they go past the engine.
#[cfg(any(test, fuzzing))]
pub(crate) fn plain_event(packet: &str) -> Option<(&str, Option<i64>)> {
    PlainEvent::of(packet).map(|event| (event.arguments, event.ack_id))
}

fn hash(name: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
#[path = "inbound/tests.rs"]
mod tests;
