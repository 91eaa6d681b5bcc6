//! The arguments of an event or an acknowledgement, encoded as they travel.
//!
//! A payload that is passed on unchanged is never decoded: cloning it shares the bytes. Typed
//! values are encoded once, in the text format that nearly all clients speak; for servers that use
//! the MessagePack parser it is converted at the last moment.

use std::borrow::Cow;

use rmpv::Value as Tree;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, IntoDeserializer, SeqAccess, Visitor, value::UnitDeserializer},
    ser::SerializeTuple,
};
use serde_json::value::RawValue;
use socketioxide_core::{Value, parser::Parse};
use socketioxide_parser_common::CommonParser;
use socketioxide_parser_msgpack::MsgPackParser;

use crate::{cluster::wire::mended, reserved::is_reserved_event};

/// Why a payload could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The value has a part that the format cannot carry, such as a map with keys that are no text.
    #[error("cannot encode the value")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The arguments do not have the shape of the type asked for.
    #[error("the arguments do not have the expected shape: {0}")]
    Decode(Box<dyn std::error::Error + Send + Sync>),
    /// An event name that Socket.IO keeps for itself, see [`is_reserved_event`].
    #[error("the event name {0:?} is reserved by Socket.IO")]
    ReservedEvent(String),
}

/// How the clients of this server encode their packets: Socket.IO's own text format, or
/// `socket.io-msgpack-parser`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parser {
    /// Socket.IO's own: JSON, binary as attachments. What every client speaks by itself.
    #[default]
    Json,
    /// `socket.io-msgpack-parser` on both sides.
    MsgPack,
}

/// The arguments of an event or an acknowledgement. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    /// An array. Text with its attachments, or MessagePack.
    value: Value,
    /// Whether the array starts with the event's name.
    named: bool,
}

impl Payload {
    /// The arguments `data` of an event. A tuple gives several arguments, everything else one.
    /// Bytes (`bytes::Bytes`, `serde_bytes`) become binary arguments, at any depth.
    ///
    /// # Errors
    /// `ReservedEvent`, or `Encode` if `data` refuses to be serialized.
    pub fn event<T: Serialize + ?Sized>(name: &str, data: &T) -> Result<Self, PayloadError> {
        if is_reserved_event(name) {
            return Err(PayloadError::ReservedEvent(name.to_owned()));
        }
        let value = CommonParser.encode_value(data, Some(name)).map_err(encode_error)?;
        Ok(Self { value, named: true })
    }

    /// An event with any number of arguments.
    ///
    /// # Errors
    /// As [`Payload::event`].
    pub fn event_with<T: Serialize>(
        name: &str,
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<Self, PayloadError> {
        let tree = |argument| rmpv::ext::to_value(argument).map_err(encode_error);
        let arguments = arguments.into_iter().map(tree).collect::<Result<Vec<_>, _>>()?;
        Self::event(name, &Arguments(arguments))
    }

    /// The arguments of an acknowledgement; a tuple gives several.
    ///
    /// # Errors
    /// `Encode` if `data` refuses to be serialized.
    pub fn ack<T: Serialize + ?Sized>(data: &T) -> Result<Self, PayloadError> {
        let value = CommonParser.encode_value(data, None).map_err(encode_error)?;
        Ok(Self { value, named: false })
    }

    /// What a client sent: an array that starts with the event's name.
    pub(crate) fn received(value: Value) -> Self {
        Self { value, named: true }
    }

    /// What a client answered: an array of arguments alone.
    pub(crate) fn acknowledged(value: Value) -> Self {
        Self { value, named: false }
    }

    /// The arguments as they are encoded: an array, with the event's name first if it has one.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// Reads the arguments as `T`: all of them if `T` is a tuple, else the first one. An absent
    /// first argument reads like `null`.
    ///
    /// # Errors
    /// `Decode` if they do not have this shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        let mut value = self.value.clone();
        let decoded = match value {
            Value::Str(..) => CommonParser.decode_value(&mut value, self.named),
            Value::Bytes(_) => MsgPackParser.decode_value(&mut value, self.named),
        };
        // Text that JavaScript cut in the middle of a character; rare, so looked at afterwards.
        let decoded = decoded.or_else(|error| match &self.value {
            Value::Str(text, attachments) => match mended(text) {
                Cow::Owned(mended) => {
                    let mut value = Value::Str(mended.into(), attachments.clone());
                    CommonParser.decode_value(&mut value, self.named).map_err(decode_error)
                }
                Cow::Borrowed(_) => Err(decode_error(error)),
            },
            Value::Bytes(_) => Err(decode_error(error)),
        });
        decoded.or_else(|error| {
            let absent: UnitDeserializer<serde::de::value::Error> = ().into_deserializer();
            match self.is_empty().then(|| T::deserialize(absent)) {
                Some(Ok(value)) => Ok(value),
                _ => Err(error),
            }
        })
    }

