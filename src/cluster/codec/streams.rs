//! The streams format: what may not be lost is an entry of a stream, and the rest is published in
//! the sharded form.
//!
//! An entry's data is JSON, or base64 of MessagePack where it has binary parts.

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use bytes::Bytes;
use rmpv::Value as Tree;
use socketioxide_core::Value;

use super::{
    Codec, DecodeError, EncodeError,
    fields::{self, Fields, write_options},
    sharded::{self, BROADCAST},
};
use crate::{
    cluster::{
        log::{Entry, NewEntry},
        message::{Envelope, Flags, Message, Selection},
    },
    javascript::json,
    msgpack,
    payload::from_packet,
};

/// Reads base64 with and without its padding, as Node.js does.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A message as an entry. `None` for those that are published: questions, answers, and what is
/// lost with the nodes that do not hear it.
pub(super) fn entry(
    codec: &Codec,
    namespace: &str,
    message: &Message,
) -> Result<Option<NewEntry>, EncodeError> {
    match message {
        Message::Broadcast { .. }
        | Message::Join { .. }
        | Message::Leave { .. }
        | Message::Disconnect { .. } => {
            let (kind, data) = sharded::kind_and_data(codec, message)?;
            Ok(Some(new_entry(codec, namespace, kind, &data)))
        }
        _ => Ok(None),
    }
}

fn new_entry(codec: &Codec, namespace: &str, kind: u8, data: &Tree) -> NewEntry {
    let data = if sharded::is_binary(kind, data) {
        let mut bytes = Vec::with_capacity(128);
        msgpack::write(&mut bytes, data);
        BASE64_STANDARD.encode(bytes).into_bytes()
    } else {
        fields::write_json(data)
    };
    NewEntry { from: codec.node.clone(), namespace: namespace.into(), kind, data }
}

/// Text without attachments, which is nearly all, goes into the entry as it is.
pub(super) fn broadcast(
    codec: &Codec,
    namespace: &str,
    packet: &Value,
    to: &Selection,
    flags: Flags,
) -> Result<NewEntry, EncodeError> {
    if let Value::Str(text, None) = packet
        && let Ok(event) = json::mended(text)
        && event.starts_with('[')
    {
        return Ok(text_entry(codec, namespace, &event, to, flags));
    }
    let event = from_packet(packet).map_err(EncodeError::Packet)?;
    let (kind, data) = (BROADCAST, sharded::broadcast_data(&event, to, flags));
    Ok(new_entry(codec, namespace, kind, &data))
}

fn text_entry(
    codec: &Codec,
    namespace: &str,
    event: &str,
    to: &Selection,
    flags: Flags,
) -> NewEntry {
    let options = fields::write_json(&write_options(to, flags));
    let mut data = Vec::with_capacity(event.len() + options.len() + 48);
    data.extend_from_slice(br#"{"packet":{"type":2,"data":"#);
    data.extend_from_slice(event.as_bytes());
    data.extend_from_slice(br#"},"opts":"#);
    data.extend_from_slice(&options);
    data.push(b'}');
    NewEntry { from: codec.node.clone(), namespace: namespace.into(), kind: BROADCAST, data }
}

pub(super) fn read(codec: &Codec, entry: &Entry) -> Result<Option<Envelope>, DecodeError> {
    if codec.is_own(entry.from.as_deref()) {
        return Ok(None);
    }
    message(entry).map(|message| {
        Some(Envelope { from: entry.from.as_deref().map(str::to_owned), message, at: entry.at })
    })
}

/// The message of an entry, whoever wrote it.
pub(super) fn message(entry: &Entry) -> Result<Message, DecodeError> {
    let kind = entry.kind.parse().map_err(|_| DecodeError::Member("type"))?;
    let data = read_data(&entry.data)?;
    sharded::message_of(kind, Fields::of(&data)?)
}

/// The rule of Node.js: what starts with a brace is JSON.
pub(super) fn read_data(data: &Bytes) -> Result<Tree, DecodeError> {
    let bytes = match data.first() {
        Some(b'{') => Cow::Borrowed(&data[..]),
        _ => Cow::Owned(LENIENT.decode(data).map_err(|_| DecodeError::Malformed)?),
    };
    fields::read_either(&bytes)
}
