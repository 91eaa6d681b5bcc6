//! Whether a payload may be shown to anybody: the official parser and all nodes can read it.

use std::collections::VecDeque;

use bytes::Bytes;
use rmpv::Value as Tree;
use socketioxide_core::Value;

use super::values::count_places;
use crate::{
    javascript::json,
    msgpack::{self, Reader, Token},
    packet::{MAX_ATTACHMENTS, MAX_DEPTH, ReadError},
};

/// Checks a client's payload. Text without attachments is read once, and nothing is allocated.
pub(super) fn received(value: &Value, named: bool) -> Result<(), ReadError> {
    match value {
        Value::Str(text, attachments) => {
            list(text, named)?;
            if json::check(text)?.has_infinite() {
                return Err(ReadError::NumberTooLarge);
            }
            attachments.iter().try_for_each(|attachments| placed(text, attachments).map(drop))
        }
        Value::Bytes(bytes) => {
            let Some((_, rest)) = msgpack::array(bytes) else { return refused(bytes) };
            let name = if named { Reader::new(rest).token().ok() } else { None };
            if named && !matches!(name, Some(Token::Text(_) | Token::Integer(_) | Token::Float(_)))
            {
                return Err(ReadError::NoList);
            }
            let mut reader = Reader::new(bytes);
            reader.skip(MAX_DEPTH)?;
            reader.end()
        }
    }
}

/// Checks a list, which begins with a name if it is `named`.
fn list(text: &str, named: bool) -> Result<(), ReadError> {
    let Some(elements) = text.trim_ascii_start().strip_prefix('[') else {
        return Err(match text.parse::<u64>() {
            Ok(_) => ReadError::TooManyAttachments,
            Err(_) if text == "null" => ReadError::TooDeep,
            Err(_) => ReadError::NoList,
        });
    };
    let name = elements.trim_ascii_start().as_bytes().first();
    match name {
        Some(b'"' | b'-' | b'0'..=b'9') => Ok(()),
        _ if !named => Ok(()),
        _ => Err(ReadError::NoList),
    }
}

/// The error for a text that stands in place of an event that the engine could not have read.
fn refused(bytes: &[u8]) -> Result<(), ReadError> {
    Err(if bytes == [NIL] { ReadError::TooDeep } else { ReadError::NoList })
}

const NIL: u8 = 0xc0;

/// Checks a payload encoded here. It can only be too deep, or have attachments that do not fit.
pub(super) fn encoded(value: &Value) -> Result<(), ReadError> {
    let Value::Str(text, attachments) = value else { return Ok(()) };
    // Each level takes two characters, and nearly no text has so many of them.
    let opening = |byte: &u8| matches!(byte, b'[' | b'{');
    if text.len() > 2 * MAX_DEPTH
        && text.as_bytes().iter().filter(|byte| opening(byte)).count() > MAX_DEPTH
    {
        json::check(text)?;
    }
    let Some(attachments) = attachments else { return Ok(()) };
    if attachments.len() > MAX_ATTACHMENTS {
        return Err(ReadError::TooManyAttachments);
    }
    // The parser would take an application's map for a placeholder if it looks like one.
    if placed(text, attachments)? == attachments.len() {
        Ok(())
    } else {
        Err(ReadError::StrayPlaceholder)
    }
}

/// The number of placeholders. Each must have its attachment.
fn placed(text: &str, attachments: &VecDeque<Bytes>) -> Result<usize, ReadError> {
    let tree: Tree = json::read(text)?;
    let mut placed = 0;
    count_places(&tree, attachments.len(), &mut placed)?;
    Ok(placed)
}
