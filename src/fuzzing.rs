//! Whatever a client sends, others get only packets that the official parser takes; and whatever it
//! says of its session, it gets no place in a log that it cannot have. Fuzz targets run this, and,
//! with fewer inputs, tests.

use std::collections::VecDeque;

use bytes::Bytes;
use rmpv::Value as Tree;
use serde::de::IgnoredAny;
use serde_json::Value as Json;
use socketioxide_core::{
    Value,
    packet::{Packet, PacketData},
    parser::{Parse, ParseConfig, ParserState},
};
use socketioxide_parser_common::CommonParser;
use socketioxide_parser_msgpack::MsgPackParser;

use crate::{
    edge::{Inbound, Reader, plain_event},
    gateway::entrance::said,
    javascript::json::mended,
    names::events::is_reserved_event,
    payload::{Parser, Payload, from_packet, to_packet},
    recovery::{Offsets, Pid, Position, Said, with_offset},
};

/// A message of a client: its payload, and whether it is binary.
pub type Message<'a> = (bool, &'a [u8]);

/// Reads messages of a client as the edge, the engine and the payloads do, and passes on the
/// accepted ones in every possible way. Returns the number of accepted events.
///
/// # Panics
/// If another client would get a packet that the official parser refuses.
pub fn client(v3: bool, msgpack: bool, messages: &[Message<'_>]) -> usize {
    let mut reader = Reader::new(v3);
    let engine = Engine { msgpack, ..Engine::default() };
    let mut taken = 0;
    for (binary, message) in messages {
        let inbound = if *binary { reader.binary(message) } else { reader.text(message) };
        let packet = match inbound {
            Inbound::Pass if *binary => engine.binary(v3, message),
            Inbound::Pass => {
                let packet = engine.text(message);
                if !v3 && !msgpack {
                    assert_plain_event(message, &packet);
                }
                packet
            }
            Inbound::Text(text) => engine.text(&text),
            Inbound::Binary(bytes) => engine.binary(v3, &bytes),
            Inbound::Ignore => continue,
            Inbound::Close => return taken,
        };
        match packet {
            Err(Closed) => return taken,
            Ok(Some(PacketData::Event(value, _) | PacketData::BinaryEvent(value, _))) => {
                if let Ok(payload) = Payload::received(value).checked() {
                    event_is_safe(&payload);
                    taken += 1;
                }
            }
            Ok(Some(PacketData::EventAck(value, _) | PacketData::BinaryAck(value, _))) => {
                if let Ok(payload) = Payload::acknowledged(value) {
                    ack_is_safe(&payload);
                }
            }
            Ok(_) => {}
        }
    }
    taken
}

/// Reads what stands beside a session in Redis.
///
/// # Panics
/// If what is understood does not survive being written.
pub fn shared_session(beside: &[u8]) {
    crate::sockets::roaming::check_beside(beside);
}

/// Reads the payload of a CONNECT for a session to come back to, in a namespace whose log is in
/// memory or in a stream of Redis. Returns whether the client names a place in that log.
///
/// # Panics
/// If it gets a session or a place that it has not named.
pub fn returning(in_stream: bool, auth: &[u8]) -> bool {
    let Ok(auth) = serde_json::from_slice::<Json>(auth) else { return false };
    let Some(Ok(back)) = said(&auth) else { return false };
    assert_eq!(auth["pid"], back.pid.reveal(), "another session");
    assert_eq!(Pid::said(back.pid.reveal()), Some(back.pid));
    let offsets = match in_stream {
        true => Offsets::InStream,
        false => Offsets::InMemory { log: "AAAAAAAA".into() },
    };
    let Some(offset) = back.offset else { return false };
    let Said::Here(place) = offsets.read(&offset) else { return false };
    // It may be written with more zeros than a server writes.
    assert_eq!(offsets.read(&offsets.write(place)), Said::Here(place), "another place");
    true
}

/// The engine's parser, with its limits.
#[derive(Default)]
struct Engine {
    msgpack: bool,
    state: ParserState,
    config: ParseConfig,
}

/// The engine closes the session.
struct Closed;

impl Engine {
    fn text(&self, packet: &[u8]) -> Result<Option<PacketData>, Closed> {
        let text = std::str::from_utf8(packet).map_err(|_| Closed)?;
        let Some(text) = text.strip_prefix('4') else { return Ok(None) };
        let text = text.to_owned().into();
        self.judge(match self.msgpack {
            true => MsgPackParser.decode_str(&self.config, &self.state, text),
            false => CommonParser.decode_str(&self.config, &self.state, text),
        })
    }

    fn binary(&self, v3: bool, payload: &[u8]) -> Result<Option<PacketData>, Closed> {
        let data =
            Bytes::copy_from_slice(if v3 { payload.get(1..).unwrap_or_default() } else { payload });
        self.judge(match self.msgpack {
            true => MsgPackParser.decode_bin(&self.config, &self.state, data),
            false => CommonParser.decode_bin(&self.config, &self.state, data),
        })
    }

    fn judge(
        &self,
        packet: Result<Packet, socketioxide_core::parser::ParseError>,
    ) -> Result<Option<PacketData>, Closed> {
        use socketioxide_core::parser::ParseError::NeedsMoreBinaryData;
        match packet {
            Ok(Packet { inner, .. }) => {
                if let PacketData::Event(value, _) | PacketData::BinaryEvent(value, _) = &inner {
                    let name = match self.msgpack {
                        true => MsgPackParser.read_event(value),
                        false => CommonParser.read_event(value),
                    };
                    name.map_err(|_| Closed)?;
                }
                Ok(Some(inner))
            }
            Err(NeedsMoreBinaryData) => Ok(None),
            Err(_) => Err(Closed),
        }
    }
}

/// An event that goes past the engine is what the engine would have read.
fn assert_plain_event(message: &[u8], packet: &Result<Option<PacketData>, Closed>) {
    let Ok(text) = std::str::from_utf8(message) else { return };
    if let Some((event, ack_id)) = plain_event(text) {
        let event = Value::Str(event.to_owned().into(), None);
        let Ok(Some(PacketData::Event(read, read_id))) = packet else { panic!("no event: {text}") };
        assert_eq!((read, read_id), (&event, &ack_id), "{text}");
    }
}

fn event_is_safe(payload: &Payload) {
    assert!(payload.event_name().is_some(), "an event has a name");
    let renamed = payload.with_event("events").expect("a payload that was checked");
    for payload in [payload.clone(), renamed] {
        for parser in [Parser::Json, Parser::MsgPack] {
            // The other format may have too many attachments, which is an error.
            if let Ok(value) = payload.clone().into_wire(parser) {
                let offset = Offsets::InStream.write(Position::numbered(7));
                let logged = with_offset(&value, &offset).expect("an event is a list");
                official(Packet::event("/", logged));
                official(Packet::event("/", value));
            }
        }
        let values = from_packet(payload.value()).expect("a payload that was checked");
        if let Ok(packet) = to_packet(&values) {
            official(Packet::event("/", packet));
        }
    }
    if let Ok(first) = payload.decode::<Tree>()
        && let Ok(again) = Payload::event("message", &first)
    {
        official(Packet::event("/", again.value().clone()));
    }
    ack_is_safe(&payload.first_as_ack().expect("a payload that was checked"));
    ack_is_safe(&payload.clone().into_ack().expect("a payload that was checked"));
}

fn ack_is_safe(payload: &Payload) {
    for parser in [Parser::Json, Parser::MsgPack] {
        if let Ok(value) = payload.clone().into_wire(parser) {
            official(Packet::ack("/", value, 7));
        }
    }
}

/// Decodes a packet as the official parsers do.
fn official(packet: Packet) {
    let value = match &packet.inner {
        PacketData::Event(value, _) | PacketData::BinaryEvent(value, _) => value,
        PacketData::EventAck(value, _) | PacketData::BinaryAck(value, _) => value,
        other => panic!("neither an event nor an acknowledgement: {other:?}"),
    };
    if matches!(value, Value::Bytes(_)) {
        return official_msgpack(packet);
    }
    match CommonParser.encode(packet) {
        Value::Str(text, attachments) => official_text(&text, &attachments.unwrap_or_default()),
        Value::Bytes(_) => panic!("the text format is text"),
    }
}

/// As `socket.io-parser` 4.2.7 decodes it.
fn official_text(packet: &str, attachments: &VecDeque<Bytes>) {
    let (kind, rest) = packet.split_at(1);
    let rest = match kind {
        "5" | "6" => {
            let (count, rest) = rest.split_once('-').expect("the number of attachments");
            let count: usize = count.parse().expect("the number of attachments");
            assert_eq!(count, attachments.len(), "attachments are missing: {packet}");
            assert!((1..=10).contains(&count), "{count} attachments: {packet}");
            rest
        }
        _ => {
            assert!(attachments.is_empty(), "attachments that nobody expects: {packet}");
            rest
        }
    };
    let data = rest.trim_start_matches(|byte: char| byte.is_ascii_digit());
    serde_json::from_str::<IgnoredAny>(data).unwrap_or_else(|error| panic!("{error}: {packet}"));
    // A strict reader would fail if the text is nested too deeply for it.
    let data: Json = serde_json::from_str(&mended(data).expect("JSON")).expect("JSON");
    let list = data.as_array().unwrap_or_else(|| panic!("no list: {packet}"));
    if matches!(kind, "2" | "5") {
        let is_name = match list.first() {
            Some(Json::String(name)) => !is_reserved_event(name),
            name => name.is_some_and(Json::is_number),
        };
        assert!(is_name, "no name, or one that is reserved: {packet}");
    }
    if !attachments.is_empty() {
        placeholders(&data, attachments.len());
    }
}

fn placeholders(data: &Json, attachments: usize) {
    match data {
        Json::Object(members) if members.get("_placeholder") == Some(&Json::Bool(true)) => {
            let number = members.get("num").and_then(Json::as_f64);
            let fits = number.is_some_and(|number| number >= 0.0 && number < attachments as f64);
            assert!(fits, "illegal attachments: {data}");
        }
        Json::Object(members) => members.values().for_each(|data| placeholders(data, attachments)),
        Json::Array(list) => list.iter().for_each(|data| placeholders(data, attachments)),
        _ => {}
    }
}

/// As `socket.io-msgpack-parser` 3 decodes it: one value, and its data is a list.
fn official_msgpack(packet: Packet) {
    let Value::Bytes(bytes) = MsgPackParser.encode(packet) else { panic!("MessagePack is binary") };
    let mut rest = &bytes[..];
    let packet = rmpv::decode::read_value(&mut rest).expect("MessagePack");
    assert!(rest.is_empty(), "bytes behind the packet");
    assert!(packet["data"].is_array(), "no list: {packet}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_place_is_one_that_was_named(
            in_stream in any::<bool>(),
            pid in "[a-zA-Z0-9_.-]{0,30}| ",
            offset in "(AAAAAAAA|BBBBBBBB)?[.-]?[0-9]{1,21}([.-][0-9]{1,21})?|.{0,20}",
        ) {
            let auth = serde_json::json!({ "pid": pid, "offset": offset }).to_string();
            returning(in_stream, auth.as_bytes());
        }
    }

    #[test]
    fn a_place_is_found() {
        for (in_stream, offset) in [(false, "AAAAAAAA.7"), (true, "1795490547421-0")] {
            let auth = format!(r#"{{"pid":"p","offset":"{offset}"}}"#);
            assert!(returning(in_stream, auth.as_bytes()));
            assert!(!returning(!in_stream, auth.as_bytes()));
        }
    }

    /// Pieces of which packets are made, right ones and wrong ones.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "4",
            "2",
            "3",
            "5",
            "6",
            "51-",
            "52-",
            "61-",
            "511-",
            "/chat,",
            "7",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "\"e\"",
            "\"events\"",
            "\"a\\/b\"",
            "\"\u{e000}\"",
            "\"\\u0063onnect\"",
            "\"\\ud800\"",
            "\"_placeholder\":true",
            "\"num\":0",
            "\"num\":1",
            "1",
            "-1.5",
            "1e400",
            "null",
            "true",
            " ",
            "x",
            "{\"_placeholder\":true,\"num\":0}",
            "{\"num\":0,\"_placeholder\":true}",
            "b",
            "AQID",
            "42[\"e\",",
            "451-[\"e\",",
            "43",
            "é",
            "[[[[[[[[[[[[[[[[[[[[[[",
            "]]]]]]]]]]]]]]]]]]]]]]",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn others_get_only_what_the_official_parser_takes(
            v3 in any::<bool>(),
            messages in prop::collection::vec((prop::bool::weighted(0.3), text()), 0..6),
        ) {
            let messages: Vec<_> = messages.iter().map(|(b, m)| (*b, m.as_slice())).collect();
            client(v3, false, &messages);
        }

        #[test]
        fn any_bytes_are_safe_in_messagepack(
            name in any::<i16>(),
            data in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut packet = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xd1".to_vec();
            packet.extend_from_slice(&name.to_be_bytes());
            packet.extend_from_slice(&data);
            client(false, true, &[(true, &packet), (true, &data)]);
        }
    }

    #[test]
    fn ordinary_events_are_taken() {
        let messages: [Message<'_>; 6] = [
            (false, b"42[\"e\",1]"),
            (false, b"42[\"a\\/b\",{\"\\u00e9\":1}]"),
            (false, b"427[1,\"x\"]"),
            (false, b"451-[\"e\",{\"num\":0,\"_placeholder\":true}]"),
            (true, b"x"),
            (false, b"42[\"e\"]"),
        ];
        assert_eq!(client(false, false, &messages), 5);
        let packet = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\x01\xc4\x01x";
        assert_eq!(client(false, true, &[(true, packet)]), 1);
    }
}
