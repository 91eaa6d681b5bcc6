//! The bodies of polling requests, packet by packet.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Inbound, Reader, base64};
use crate::edge::{packets::SEPARATOR, v3};

/// The replacement for a body.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::edge) struct Packets {
    /// The packets for the engine. There may be none.
    pub(in crate::edge) bytes: Bytes,
    /// The rest of the body makes no sense, and the session ends.
    pub(in crate::edge) closes: bool,
}

/// A packet in a body.
enum Packet<'a> {
    Text(Cow<'a, [u8]>),
    /// Of Engine.IO 3, its type included.
    Binary(Cow<'a, [u8]>),
}

/// Reads the body of a request. `binary` is the form of Engine.IO 3 that the request's type names.
pub(in crate::edge) fn body(reader: &mut Reader, body: Bytes, binary: bool) -> Packets {
    let packets = match (reader.v3, binary) {
        (false, _) => Some(separated(&body)),
        (true, false) => counted(&body),
        (true, true) => framed(&body),
    };
    // The engine refuses a body that cannot be divided into packets.
    let Some(packets) = packets else { return Packets { bytes: body, closes: false } };
    let (mut read, mut changed, mut closes) = (Vec::with_capacity(packets.len()), false, false);
    for packet in packets {
        match readable(reader, packet) {
            Some(Readable::AsItIs(packet)) => read.push(packet),
            Some(Readable::Instead(packet)) => {
                changed = true;
                read.push(packet);
            }
            Some(Readable::Nothing) => changed = true,
            None => {
                (changed, closes) = (true, true);
                break;
            }
        }
    }
    let packets = match (changed, reader.v3, binary) {
        (false, ..) => body,
        (true, false, _) => write_separated(&read),
        (true, true, false) => write_counted(&read),
        (true, true, true) => write_framed(&read),
    };
    Packets { bytes: packets, closes }
}

enum Readable<'a> {
    AsItIs(Packet<'a>),
    Instead(Packet<'a>),
    Nothing,
}

/// The packet for the engine. `None`: the session has to be closed.
fn readable<'a>(reader: &mut Reader, packet: Packet<'a>) -> Option<Readable<'a>> {
    let inbound = match &packet {
        Packet::Text(text) => reader.text(text),
        Packet::Binary(data) => reader.binary(data),
    };
    Some(match (inbound, &packet) {
        (Inbound::Pass, _) => Readable::AsItIs(packet),
        (Inbound::Text(text), _) => Readable::Instead(Packet::Text(text.into())),
        (Inbound::Binary(bytes), Packet::Binary(_)) => {
            Readable::Instead(Packet::Binary(bytes.to_vec().into()))
        }
        (Inbound::Binary(bytes), Packet::Text(text)) => {
            let data = if reader.v3 { &bytes[1..] } else { &bytes[..] };
            let encoded = base64::packet(data, reader.v3);
            // Nearly always the text is already what the engine reads.
            match encoded == **text {
                true => Readable::AsItIs(packet),
                false => Readable::Instead(Packet::Text(encoded.into())),
            }
        }
        (Inbound::Ignore, _) => Readable::Nothing,
        (Inbound::Close, _) => return None,
    })
}

fn separated(body: &[u8]) -> Vec<Packet<'_>> {
    body.split(|byte| *byte == SEPARATOR).map(|packet| Packet::Text(packet.into())).collect()
}

fn write_separated(packets: &[Packet<'_>]) -> Bytes {
    packets.iter().map(Packet::bytes).collect::<Vec<_>>().join(&SEPARATOR).into()
}

/// The packets of an Engine.IO 3 body. Empty ones are skipped.
fn counted(body: &[u8]) -> Option<Vec<Packet<'_>>> {
    let packets = v3::texts(body)?.into_iter().filter(|packet| !packet.is_empty());
    Some(packets.map(|packet| Packet::Text(packet.as_bytes().into())).collect())
}

fn write_counted(packets: &[Packet<'_>]) -> Bytes {
    let mut body = Vec::new();
    packets.iter().for_each(|packet| v3::put_text(&mut body, packet.bytes()));
    body.into()
}

fn framed(body: &[u8]) -> Option<Vec<Packet<'_>>> {
    let packets = v3::framed(body)?.into_iter().map(|(kind, packet)| match kind {
        v3::STRING => Packet::Text(packet.into()),
        _ => Packet::Binary(packet.into()),
    });
    Some(packets.collect())
}

fn write_framed(packets: &[Packet<'_>]) -> Bytes {
    let mut body = Vec::new();
    for packet in packets {
        let kind = u8::from(matches!(packet, Packet::Binary(_)));
        v3::put_framed(&mut body, kind, packet.bytes());
    }
    body.into()
}

impl Packet<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}
