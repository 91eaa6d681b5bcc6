//! The log of a cluster: the stream of Redis that holds messages in one order for all nodes.
//!
//! Only `redis.protocol = "streams"` has one. An entry is a message, and its id is its place in the
//! log. Node.js nodes hand that id to their clients as the offset.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;

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

/// The names of the streams, and the stream of each namespace.
///
/// With one stream its name is `name`; otherwise they are `name-0`, `name-1` and so on, and a hash
/// of the namespace selects one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamNames {
    name: Box<str>,
    count: u32,
}

impl StreamNames {
    /// `count` is 1 at least.
    pub(crate) fn new(name: &str, count: u32) -> Self {
        Self { name: name.into(), count: count.max(1) }
    }

    /// The streams that nodes of ours and of Node.js read. A stream's place in the list is its
    /// number.
    pub(crate) fn shared(&self) -> Vec<Box<str>> {
        match self.count {
            1 => vec![self.name.clone()],
            count => (0..count).map(|number| self.named(i64::from(number))).collect(),
        }
    }

    /// Streams to which Node.js nodes write, and which none of them reads: the remainder of a
    /// negative hash is negative there (`name--3`).
    pub(crate) fn astray(&self) -> Vec<Box<str>> {
        (1..i64::from(self.count)).map(|number| self.named(-number)).collect()
    }

    /// The number of the stream of a namespace: that of Node.js where its nodes read it. For a
    /// negative hash it is the remainder that is not negative, for Node.js nodes read that stream
    /// and take every namespace from it.
    pub(crate) fn of(&self, namespace: &str) -> usize {
        let remainder = i64::from(java_hash(namespace)).rem_euclid(i64::from(self.count));
        usize::try_from(remainder).unwrap_or(0)
    }

    fn named(&self, number: i64) -> Box<str> {
        format!("{}-{number}", self.name).into()
    }
}

/// `String.hashCode` of Java, over UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

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

    /// The names are those of the vectors `streams-count-4-*`.
    #[test]
    fn a_namespace_goes_where_node_reads_it() {
        let names = StreamNames::new("socket.io", 4);
        assert_eq!(java_hash("/notifications") % 4, -3);
        for (namespace, stream) in [("/", "socket.io-3"), ("/notifications", "socket.io-1")] {
            assert_eq!(&*names.shared()[names.of(namespace)], stream, "{namespace}");
        }
        assert_eq!(
            names.astray().iter().map(|name| &**name).collect::<Vec<_>>(),
            ["socket.io--1", "socket.io--2", "socket.io--3"]
        );
        let one = StreamNames::new("app", 1);
        assert_eq!((one.shared(), one.astray()), (vec!["app".into()], vec![]));
        assert_eq!(one.of("/notifications"), 0);
    }
}
