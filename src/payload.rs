//! The arguments of an event or an acknowledgement, encoded as they travel.
//!
//! A payload that is passed on unchanged is never decoded: a clone shares the bytes. Typed values
//! are encoded once, in the text format that nearly all clients speak. For servers with the
//! MessagePack parser the text is converted at the last moment.
//!
//! Every payload that leaves for a client is one that the official parser takes. So a payload
//! encoded here is checked once, and a client's payload is checked before anybody sees it.

mod again;
mod check;
mod decode;
mod error;
mod name;
mod stored;
mod text;
mod unit;
mod values;

use std::borrow::Cow;

use bytes::Bytes;
use rmpv::Value as Tree;
use serde::{
    Deserialize, Serialize, Serializer,
    de::{DeserializeOwned, IntoDeserializer, value::UnitDeserializer},
    ser::SerializeTuple,
};
use socketioxide_core::{Value, parser::Parse};
use socketioxide_parser_common::CommonParser;

pub use error::PayloadError;
use error::encode_error;
pub(crate) use text::{Writer, to_json_text};
pub(crate) use values::{from_packet, to_packet};

use crate::{msgpack, names::events::is_reserved_event, packet::ReadError};

/// How the clients of this server encode their packets: Socket.IO's own text format, or
/// `socket.io-msgpack-parser`.
///
/// ```
/// use switchboard::{Gateway, Switchboard, payload::Parser};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder().parser(Parser::MsgPack).gateway(Gateway::new("/")).build()?;
/// # _ = server;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parser {
    /// Socket.IO's own format: JSON, binary as attachments. Every client speaks it by default.
    #[default]
    Json,
    /// `socket.io-msgpack-parser` on both sides.
    MsgPack,
}

/// The arguments of an event or an acknowledgement. Cheap to clone.
///
/// ```
/// use switchboard::Payload;
///
/// let event = Payload::event("move", &(3, "north"))?;
/// assert_eq!(event.decode::<(u8, String)>()?, (3, "north".to_owned()));
/// assert!(Payload::event("disconnect", &()).is_err());
/// # Ok::<(), switchboard::payload::PayloadError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    /// An array: text with its attachments, or MessagePack.
    value: Value,
    /// Whether the array starts with the event's name.
    named: bool,
}

impl Payload {
    /// The arguments `data` of an event. A tuple gives several arguments, `()` none, everything else
    /// one.
    /// Bytes (`bytes::Bytes`, `serde_bytes`) become binary arguments, at any depth.
    ///
    /// ```
    /// use switchboard::Payload;
    ///
    /// let one = Payload::event("note", "hello")?;
    /// let several = Payload::event("move", &(3, "north"))?;
    /// # Ok::<(), switchboard::payload::PayloadError>(())
    /// ```
    ///
    /// # Errors
    /// `ReservedEvent`; `Encode` if `data` refuses to be serialized; `TooDeep` or
    /// `TooManyAttachments` if clients would not take it.
    pub fn event<T: Serialize + ?Sized>(name: &str, data: &T) -> Result<Self, PayloadError> {
        if is_reserved_event(name) {
            return Err(PayloadError::ReservedEvent(name.to_owned()));
        }
        Self::encoded(data, Some(name))
    }

    /// An event with any number of arguments.
    ///
    /// ```
    /// use switchboard::Payload;
    ///
    /// let scores = Payload::event_with("scores", [3, 1, 2])?;
    /// assert_eq!(scores.decode::<(u8, u8, u8)>()?, (3, 1, 2));
    /// # Ok::<(), switchboard::payload::PayloadError>(())
    /// ```
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
    /// ```
    /// use switchboard::Payload;
    ///
    /// let ack = Payload::ack(&("saved", 7))?;
    /// assert_eq!(ack.decode::<(String, u32)>()?, ("saved".to_owned(), 7));
    /// # Ok::<(), switchboard::payload::PayloadError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Payload::event`], but for the name.
    pub fn ack<T: Serialize + ?Sized>(data: &T) -> Result<Self, PayloadError> {
        Self::encoded(data, None)
    }

    fn encoded<T: Serialize + ?Sized>(data: &T, name: Option<&str>) -> Result<Self, PayloadError> {
        let value = match unit::is_unit(data) {
            true => CommonParser.encode_value(&Arguments(Vec::new()), name),
            false => CommonParser.encode_value(data, name),
        };
        let value = value.map_err(encode_error)?;
        check::encoded(&value)?;
        Ok(Self { value, named: name.is_some() })
    }

