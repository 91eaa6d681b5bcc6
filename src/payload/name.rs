//! The event's name, the start of the arguments.

use std::borrow::Cow;

use socketioxide_core::Value;

use crate::{
    javascript::{javascript_number, json::mended},
    msgpack::{self, Reader, Token},
    packet::WRAPPED,
};

/// The name of an event in text.
pub(super) fn of_text(text: &str) -> Option<Cow<'_, str>> {
    let (name, _) = split(text)?;
    if let Some(plain) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'))
        && !plain.contains('\\')
    {
        return Some(Cow::Borrowed(plain));
    }
    if name.starts_with('"') {
        let name = mended(name).ok()?;
        return serde_json::from_str(&name).ok().map(Cow::Owned);
    }
    name.parse().ok().map(javascript_number).map(Cow::Owned)
}

/// The name of an event in MessagePack.
pub(super) fn of_msgpack(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let (_, rest) = msgpack::array(bytes).filter(|(length, _)| *length > 0)?;
    match Reader::new(rest).token().ok()? {
        Token::Text(name) => Some(String::from_utf8_lossy(name)),
        Token::Integer(number) => number.as_f64().map(javascript_number).map(Cow::Owned),
        Token::Float(number) if number.is_finite() => Some(javascript_number(number).into()),
        _ => None,
    }
}

/// The text after the name in `["name",…]`: `,…]` or `]`.
pub(super) fn after(text: &str) -> Option<&str> {
    split(text).map(|(_, rest)| rest)
}

/// The name as it is written (a text or a number), and the rest.
fn split(text: &str) -> Option<(&str, &str)> {
    let name = text.trim_ascii_start().strip_prefix('[')?.trim_ascii_start();
    let end = match name.as_bytes().first()? {
        b'"' => {
            let mut escaped = false;
            let end = name.bytes().skip(1).position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            end? + 2
        }
        b'-' | b'0'..=b'9' => {
            name.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))?
        }
        _ => return None,
    };
    Some(name.split_at(end))
}

/// Unwraps an event that the engine was given under another name. See [`WRAPPED`].
pub(super) fn unwrapped(value: Value) -> Value {
    match value {
        Value::Str(text, attachments) => {
            let inside = inside(text.as_bytes(), &[b"[\"", WRAPPED.as_bytes(), b"\","]);
            match inside.filter(|inside| inside.ends_with(b"]")) {
                Some(inside) => {
                    let start = text.len() - inside.len();
                    Value::Str(text.slice(start..text.len() - 1), attachments)
                }
                None => Value::Str(text, attachments),
            }
        }
        // A list of two that starts with a text of three bytes.
        Value::Bytes(bytes) => match inside(&bytes, &[&[0x92, 0xa3], WRAPPED.as_bytes()]) {
            Some(inside) => Value::Bytes(bytes.slice_ref(inside)),
            None => Value::Bytes(bytes),
        },
    }
}

fn inside<'a>(bytes: &'a [u8], beginning: &[&[u8]]) -> Option<&'a [u8]> {
    beginning.iter().try_fold(bytes, |rest, part| rest.strip_prefix(*part))
}
