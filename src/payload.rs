//! The arguments of an event or an acknowledgement, encoded as they travel.
//!
//! A payload that is passed on unchanged is never decoded: a clone shares the bytes. Typed values
//! are encoded once, in the text format that nearly all clients speak. For servers with the
//! MessagePack parser the text is converted at the last moment.
//!
//! Every payload that leaves for a client is one that the official parser takes. So a payload
//! encoded here is checked once, and a client's payload is checked before anybody sees it.

mod check;
mod decode;
mod name;
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

pub(crate) use text::{Writer, to_json_text};
pub(crate) use values::{from_packet, to_packet};

use crate::{
    fault::{Code, Fault},
    msgpack,
    names::events::is_reserved_event,
    packet::{MAX_ATTACHMENTS, MAX_DEPTH, ReadError},
};

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
    /// The value has lists and maps nested too deeply.
    #[error("lists and maps may be nested {MAX_DEPTH} deep at most")]
    TooDeep,
    /// The value has more binary parts than the official client takes; it would drop its
    /// connection.
    #[error("an event has {MAX_ATTACHMENTS} attachments at most")]
    TooManyAttachments,
    /// Socket.IO reserves the event name, see [`is_reserved_event`].
    #[error("the event name {0:?} is reserved by Socket.IO")]
    ReservedEvent(String),
}

impl From<ReadError> for PayloadError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooDeep => Self::TooDeep,
            ReadError::TooManyAttachments => Self::TooManyAttachments,
            other => Self::Decode(Box::new(other)),
        }
    }
}

impl From<&PayloadError> for Fault {
    fn from(error: &PayloadError) -> Self {
        match error {
            PayloadError::Decode(_) | PayloadError::TooDeep => Self::bad_request(error.to_string()),
            PayloadError::TooManyAttachments => Self::new(Code::TooLarge, error.to_string()),
            PayloadError::ReservedEvent(_) | PayloadError::Encode(_) => {
                tracing::error!(%error, source = ?std::error::Error::source(error), "cannot send");
                Self::internal()
            }
        }
    }
}

impl From<PayloadError> for Fault {
    fn from(error: PayloadError) -> Self {
        Self::from(&error)
    }
}

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
        match &self.value {
            Value::Str(text, attachments) => {
                text.len() + attachments.iter().flatten().map(Bytes::len).sum::<usize>()
            }
            Value::Bytes(bytes) => bytes.len(),
        }
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

    /// The same arguments under another event name.
    ///
    /// ```
    /// use switchboard::Payload;
    ///
    /// let said = Payload::event("say", "hello")?.with_event("said")?;
    /// assert_eq!(said.decode::<String>()?, "hello");
    /// # Ok::<(), switchboard::payload::PayloadError>(())
    /// ```
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
        let value = match &self.value {
            Value::Str(text, attachments) => {
                let rest = self.after_head(text).ok_or(ReadError::NoList)?;
                let mut renamed = String::with_capacity(rest.len() + name.len() + 4);
                renamed.push('[');
                renamed.push_str(&serde_json::to_string(name).map_err(encode_error)?);
                if !self.named && rest.trim_ascii() != "]" {
                    renamed.push(',');
                }
                renamed.push_str(rest);
                Value::Str(renamed.into(), attachments.clone())
            }
            Value::Bytes(bytes) => {
                let (length, arguments) = self.arguments_of(bytes)?;
                let mut renamed = Vec::with_capacity(bytes.len() + name.len() + 8);
                msgpack::array_header(&mut renamed, length + 1);
                msgpack::text(&mut renamed, name);
                renamed.extend_from_slice(arguments);
                Value::Bytes(renamed.into())
            }
        };
        Ok(Self { value, named: true })
    }

    /// The same arguments, as those of an acknowledgement.
    ///
    /// ```
    /// use switchboard::Payload;
    ///
    /// let echo = Payload::event("echo", &(1, 2))?.into_ack()?;
    /// assert_eq!(echo.decode::<(u8, u8)>()?, (1, 2));
    /// # Ok::<(), switchboard::payload::PayloadError>(())
    /// ```
    ///
    /// # Errors
    /// `Decode` if the payload came from a client and is malformed.
    pub fn into_ack(self) -> Result<Self, PayloadError> {
        if !self.named {
            return Ok(self);
        }
        let value = match &self.value {
            Value::Str(text, attachments) => {
                let rest = self.after_head(text).ok_or(ReadError::NoList)?.trim_ascii_start();
                let rest = rest.strip_prefix(',').unwrap_or("]");
                Value::Str(format!("[{rest}").into(), attachments.clone())
            }
            Value::Bytes(bytes) => {
                let (length, arguments) = self.arguments_of(bytes)?;
                msgpack_list(length, arguments)
            }
        };
        Ok(Self { value, named: false })
    }

    /// The first argument alone, as the arguments of an acknowledgement. Empty if there are no
    /// arguments.
    ///
    /// ```
    /// use switchboard::Payload;
    ///
    /// let first = Payload::event("echo", &(1, 2))?.first_as_ack()?;
    /// assert_eq!(first.decode::<u8>()?, 1);
    /// # Ok::<(), switchboard::payload::PayloadError>(())
    /// ```
    ///
    /// # Errors
    /// `Decode` if the payload came from a client and is malformed.
    pub fn first_as_ack(&self) -> Result<Self, PayloadError> {
        let value = match &self.value {
            Value::Str(text, None) => {
                let rest = self.after_head(text).ok_or(ReadError::NoList)?.trim_ascii_start();
                let first = decode::first_of_text(rest.strip_prefix(',').unwrap_or(rest))?;
                Value::Str(["[", first, "]"].concat().into(), None)
            }
            Value::Str(..) => {
                let mut arguments = self.tree()?;
                arguments.truncate(1);
                to_packet(&arguments)?
            }
            Value::Bytes(bytes) => {
                let (length, arguments) = self.arguments_of(bytes)?;
                let first = match length {
                    0 => &[],
                    _ => msgpack::Reader::new(arguments).skip(MAX_DEPTH)?,
                };
                msgpack_list(length.min(1), first)
            }
        };
        Ok(Self { value, named: false })
    }

    /// The text after the name, or after the bracket if there is no name.
    fn after_head<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.named { name::after(text) } else { text.trim_ascii_start().strip_prefix('[') }
    }

    /// The number of arguments, and their bytes.
    fn arguments_of<'a>(&self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), ReadError> {
        let (length, rest) = msgpack::array(bytes).ok_or(ReadError::NoList)?;
        if !self.named {
            return Ok((length, rest));
        }
        let name = msgpack::Reader::new(rest).skip(MAX_DEPTH)?;
        Ok((length.checked_sub(1).ok_or(ReadError::NoList)?, &rest[name.len()..]))
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

fn msgpack_list(length: usize, elements: &[u8]) -> Value {
    let mut list = Vec::with_capacity(elements.len() + 5);
    msgpack::array_header(&mut list, length);
    list.extend_from_slice(elements);
    Value::Bytes(Bytes::from(list))
}

fn encode_error(error: impl std::error::Error + Send + Sync + 'static) -> PayloadError {
    PayloadError::Encode(Box::new(error))
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
