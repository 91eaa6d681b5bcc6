//! The packets in bodies of polling requests, and dividing bodies into parts. Pure.
//!
//! Engine.IO 4 puts a byte between packets, and binary is base64 behind a `b`. Engine.IO 3 puts
//! `<length in UTF-16 units>:` before each packet, or, if a body has binary, `<0|1><digits><255>`.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;

use super::{frames, size::Size, v3};

/// Between two packets of an Engine.IO 4 body.
pub(super) const SEPARATOR: u8 = 0x1e;

/// The packets and bytes of an answer to a poll: exact for Engine.IO 4, a minimum for 3.
pub(super) fn size(body: &[u8], v3: bool) -> Size {
    if v3 {
        return Size { packets: 1, bytes: body.len() };
    }
    body.split(|byte| *byte == SEPARATOR).fold(Size::default(), |sum, packet| {
        let bytes = match packet {
            [b'b', base64 @ ..] => {
                let padding = base64.iter().rev().take_while(|byte| **byte == b'=').count();
                (base64.len() / 4 * 3).saturating_sub(padding)
            }
            text => text.len(),
        };
        Size { packets: sum.packets + 1, bytes: sum.bytes + bytes }
    })
}

/// Takes at most `most` packets from the front of a client's body; all of them in Engine.IO 3.
pub(super) fn split_off_first(body: &mut Bytes, most: usize, v3: bool) -> Bytes {
    let end = if v3 {
        None
    } else {
        let separators = body.iter().enumerate().filter(|(_, byte)| **byte == SEPARATOR);
        separators.map(|(at, _)| at).nth(most - 1)
    };
    match end {
        None => std::mem::take(body),
        Some(at) => {
            let first = body.split_to(at);
            let _separator = body.split_to(1);
            first
        }
    }
}

/// An Engine.IO 4 body with a NOOP in place of each packet that the client must not get.
pub(super) fn with_noops(body: &Bytes, mut is_hidden: impl FnMut(&[u8]) -> bool) -> Bytes {
    let mut is_hidden = |packet: &[u8]| match packet {
        [b'b', base64 @ ..] => BASE64.decode(base64).is_ok_and(|packet| is_hidden(&packet)),
        text => is_hidden(text),
    };
    let packets: Vec<&[u8]> = body
        .split(|byte| *byte == SEPARATOR)
        .map(|packet| if is_hidden(packet) { b"6" } else { packet })
        .collect();
    packets.join(&SEPARATOR).into()
}

/// Whether a client may send all of this body before it has joined a namespace.
pub(super) fn may_precede_connect(body: &[u8]) -> bool {
    body.split(|byte| *byte == SEPARATOR).all(|packet| match packet {
        [b'b', base64 @ ..] => {
            let start = &base64[..base64.len().min(12)];
            BASE64.decode(start).is_ok_and(|start| is_msgpack_connect(&start))
        }
        text => is_connect(text),
    })
}

/// Whether this text packet is a heartbeat, or joins a namespace.
pub(super) fn is_connect(packet: &[u8]) -> bool {
    matches!(packet, b"2" | b"3" | [b'4', b'0', ..])
}

/// Whether this packet of the MessagePack parser joins a namespace: `{type: 0, nsp, …}`.
pub(super) fn is_msgpack_connect(packet: &[u8]) -> bool {
    matches!(packet, [0x82..=0x84, 0xa4, b't', b'y', b'p', b'e', 0, ..])
}

/// The packets of an engine's answer as websocket frames. NOOPs are left out: they end polls and
/// mean nothing there. `None` if the body is malformed.
pub(super) fn of_body(body: &[u8], v3: bool, is_binary: bool) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut packets = match (v3, is_binary) {
        (false, _) => body
            .split(|byte| *byte == SEPARATOR)
            .map(|packet| match packet {
                [b'b', base64 @ ..] => Some((frames::BINARY, BASE64.decode(base64).ok()?)),
                text => Some((frames::TEXT, text.to_vec())),
            })
            .collect::<Option<Vec<_>>>()?,
        (true, false) => string_v3(body)?,
        (true, true) => binary_v3(body)?,
    };
    packets.retain(|(opcode, packet)| *opcode == frames::BINARY || packet != b"6");
    Some(packets)
}