    /// The arguments as untyped values, binary included.
    pub(crate) fn tree(&self) -> Result<Vec<Tree>, PayloadError> {
        match &self.value {
            Value::Str(..) => {
                let mut value = self.value.clone();
                let Arguments(arguments) =
                    CommonParser.decode_value(&mut value, self.named).map_err(decode_error)?;
                Ok(arguments)
            }
            Value::Bytes(bytes) => {
                let mut bytes = bytes.as_ref();
                match rmpv::decode::read_value(&mut bytes).map_err(decode_error)? {
                    Tree::Array(values) => {
                        Ok(values.into_iter().skip(usize::from(self.named)).collect())
                    }
                    _ => Err(PayloadError::Decode("not an array".into())),
                }
            }
        }
    }

    /// Whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Str(text, _) => {
                self.after_head(text).is_some_and(|rest| rest.trim_ascii() == "]")
            }
            Value::Bytes(_) => self.tree().is_ok_and(|arguments| arguments.is_empty()),
        }
    }

    /// The same arguments under another event name.
    ///
    /// # Errors
    /// `ReservedEvent`; `Decode` if the payload came from a client and is malformed.
    pub fn with_event(&self, name: &str) -> Result<Self, PayloadError> {
        if is_reserved_event(name) {
            return Err(PayloadError::ReservedEvent(name.to_owned()));
        }
        if self.named && self.event_name().is_some_and(|own| own == name) {
            return Ok(self.clone());
        }
        match &self.value {
            Value::Str(text, attachments) => {
                let rest = self
                    .after_head(text)
                    .ok_or_else(|| PayloadError::Decode("not an event".into()))?;
                let mut renamed = String::with_capacity(rest.len() + name.len() + 4);
                renamed.push('[');
                renamed.push_str(&serde_json::to_string(name).map_err(encode_error)?);
                if !self.named && rest.trim_ascii() != "]" {
                    renamed.push(',');
                }
                renamed.push_str(rest);
                let value = Value::Str(renamed.into(), attachments.clone());
                Ok(Self { value, named: true })
            }
            Value::Bytes(_) => Self::event(name, &Arguments(self.tree()?)),
        }
    }

    /// The same arguments, as those of an acknowledgement.
    ///
    /// # Errors
    /// `Decode` if the payload came from a client and is malformed.
    pub fn into_ack(self) -> Result<Self, PayloadError> {
        match &self.value {
            _ if !self.named => Ok(self),
            Value::Str(text, attachments) => {
                let rest =
                    after_name(text).and_then(|rest| rest.trim_ascii_start().strip_prefix(','));
                let value =
                    Value::Str(format!("[{}", rest.unwrap_or("]")).into(), attachments.clone());
                Ok(Self { value, named: false })
            }
            Value::Bytes(_) => Self::ack(&Arguments(self.tree()?)),
        }
    }

    /// The first argument alone, as the arguments of an acknowledgement; none if there is none.
    ///
    /// # Errors
    /// `Decode` if the payload came from a client and is malformed.
    pub fn first_as_ack(&self) -> Result<Self, PayloadError> {
        match &self.value {
            Value::Str(text, None) => {
                let rest = self
                    .after_head(text)
                    .ok_or_else(|| PayloadError::Decode("not an event".into()))?
                    .trim_ascii_start();
                let rest = rest.strip_prefix(',').unwrap_or(rest);
                // Only the first argument is read; what follows is nobody's business here.
                let mut arguments = serde_json::Deserializer::from_str(rest);
                let first = match rest.trim_ascii_start().starts_with(']') {
                    true => "",
                    false => <&RawValue>::deserialize(&mut arguments).map_err(decode_error)?.get(),
                };
                let mut array = String::with_capacity(first.len() + 2);
                array.push('[');
                array.push_str(first);
                array.push(']');
                Ok(Self { value: Value::Str(array.into(), None), named: false })
            }
            _ => {
                let mut arguments = self.tree()?;
                arguments.truncate(1);
                Self::ack(&Arguments(arguments))
            }
        }
    }

    /// What stands behind the name, or behind the bracket if there is no name.
    fn after_head<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.named { after_name(text) } else { text.get(1..) }
    }

    /// The event's name, if the payload has one and it is plain text without escapes.
    pub(crate) fn event_name(&self) -> Option<Cow<'_, str>> {
        if !self.named {
            return None;
        }
        match &self.value {
            Value::Str(text, _) => match plain_name(text) {
                Some(name) => Some(Cow::Borrowed(name)),
                None => CommonParser.read_event(&self.value).ok().map(Cow::Borrowed),
            },
            Value::Bytes(_) => MsgPackParser.read_event(&self.value).ok().map(Cow::Borrowed),
        }
    }

    /// Makes a received payload with attachments safe to pass on: placeholders are numbered anew,
    /// and one without its attachment is refused, because the official client drops its connection
    /// when it receives such a packet. Payloads without attachments are left as they are.
    pub(crate) fn checked(self) -> Result<Self, PayloadError> {
        let Value::Str(_, Some(attachments)) = &self.value else { return Ok(self) };
        let arguments = self.tree()?;
        let mut placed = 0;
        if arguments.iter().any(|argument| has_stray_placeholder(argument, &mut placed))
            || placed != attachments.len()
        {
            return Err(PayloadError::Decode("attachments do not match the placeholders".into()));
        }
        let name = self.event_name().map(Cow::into_owned);
        let arguments = Arguments(arguments);
        let value = CommonParser.encode_value(&arguments, name.as_deref()).map_err(encode_error)?;
        Ok(Self { value, named: self.named })
    }

    /// The bytes for clients that use `parser`.
    pub(crate) fn into_wire(self, parser: Parser) -> Result<Value, PayloadError> {
        match (&self.value, parser) {
            (Value::Str(..), Parser::Json) | (Value::Bytes(_), Parser::MsgPack) => Ok(self.value),
            (_, Parser::Json) => {
                let name = self.event_name().map(Cow::into_owned);
                let arguments = Arguments(self.tree()?);
                CommonParser.encode_value(&arguments, name.as_deref()).map_err(encode_error)
            }
            (_, Parser::MsgPack) => {
                let mut values: Vec<Tree> =
                    self.event_name().map(|name| name.into_owned().into()).into_iter().collect();
                values.extend(self.tree()?);
                let mut bytes = Vec::new();
                rmpv::encode::write_value(&mut bytes, &Tree::Array(values))
                    .map_err(encode_error)?;
                Ok(Value::Bytes(bytes.into()))
            }
        }
    }
}