    /// The event of a client: an array that starts with the event's name. It must be
    /// [checked](Self::checked) before it is shown to anybody.
    pub(crate) fn received(value: Value) -> Self {
        Self { value: name::unwrapped(value), named: true }
    }

    /// The acknowledgement of a client: an array of arguments alone.
    ///
    /// # Errors
    /// As [`checked`](Self::checked).
    pub(crate) fn acknowledged(value: Value) -> Result<Self, ReadError> {
        Self { value, named: false }.checked()
    }

    /// A payload written by this node or for it, known to be right.
    pub(crate) fn of_packet(value: Value, named: bool) -> Self {
        Self { value, named }
    }

    /// The same payload, if it may be passed on: the official parser and every node can read it.
    ///
    /// # Errors
    /// The fault of the payload.
    pub(crate) fn checked(self) -> Result<Self, ReadError> {
        check::received(&self.value, self.named)?;
        if self.named && self.event_name().is_some_and(|name| is_reserved_event(&name)) {
            return Err(ReadError::ReservedEvent);
        }
        Ok(self)
    }

    /// The arguments as they are encoded: an array, with the event's name first if it has one.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// Its size in bytes, attachments included.
    pub(crate) fn size(&self) -> usize {
        size_of_value(&self.value)
    }

    /// Reads the arguments as `T`: all of them if `T` is a tuple, else the first one. An absent
    /// first argument reads like `null`.
    ///
    /// ```
    /// use switchboard::Payload;
    ///
    /// let event = Payload::event("move", &(3, "north"))?;
    /// assert_eq!(event.decode::<u8>()?, 3);
    /// assert_eq!(event.decode::<(u8, String)>()?, (3, "north".to_owned()));
    /// assert!(event.decode::<bool>().is_err());
    /// # Ok::<(), switchboard::payload::PayloadError>(())
    /// ```
    ///
    /// # Errors
    /// `Decode` if they do not have this shape.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        let decoded = match &self.value {
            Value::Str(text, None) => decode::text(text, self.named),
            _ => decode::values(self.tree()?),
        };
        decoded.or_else(|error| {
            let absent: UnitDeserializer<serde::de::value::Error> = ().into_deserializer();
            match self.is_empty().then(|| T::deserialize(absent)) {
                Some(Ok(value)) => Ok(value),
                _ => Err(PayloadError::Decode(error)),
            }
        })
    }

    /// The arguments as untyped values, binary included.
    pub(crate) fn tree(&self) -> Result<Vec<Tree>, PayloadError> {
        let mut values = from_packet(&self.value)?;
        if self.named && !values.is_empty() {
            values.remove(0);
        }
        Ok(values)
    }

    /// Whether there are no arguments.
    ///
    /// ```
    /// use switchboard::Payload;
    ///
    /// assert!(Payload::event("ping", &())?.is_empty());
    /// assert!(!Payload::event("ping", &1)?.is_empty());
    /// # Ok::<(), switchboard::payload::PayloadError>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Str(text, _) => {
                self.after_head(text).is_some_and(|rest| rest.trim_ascii() == "]")
            }
            Value::Bytes(bytes) => {
                msgpack::array(bytes).is_some_and(|(length, _)| length <= usize::from(self.named))
            }
        }
    }

    /// The event's name, if the payload has one. JavaScript takes numbers for names, too.
    pub(crate) fn event_name(&self) -> Option<Cow<'_, str>> {
        if !self.named {
            return None;
        }
        match &self.value {
            Value::Str(text, _) => name::of_text(text),
            Value::Bytes(bytes) => name::of_msgpack(bytes),
        }
    }

    /// The bytes for clients that use `parser`.
    pub(crate) fn into_wire(self, parser: Parser) -> Result<Value, PayloadError> {
        match (&self.value, parser) {
            (Value::Str(..), Parser::Json) | (Value::Bytes(_), Parser::MsgPack) => Ok(self.value),
            (_, Parser::Json) => Ok(to_packet(&from_packet(&self.value)?)?),
            (_, Parser::MsgPack) => {
                let mut bytes = Vec::new();
                msgpack::write_array(&mut bytes, &from_packet(&self.value)?);
                Ok(Value::Bytes(bytes.into()))
            }
        }
    }
}

/// The size of encoded arguments in bytes, attachments included.
pub(crate) fn size_of_value(value: &Value) -> usize {
    match value {
        Value::Str(text, attachments) => {
            text.len() + attachments.iter().flatten().map(Bytes::len).sum::<usize>()
        }
        Value::Bytes(bytes) => bytes.len(),
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

#[cfg(test)]
#[path = "payload/tests.rs"]
mod tests;
