//! The same arguments once more, without decoding them: under another name, or as an
//! acknowledgement.

use bytes::Bytes;
use socketioxide_core::Value;

use super::{Payload, PayloadError, decode, error::encode_error, name, to_packet};
use crate::{
    msgpack,
    names::events::is_reserved_event,
    packet::{MAX_DEPTH, ReadError},
};

impl Payload {
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
    pub(super) fn after_head<'a>(&self, text: &'a str) -> Option<&'a str> {
        if self.named { name::after(text) } else { text.trim_ascii_start().strip_prefix('[') }
    }

    /// The number of arguments, and their bytes.
    pub(super) fn arguments_of<'a>(&self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), ReadError> {
        let (length, rest) = msgpack::array(bytes).ok_or(ReadError::NoList)?;
        if !self.named {
            return Ok((length, rest));
        }
        let name = msgpack::Reader::new(rest).skip(MAX_DEPTH)?;
        Ok((length.checked_sub(1).ok_or(ReadError::NoList)?, &rest[name.len()..]))
    }
}

fn msgpack_list(length: usize, elements: &[u8]) -> Value {
    let mut list = Vec::with_capacity(elements.len() + 5);
    msgpack::array_header(&mut list, length);
    list.extend_from_slice(elements);
    Value::Bytes(Bytes::from(list))
}