fn encode_error(error: impl std::error::Error + Send + Sync + 'static) -> PayloadError {
    PayloadError::Encode(Box::new(error))
}

fn decode_error(error: impl std::error::Error + Send + Sync + 'static) -> PayloadError {
    PayloadError::Decode(Box::new(error))
}

/// The name in `["name",…`, when it can be read without unescaping. Nearly always.
fn plain_name(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("[\"")?;
    let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
    (rest.as_bytes()[end] == b'"').then(|| &rest[..end])
}

/// What stands behind the name in `["name",…]`: `,…]` or `]`.
fn after_name(text: &str) -> Option<&str> {
    if let Some(name) = plain_name(text) {
        return text.get(name.len() + 3..);
    }
    let parts: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let name = parts.first()?.get();
    let start = name.as_ptr() as usize - text.as_ptr() as usize;
    text.get(start + name.len()..)
}

/// Counts the binary values, and finds maps that pretend to be a placeholder.
fn has_stray_placeholder(value: &Tree, binaries: &mut usize) -> bool {
    match value {
        Tree::Binary(_) => {
            *binaries += 1;
            false
        }
        Tree::Array(values) => values.iter().any(|value| has_stray_placeholder(value, binaries)),
        Tree::Map(members) => members.iter().any(|(key, value)| {
            key.as_str() == Some("_placeholder") || has_stray_placeholder(value, binaries)
        }),
        _ => false,
    }
}

