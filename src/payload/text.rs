//! Values as JSON text, written as JavaScript writes it.

use bytes::Bytes;
use rmpv::{Integer, Value as Tree};
use serde_json::Value as Json;
use socketioxide_core::Value;

use crate::{
    javascript::{MAX_SAFE_INTEGER, iso_date, javascript_number, timestamp},
    msgpack::{Reader, Token, deeper},
    packet::{MAX_ATTACHMENTS, PLACEHOLDER, ReadError},
};

/// A value as JSON text, as `JSON.stringify` of Node.js writes it: a Buffer is an object.
pub(crate) fn to_json_text(value: &Tree, depth: usize) -> Result<String, ReadError> {
    let mut writer = Writer { binary: false, ..Writer::of_packet(64) };
    writer.value(value, depth)?;
    Ok(writer.text)
}

/// Writes values as text, from a tree or straight from MessagePack.
pub(crate) struct Writer {
    text: String,
    attachments: Vec<Bytes>,
    /// Whether binary values become attachments.
    binary: bool,
    /// A map of the application looks like a placeholder for an attachment.
    has_stray: bool,
}

impl Writer {
    /// For a packet: binary values become attachments.
    pub(crate) fn of_packet(capacity: usize) -> Self {
        let text = String::with_capacity(capacity);
        Self { text, attachments: Vec::new(), binary: true, has_stray: false }
    }

    /// The written text, for clients with Socket.IO's own parser.
    ///
    /// # Errors
    /// If the official parser would not take it.
    pub(crate) fn into_packet(self) -> Result<Value, ReadError> {
        if self.attachments.is_empty() {
            return Ok(Value::Str(self.text.into(), None));
        }
        if self.attachments.len() > MAX_ATTACHMENTS {
            return Err(ReadError::TooManyAttachments);
        }
        if self.has_stray {
            return Err(ReadError::StrayPlaceholder);
        }
        Ok(Value::Str(self.text.into(), Some(self.attachments.into())))
    }

    /// Notes a member that makes a map look like a placeholder.
    fn look_at(&mut self, key: &str, value: bool) {
        self.has_stray |= value && key == PLACEHOLDER;
    }

    pub(crate) fn array(&mut self, values: &[Tree], depth: usize) -> Result<(), ReadError> {
        self.text.push('[');
        self.elements(values, depth)?;
        self.text.push(']');
        Ok(())
    }

