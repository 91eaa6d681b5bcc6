//! Who got what: every delivery is accounted for.

use std::collections::{BTreeSet, VecDeque};

/// What one socket has received of its group's messages, which are numbered from 0 on.
#[derive(Default)]
pub(crate) struct Received {
    /// All below this number have arrived.
    next: u64,
    /// Those that arrived before one with a lower number.
    early: BTreeSet<u64>,
}

/// How a delivery compares with what was due.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    InOrder,
    /// It overtook a message with a lower number.
    Overtaking,
    Duplicate,
}

impl Received {
    pub(crate) fn take(&mut self, number: u64) -> Arrival {
        if number == self.next {
            self.next += 1;
            while self.early.remove(&self.next) {
                self.next += 1;
            }
            Arrival::InOrder
        } else if number > self.next && self.early.insert(number) {
            Arrival::Overtaking
        } else {
            Arrival::Duplicate
        }
    }

    /// How many of the first `sent` messages have not arrived.
    pub(crate) fn missing(&self, sent: u64) -> u64 {
        sent - self.next - self.early.len() as u64
    }
}

/// The messages of a group's sender that are not yet with all members.
pub(crate) struct InFlight {
    members: usize,
    /// The number of the first message in `waiting`.
    first: u64,
    /// How many members have still to get each message.
    waiting: VecDeque<usize>,
}

impl InFlight {
    pub(crate) fn new(members: usize) -> Self {
        Self { members, first: 0, waiting: VecDeque::new() }
    }

    /// How many messages were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    /// Adds a message and returns its number.
    pub(crate) fn send(&mut self) -> u64 {
        let number = self.sent();
        self.waiting.push_back(self.members);
        number
    }

    /// Counts a delivery; true if it was the last one of its message. A number that was never sent
    /// is an error.
    pub(crate) fn deliver(&mut self, number: u64) -> Result<bool, String> {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let waiting = at.and_then(|at| self.waiting.get_mut(at)).filter(|waiting| **waiting > 0);
        let Some(waiting) = waiting else { return Err(format!("message {number} is not due")) };
        *waiting -= 1;
        let complete = *waiting == 0;
        while self.waiting.front() == Some(&0) {
            self.waiting.pop_front();
            self.first += 1;
        }
        Ok(complete)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