/// All arguments, whatever their number. Serde's `Vec` would mean "the first argument, a list".
pub(crate) struct Arguments(pub(crate) Vec<Tree>);

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for argument in &self.0 {
            tuple.serialize_element(argument)?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Arguments;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the arguments of an event")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Arguments, A::Error> {
                let mut arguments = Vec::new();
                while let Some(argument) = seq.next_element()? {
                    arguments.push(argument);
                }
                Ok(Arguments(arguments))
            }
        }
        deserializer.deserialize_tuple(usize::MAX, Each)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received(text: &str) -> Payload {
        Payload::received(Value::Str(text.to_owned().into(), None))
    }

    fn text(payload: &Payload) -> &str {
        payload.value.as_str().map_or("", |text| text.as_str())
    }

    #[test]
    fn the_first_argument_alone_is_what_an_acknowledgement_gets() {
        for (event, ack) in [
            (r#"["e"]"#, "[]"),
            (r#"["e",1]"#, "[1]"),
            (r#"["e",{"a":[1.0,"]"]},2]"#, r#"[{"a":[1.0,"]"]}]"#),
            (r#"["e" , "x" ,2]"#, r#"["x"]"#),
            (r#"["\u0065",[[]],2]"#, "[[[]]]"),
        ] {
            let first = received(event).first_as_ack().expect("well formed");
            assert_eq!(text(&first), ack, "{event}");
        }
        assert!(received(r#"["e",nonsense]"#).first_as_ack().is_err());
        let several = Payload::ack(&(1, 2)).expect("encoded");
        assert_eq!(text(&several.first_as_ack().expect("well formed")), "[1]");
    }

    #[test]
    fn arguments_are_passed_on_under_another_name() {
        let event = received(r#"["e",1,{"n":1.50}]"#);
        assert_eq!(text(&event.with_event("f\"").expect("renamed")), r#"["f\"",1,{"n":1.50}]"#);
        assert_eq!(text(&event.clone().into_ack().expect("an ack")), r#"[1,{"n":1.50}]"#);
        assert_eq!(text(&received(r#"["e"]"#).into_ack().expect("an ack")), "[]");
        assert!(matches!(event.with_event("disconnect"), Err(PayloadError::ReservedEvent(_))));
    }

    #[test]
    fn a_tuple_is_all_arguments_and_an_absent_one_reads_like_null() {
        let event = received(r#"["e",1,"two"]"#);
        assert_eq!(event.decode::<(u8, String)>().expect("both"), (1, "two".to_owned()));
        assert_eq!(event.decode::<u8>().expect("the first"), 1);
        assert!(event.decode::<String>().is_err());
        let empty = received(r#"["e"]"#);
        assert!(empty.is_empty() && !event.is_empty());
        assert_eq!(empty.decode::<Option<u8>>().expect("none"), None);
        assert!(empty.decode::<u8>().is_err());
    }

    #[test]
    fn both_formats_carry_the_same_arguments() {
        let bytes = serde_bytes::Bytes::new(&[1, 2, 3]);
        let event = Payload::event("e", &(bytes, json!({ "n": 1.5 }))).expect("encoded");
        let wire = event.clone().into_wire(Parser::MsgPack).expect("converted");
        let packed = Payload::received(wire);
        assert_eq!(packed.event_name().as_deref(), Some("e"));
        assert_eq!(packed.tree().expect("read"), event.tree().expect("read"));
        let back =
            Payload { value: packed.into_wire(Parser::Json).expect("converted"), named: true };
        assert_eq!(back, event);
    }

    /// The official client drops its connection when a placeholder has no attachment.
    #[test]
    fn attachments_are_numbered_anew_and_must_fit_their_placeholders() {
        let with = |text: &str, attachments: usize| {
            let attachments = (0..attachments).map(|_| bytes::Bytes::from_static(b"x")).collect();
            Payload::received(Value::Str(text.to_owned().into(), Some(attachments))).checked()
        };
        let odd = r#"["e",{"_placeholder":true,"num":7}]"#;
        let fixed = with(odd, 1).expect("one for one");
        assert_eq!(text(&fixed), r#"["e",{"_placeholder":true,"num":0}]"#);
        assert!(with(odd, 2).is_err(), "an attachment too many");
        let two = r#"["e",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":0}]]"#;
        assert!(with(two, 1).is_err(), "a placeholder too many");
        assert!(received(odd).checked().is_ok(), "without attachments it is a map like any other");
    }
}
