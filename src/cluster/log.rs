//! The log of a cluster: the stream of Redis that holds messages in one order for all nodes.
//!
//! Only `redis.protocol = "streams"` has one. An entry is a message, and its id is its place in the
//! log. Node.js nodes hand that id to their clients as the offset.

mod fields;
mod names;
mod state;

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;

pub(crate) use fields::{OWN, Said, id_of, number_of, said};
pub(crate) use names::StreamNames;
pub(crate) use state::{Finding, Position, State};

/// The place of an entry: the id that Redis gave it, such as `1795490547421-0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct EntryId {
    /// Milliseconds since the Unix epoch, by the clock of Redis.
    pub(crate) millis: u64,
    /// Tells entries of one millisecond apart.
    pub(crate) number: u64,
}

impl EntryId {
    /// Before every entry.
    pub(crate) const ZERO: Self = Self { millis: 0, number: 0 };
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

/// The text is no id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no id of an entry")]
pub(crate) struct NoEntryId;

impl FromStr for EntryId {
    type Err = NoEntryId;

    /// Strict: two numbers of digits alone. A client's text comes here as well.
    fn from_str(text: &str) -> Result<Self, NoEntryId> {
        let number = |digits: &str| {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| digits.parse().ok()).flatten().ok_or(NoEntryId)
        };
        let (millis, of_millis) = text.split_once('-').ok_or(NoEntryId)?;
        Ok(Self { millis: number(millis)?, number: number(of_millis)? })
    }
}

/// A message to be added to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEntry {
    /// The sender's id on the wire.
    pub(crate) from: Arc<str>,
    pub(crate) namespace: Box<str>,
    /// The type of the message.
    pub(crate) kind: u8,
    /// The message without its frame, as text.
    pub(crate) data: Vec<u8>,
}

impl NewEntry {
    /// Its part of the bounds for what waits.
    pub(crate) fn size(&self) -> usize {
        self.namespace.len() + self.data.len()
    }
}

/// A message in the log, as it was read. Everybody who reaches Redis can write one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `None` if the entry stands in a stream that is not its namespace's own. Such an entry has no
    /// place among the others.
    pub(crate) at: Option<EntryId>,
    /// The sender's id on the wire.
    pub(crate) from: Option<Box<str>>,
    pub(crate) namespace: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) data: Bytes,
}

/// Called once, when an own message comes back from the log. `Some` is its place, and it is its
/// turn. With `None` it has no place: Redis did not take it in time, or that is not known.
///
/// It runs on the task that reads the log, and must not block.
pub(crate) type Returned = Box<dyn FnOnce(Option<EntryId>) + Send>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_nothing_else_is() {
        let id: EntryId = "1795490547421-12".parse().unwrap();
        assert_eq!(id, EntryId { millis: 1_795_490_547_421, number: 12 });
        assert_eq!(id.to_string(), "1795490547421-12");
        let id = |text: &str| text.parse::<EntryId>().unwrap();
        assert!(id("9-0") < id("10-0") && id("10-2") < id("10-10"));
        for wrong in ["", "-", "1", "1-", "-1", "+1-0", "1-+0", " 1-0", "1-0 ", "1-0-0", "$", "x-0"]
        {
            assert_eq!(wrong.parse::<EntryId>(), Err(NoEntryId), "{wrong}");
        }
        assert!("18446744073709551616-0".parse::<EntryId>().is_err());
    }
}
