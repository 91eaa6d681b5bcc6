//! The places in a log: those in a stream of Redis, which Node.js servers hand to their clients as
//! offsets, and those in a log in memory.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The place of an entry: the id that Redis gave it, such as `1795490547421-0`. A log in memory
/// counts its entries in `number`, and its `millis` are 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub(crate) struct EntryId {
    /// Milliseconds since the Unix epoch, by the clock of Redis.
    pub(crate) millis: u64,
    /// Tells entries of one millisecond apart.
    pub(crate) number: u64,
}

impl EntryId {
    /// Before every entry.
    pub(crate) const ZERO: Self = Self { millis: 0, number: 0 };

    /// The entry of a log in memory with this number, which begins with 1.
    pub(crate) fn numbered(number: u64) -> Self {
        Self { millis: 0, number }
    }

    /// The place right before this one.
    pub(crate) fn before(self) -> Self {
        match (self.millis, self.number) {
            (0, 0) => self,
            (millis, 0) => Self { millis: millis - 1, number: u64::MAX },
            (millis, number) => Self { millis, number: number - 1 },
        }
    }

    /// The next one in a log in memory.
    pub(crate) fn next(self) -> Self {
        Self { number: self.number + 1, ..self }
    }
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
        let (millis, number) = text.split_once('-').ok_or(NoEntryId)?;
        let number_of = |digits| number_of(digits).ok_or(NoEntryId);
        Ok(Self { millis: number_of(millis)?, number: number_of(number)? })
    }
}

/// A number of digits alone. A client's text comes here as well.
pub(super) fn number_of(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
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
}
