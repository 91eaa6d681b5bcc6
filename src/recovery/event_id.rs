//! An event's name among all nodes, by which it is known again if it comes on two ways.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::fnv1a;

/// The sender of an event, hashed, and the sender's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct EventId(pub(super) u64, pub(super) u64);

impl EventId {
    /// The name of an event that this sender has given this number.
    pub(crate) fn of(sender: &str, number: u64) -> Self {
        Self(fnv1a(sender.as_bytes()), number)
    }

    /// The sender, hashed.
    pub(crate) fn sender(self) -> u64 {
        self.0
    }

    /// The sender's number for it. Later events have higher ones.
    pub(crate) fn number(self) -> u64 {
        self.1
    }
}

/// Both in hexadecimal: 32 characters.
impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

impl FromStr for EventId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let both = u128::from_str_radix(text, 16)?;
        Ok(Self((both >> 64) as u64, both as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for id in [EventId(0, 1), EventId(u64::MAX, 0), EventId::of("node", u64::MAX)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
