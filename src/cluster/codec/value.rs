//! Events between the wire and the clients. One side has values with binary inline, the other the
//! text of a packet with its attachments.
//!
//! Numbers, dates and values that JSON lacks come out as JavaScript prints them (sections 3.4 and 9
//! of the wire specification).

use rmpv::Value as Tree;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use socketioxide_core::Value;

use super::EncodeError;
use crate::{
    cluster::message::Event,
    msgpack::{self, Reader},
    packet::{MAX_DEPTH, ReadError},
    payload::{Writer, from_packet, to_packet},
};

/// [`to_packet`] for an event that may still be encoded.
///
/// # Errors
/// If it is nested too deeply.
pub(crate) fn event_to_packet(event: &Event) -> Result<Value, ReadError> {
    match event {
        Event::Values(values) => to_packet(values),
        Event::Encoded(bytes) => {
            let mut writer = Writer::of_packet(bytes.len() + 16);
            writer.copy(&mut Reader::new(bytes), MAX_DEPTH)?;
            writer.into_packet()
        }
    }
}

/// [`from_packet`] as MessagePack. Text without attachments, which is nearly all, needs no tree in
/// between.
///
/// # Errors
/// As there.
pub(super) fn packet_to_msgpack(packet: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if let Value::Str(text, None) = packet
        && text.trim_ascii_start().starts_with('[')
    {
        let start = out.len();
        if transcode(text, out).is_ok() {
            return Ok(());
        }
        out.truncate(start);
    }
    msgpack::write_array(out, &from_packet(packet).map_err(EncodeError::Packet)?);
    Ok(())
}

/// Strict about half characters: the reader of trees mends them.
fn transcode(text: &str, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Transcode(out).deserialize(&mut reader)?;
    reader.end()
}

/// Writes each visited value.
struct Transcode<'a>(&'a mut Vec<u8>);

impl Transcode<'_> {
    fn write<E>(self, value: impl Into<Tree>) -> Result<(), E> {
        msgpack::write(self.0, &value.into());
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Transcode<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcode<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.write(Tree::Nil)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.write(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        msgpack::text(self.0, value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let header = msgpack::Header::reserve(self.0);
        let mut length = 0;
        while elements.next_element_seed(Transcode(self.0))?.is_some() {
            length += 1;
        }
        header.array(self.0, length);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let header = msgpack::Header::reserve(self.0);
        let mut length = 0;
        while members.next_key_seed(Transcode(self.0))?.is_some() {
            members.next_value_seed(Transcode(self.0))?;
            length += 1;
        }
        header.map(self.0, length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn msgpack_of(text: String) -> Result<Vec<u8>, EncodeError> {
        let mut out = b"before".to_vec();
        packet_to_msgpack(&Value::Str(text.into(), None), &mut out)?;
        Ok(out.split_off(6))
    }

    #[test]
    fn long_lists_and_half_characters_have_their_header_and_their_replacement() {
        for length in [0, 15, 16, 300, 70_000] {
            let list = vec!["7"; length].join(",");
            let out = msgpack_of(format!("[\"e\",[{list}],{{\"k\":[{list}]}}]")).unwrap();
            let sevens = Tree::Array(vec![Tree::from(7); length]);
            let map = Tree::Map(vec![(Tree::from("k"), sevens.clone())]);
            let whole = Tree::Array(vec![Tree::from("e"), sevens, map]);
            assert_eq!(msgpack::read(&out).unwrap(), whole, "{length}");
        }
        let out = msgpack_of(r#"["e","\ud800",{"\udc00":1}]"#.to_owned()).unwrap();
        let map = Tree::Map(vec![(Tree::from("\u{fffd}"), Tree::from(1))]);
        let whole = Tree::Array(vec![Tree::from("e"), Tree::from("\u{fffd}"), map]);
        assert_eq!(msgpack::read(&out).unwrap(), whole);
    }

    #[test]
    fn what_is_no_array_is_refused() {
        for text in ["", "{}", "[1", "[1]2", "null", r#"["e",{"a"}]"#] {
            assert!(msgpack_of(text.to_owned()).is_err(), "{text}");
        }
        assert!(msgpack_of("[".repeat(100_000)).is_err());
    }
}