fn string_v3(body: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    v3::texts(body)?.into_iter().map(|packet| text_v3(packet.as_bytes())).collect()
}

fn binary_v3(body: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let packets = v3::framed(body)?.into_iter().map(|(kind, packet)| match kind {
        v3::STRING => text_v3(packet),
        // the type is in front, as in a frame
        _ => Some((frames::BINARY, packet.to_vec())),
    });
    packets.collect()
}

/// A text packet as a frame. The engine writes attachments as `b<base64>`; in a frame their type is
/// a byte in front.
fn text_v3(packet: &[u8]) -> Option<(u8, Vec<u8>)> {
    const MESSAGE: u8 = 4;
    Some(match packet {
        [b'b', base64 @ ..] => {
            (frames::BINARY, [&[MESSAGE], &BASE64.decode(base64).ok()?[..]].concat())
        }
        text => (frames::TEXT, text.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(packet: &str) -> (u8, Vec<u8>) {
        (frames::TEXT, packet.as_bytes().to_vec())
    }

    fn binary(packet: &[u8]) -> (u8, Vec<u8>) {
        (frames::BINARY, packet.to_vec())
    }

    #[test]
    fn the_same_packets_are_found_in_every_kind_of_body() {
        assert_eq!(
            of_body("42[\"é\"]\x1ebAQIDBA==\x1e6\x1e2".as_bytes(), false, false),
            Some(vec![text("42[\"é\"]"), binary(&[1, 2, 3, 4]), text("2")])
        );
        assert_eq!(
            of_body("7:42[\"é\"]9:bAQIDBA==1:6".as_bytes(), true, false),
            Some(vec![text("42[\"é\"]"), binary(&[4, 1, 2, 3, 4])])
        );
        let body = [b"\0\x08\xff42[\"\xc3\xa9\"]".as_slice(), b"\x01\x05\xff\x04\x01\x02\x03\x04"];
        assert_eq!(
            of_body(&body.concat(), true, true),
            Some(vec![text("42[\"é\"]"), binary(&[4, 1, 2, 3, 4])])
        );
        assert_eq!(of_body(b"99:short", true, false), None);
    }

    #[test]
    fn a_body_counts_as_the_packets_in_it() {
        assert_eq!(size(b"42[1]\x1ebAQIDBA==\x1e2", false), Size { packets: 3, bytes: 10 });
    }

    #[test]
    fn a_posted_body_is_taken_in_parts_that_make_the_whole() {
        let body = Bytes::from_static(b"3\x1e42[1]\x1e42[2]\x1e42[3]\x1e42[4]");
        let mut rest = body.clone();
        let mut parts = Vec::new();
        while !rest.is_empty() {
            parts.push(split_off_first(&mut rest, 2, false));
        }
        assert_eq!(parts, [&b"3\x1e42[1]"[..], b"42[2]\x1e42[3]", b"42[4]"]);
        let mut rest = body.clone();
        assert_eq!(split_off_first(&mut rest, 5, false), body);
        let mut rest = body.clone();
        assert_eq!(split_off_first(&mut rest, 1, true), body, "Engine.IO 3 is left whole");
    }

    #[test]
    fn before_a_namespace_only_joining_and_heartbeats_are_ordinary() {
        let msgpack = [b"b", BASE64.encode(b"\x82\xa4type\0\xa3nsp\xa1/").as_bytes()].concat();
        for body in [&b"40"[..], b"3", b"40/chat,{}\x1e3", &msgpack] {
            assert!(may_precede_connect(body));
        }
        for body in [&b""[..], b"1", b"42[]", b"40\x1e42[]", b"bAQID", b"garbage"] {
            assert!(!may_precede_connect(body));
        }
    }
}
