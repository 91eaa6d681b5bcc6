//! The fields of an entry, as Redis answers them. Their order does not matter, and unknown ones are
//! passed over.

use bytes::Bytes;
use redis::Value;

use super::{Entry, EntryId};

/// The field by which a node finds its own entries again. Readers pass over fields that they do not
/// know.
pub(crate) const OWN: &str = "seq";

/// The meaning of an entry.
pub(crate) enum Said {
    /// An entry of this node, by its number.
    Own(u64),
    Other(Entry),
    /// No message: it lacks a necessary field.
    Malformed,
}

/// The number of an entry of this run.
pub(crate) fn number_of(value: &[u8], run: &str) -> Option<u64> {
    let value = std::str::from_utf8(value).ok()?;
    value.strip_prefix(run)?.strip_prefix('-')?.parse().ok()
}

/// An id in an answer.
pub(crate) fn id_of(value: &Value) -> Option<EntryId> {
    let Value::BulkString(text) = value else { return None };
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The meaning of an entry's fields, and their size. `run` tells this node's own entries.
pub(crate) fn said(at: EntryId, fields: Vec<Value>, run: &str) -> (Said, usize) {
    let (mut from, mut namespace, mut kind, mut data, mut own) = (None, None, None, None, None);
    let mut size = 0;
    let mut fields = fields.into_iter();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) =
        (fields.next(), fields.next())
    {
        size += name.len() + value.len();
        match &name[..] {
            b"uid" => from = Some(value),
            b"nsp" => namespace = Some(value),
            b"type" => kind = Some(value),
            b"data" => data = Some(value),
            name if name == OWN.as_bytes() => own = number_of(&value, run),
            _ => {}
        }
    }
    if let Some(number) = own {
        return (Said::Own(number), size);
    }
    let text = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let (Some(namespace), Some(kind)) = (text(namespace), text(kind)) else {
        return (Said::Malformed, size);
    };
    let entry = Entry {
        at: Some(at),
        from: text(from).map(Into::into),
        namespace: namespace.into(),
        kind: kind.into(),
        data: Bytes::from(data.unwrap_or_default()),
    };
    (Said::Other(entry), size)
}
