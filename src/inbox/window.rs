//! What a device has of a stream, what is on its way to it, and what is to come. No clock, no
//! store, no sockets: numbers only.
//!
//! ```text
//!  … 7  8 | 9  10  11 | 12  13 | 14 …
//!    acked    in flight  unread   not there yet
//!                     known    last
//! ```

use std::collections::VecDeque;

/// The window of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Window {
    size: usize,
    /// Everything up to here is acknowledged.
    acked: u64,
    /// Messages that were sent and are behind the first one that is not acknowledged.
    in_flight: VecDeque<Sent>,
    /// Everything up to here is sent, or is not for this stream.
    known: u64,
    /// The highest number of the user that was heard of.
    last: u64,
    /// The highest number that was ever sent.
    sent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    seq: u64,
    is_acked: bool,
}

/// What to read from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) after: u64,
    pub(super) count: usize,
    /// Up to here all messages can be read by now.
    pub(super) last: u64,
}

impl Window {
    /// A stream that a device has up to `acked`.
    pub(super) fn new(size: usize, acked: u64, last: u64) -> Self {
        let in_flight = VecDeque::new();
        Self { size, acked, in_flight, known: acked, last: last.max(acked), sent: acked }
    }

    /// The stream is held anew, and its device has it up to `acked` by now.
    pub(super) fn renewed(&mut self, acked: u64, last: u64) {
        self.last = self.last.max(last);
        while self.in_flight.front().is_some_and(|sent| sent.seq <= acked) {
            self.in_flight.pop_front();
        }
        self.acked = self.acked.max(acked);
        self.known = self.known.max(acked);
    }

    /// The user has numbers up to this one.
    pub(super) fn heard(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// A message of this number has just been kept. Returns whether it is to be sent now: it is the
    /// next one, and there is room.
    pub(super) fn takes(&mut self, seq: u64) -> bool {
        self.heard(seq);
        let is_next = self.known + 1 == seq && self.in_flight.len() < self.size;
        if is_next {
            self.sends(seq);
            self.known = seq;
        }
        is_next
    }

    /// This number was given to a message that is not for this stream.
    pub(super) fn passes(&mut self, seq: u64) {
        self.heard(seq);
        if self.known + 1 == seq {
            self.known = seq;
        }
    }

    /// What to read, if there may be something and there is room.
    pub(super) fn wants(&self) -> Option<Wanted> {
        let count = self.size.saturating_sub(self.in_flight.len());
        let (after, last) = (self.known, self.last);
        (count > 0 && after < last).then_some(Wanted { after, count, last })
    }

    /// These numbers were read, in order, and are sent now. None at all: there are none up to
    /// [`Wanted::last`].
    pub(super) fn read(&mut self, wanted: Wanted, seqs: impl Iterator<Item = u64>) {
        let mut known = None;
        for seq in seqs {
            self.sends(seq);
            known = Some(seq);
        }
        self.known = known.unwrap_or(wanted.last);
        self.heard(self.known);
    }

    fn sends(&mut self, seq: u64) {
        self.in_flight.push_back(Sent { seq, is_acked: false });
        self.sent = self.sent.max(seq);
    }

    /// Whether a message of this number was sent before.
    pub(super) fn was_sent(&self, seq: u64) -> bool {
        seq <= self.sent
    }

    /// The device has acknowledged a message. Returns up to where it has everything, if that has
    /// changed.
    pub(super) fn acknowledged(&mut self, seq: u64) -> Option<u64> {
        let place = self.in_flight.binary_search_by_key(&seq, |sent| sent.seq).ok()?;
        self.in_flight[place].is_acked = true;
        let before = self.acked;
        while self.in_flight.front().is_some_and(|sent| sent.is_acked) {
            let done = self.in_flight.pop_front();
            self.acked = done.map_or(self.acked, |sent| sent.seq);
        }
        (self.acked > before).then_some(self.acked)
    }

    /// Up to where the device has everything.
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// Another socket gets what was not acknowledged.
    pub(super) fn restart(&mut self) {
        self.in_flight.clear();
        self.known = self.acked;
    }

    /// The number of messages on their way.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