    fn elements(&mut self, values: &[Tree], depth: usize) -> Result<(), ReadError> {
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.value(value, depth)?;
        }
        Ok(())
    }

    fn value(&mut self, value: &Tree, depth: usize) -> Result<(), ReadError> {
        match value {
            Tree::Nil => self.text.push_str("null"),
            Tree::Boolean(value) => self.boolean(*value),
            Tree::Integer(integer) => self.integer(*integer),
            Tree::F32(number) => self.number(f64::from(*number)),
            Tree::F64(number) => self.number(*number),
            Tree::String(text) => self.string(text.as_str().unwrap_or_default()),
            Tree::Binary(bytes) => self.bytes(bytes),
            Tree::Array(values) => {
                let depth = deeper(depth)?;
                self.array(values, depth)?;
            }
            Tree::Map(members) => {
                let depth = deeper(depth)?;
                self.text.push('{');
                let members = members.iter().filter(|(_, value)| !is_undefined(value));
                for (index, (key, value)) in members.enumerate() {
                    if index > 0 {
                        self.text.push(',');
                    }
                    match key.as_str() {
                        Some(key) => {
                            self.look_at(key, matches!(value, Tree::Boolean(true)));
                            self.string(key);
                        }
                        // Keys of any other kind become text in JavaScript.
                        None => self.string(&key.to_string()),
                    }
                    self.text.push(':');
                    self.value(value, depth)?;
                }
                self.text.push('}');
            }
            Tree::Ext(kind, bytes) => self.extension(*kind, bytes),
        }
        Ok(())
    }

    /// Copies one value of MessagePack.
    pub(crate) fn copy(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), ReadError> {
        let token = reader.token()?;
        self.copy_from(&token, reader, depth)
    }

    /// Copies the value that a token starts.
    fn copy_from<'a>(
        &mut self,
        token: &Token<'a>,
        reader: &mut Reader<'a>,
        depth: usize,
    ) -> Result<(), ReadError> {
        match *token {
            Token::Nil => self.text.push_str("null"),
            Token::Boolean(value) => self.boolean(value),
            Token::Integer(integer) => self.integer(integer),
            Token::Float(number) => self.number(number),
            Token::Text(text) => self.string(&String::from_utf8_lossy(text)),
            Token::Binary(bytes) => self.bytes(bytes),
            Token::Extension(kind, bytes) => self.extension(kind, bytes),
            Token::Array(length) => {
                let depth = deeper(depth)?;
                self.text.push('[');
                for index in 0..length {
                    if index > 0 {
                        self.text.push(',');
                    }
                    self.copy(reader, depth)?;
                }
                self.text.push(']');
            }
            Token::Map(length) => {
                let depth = deeper(depth)?;
                self.text.push('{');
                let mut is_first = true;
                for _ in 0..length {
                    let key = match reader.token()? {
                        Token::Text(text) => String::from_utf8_lossy(text),
                        other => reader.value_of(&other, depth)?.to_string().into(),
                    };
                    let value = reader.token()?;
                    if matches!(value, Token::Extension(UNDEFINED, [_])) {
                        continue;
                    }
                    if !std::mem::take(&mut is_first) {
                        self.text.push(',');
                    }
                    self.look_at(&key, matches!(value, Token::Boolean(true)));
                    self.string(&key);
                    self.text.push(':');
                    self.copy_from(&value, reader, depth)?;
                }
                self.text.push('}');
            }
        }
        Ok(())
    }

    fn boolean(&mut self, value: bool) {
        self.text.push_str(if value { "true" } else { "false" });
    }

    fn integer(&mut self, integer: Integer) {
        match integer.as_i64() {
            Some(small) if small.unsigned_abs() <= MAX_SAFE_INTEGER => {
                self.text.push_str(itoa::Buffer::new().format(small));
            }
            _ => self.number(integer.as_f64().unwrap_or(f64::NAN)),
        }
    }

    fn string(&mut self, text: &str) {
        // Nearly all text that travels is plain and needs no escapes.
        if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
            self.text.push('"');
            self.text.push_str(text);
            self.text.push('"');
        } else {
            self.text.push_str(&Json::from(text).to_string());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.binary {
            self.text.push_str("{\"_placeholder\":true,\"num\":");
            self.text.push_str(itoa::Buffer::new().format(self.attachments.len()));
            self.text.push('}');
            self.attachments.push(Bytes::copy_from_slice(bytes));
            return;
        }
        self.text.push_str("{\"type\":\"Buffer\",\"data\":[");
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.text.push_str(itoa::Buffer::new().format(*byte));
        }
        self.text.push_str("]}");
    }

    /// Writes dates as text, `undefined` as null, and all others as a pair, as Node.js does.
    fn extension(&mut self, kind: i8, bytes: &[u8]) {
        match (kind, bytes.len()) {
            (-1, _) if timestamp(bytes).is_some() => {
                let (seconds, nanos) = timestamp(bytes).unwrap_or_default();
                self.date(
                    seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000)),
                );
            }
            // The dialect of notepack.io 2, as Node.js adapters before version 8 speak it.
            (0, 1) => self.text.push_str("null"),
            (0, 8) => self.date(i64::from_be_bytes(bytes.try_into().unwrap_or_default())),
            (0, _) => self.bytes(bytes),
            _ => {
                self.text.push('[');
                self.text.push_str(itoa::Buffer::new().format(kind));
                self.text.push(',');
                self.bytes(bytes);
                self.text.push(']');
            }
        }
    }

    fn date(&mut self, millis: i64) {
        match iso_date(millis) {
            Some(date) => self.string(&date),
            // JavaScript prints an invalid date so.
            None => self.text.push_str("null"),
        }
    }

    fn number(&mut self, number: f64) {
        if number.is_finite() {
            self.text.push_str(&javascript_number(number));
        } else {
            self.text.push_str("null");
        }
    }
}

/// The extension that notepack.io 2 writes for `undefined`, with one byte in it. JSON leaves such
/// members out.
const UNDEFINED: i8 = 0;

fn is_undefined(value: &Tree) -> bool {
    matches!(value, Tree::Ext(UNDEFINED, bytes) if bytes.len() == 1)
}
