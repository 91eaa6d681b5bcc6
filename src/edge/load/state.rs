//! The numbers of one client, and when they are too many. Pure: the lock and the wakers are around it.

use crate::edge::{outgoing::Outgoing, size::Size};

/// Reading from a client and its handlers pause when this part of its bound waits.
const PAUSE_AT: usize = 8;

/// They also pause when this many bytes wait, whatever the bound. It keeps a fast connection busy.
const PAUSE_AT_BYTES: usize = 1024 * 1024;

/// Events that may wait for a client's handlers while it is read from.
pub(super) const EVENTS: usize = 256;

/// The factor for these pauses while a caller waits for the client's acknowledgement, which comes
/// after the client's events.
pub(super) const FOR_AN_ANSWER: usize = 16;

#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) packets: usize,
    pub(super) bytes: usize,
}

/// The numbers behind a [`Load`].
#[derive(Debug, Default)]
pub(super) struct State {
    /// Frames for the client, past the engine.
    pub(super) outgoing: Outgoing,
    /// Waiting for the client.
    pub(super) packets: usize,
    pub(super) bytes: usize,
    /// The part of `bytes` that is held for this client alone.
    pub(super) share: usize,
    /// Waiting for the handlers, from the client.
    pub(super) events: usize,
    pub(super) received: usize,
    /// Bytes of an incomplete message.
    pub(super) partial: usize,
    /// Bytes of answers to its polls, until they are written.
    pub(super) answers: usize,
    /// Callers that wait for an acknowledgement.
    pub(super) awaited: usize,
    pub(super) progress: u32,
    pub(super) was_out_full: bool,
    pub(super) was_in_full: bool,
    /// The part in the node's sum.
    pub(super) steps: usize,
}

impl State {
    /// A single packet always fits: its size is up to the application.
    pub(super) fn has_room(&self, size: Size, bounds: Bounds) -> bool {
        let waiting = self.bytes + self.answers;
        (self.packets == 0 && self.answers == 0) || waiting + size.bytes <= bounds.bytes
    }

    /// A packet waits for the client. `share` is the part of it that is held for this client alone.
    pub(super) fn waits(&mut self, size: Size, share: usize) {
        self.packets += size.packets;
        self.bytes += size.bytes;
        self.share += share;
    }

    pub(super) fn taken(&mut self, size: Size) {
        self.progress = self.progress.wrapping_add(1);
        self.packets = self.packets.saturating_sub(size.packets);
        if self.packets == 0 {
            (self.bytes, self.share) = (0, 0);
            return;
        }
        let bytes = self.bytes.saturating_sub(size.bytes);
        // in proportion, for it is not known whose packet was taken
        let all = self.bytes.max(1);
        self.share = match self.share.checked_mul(bytes) {
            Some(product) => product / all,
            // Gigabytes may be counted roughly.
            None => self.share / all * bytes,
        };
        self.bytes = bytes;
    }

    pub(super) fn held(&self) -> usize {
        self.share + self.received + self.partial + self.answers
    }

    /// True from the bound until half of it is left. Otherwise each packet would end the pause.
    pub(super) fn out_full(&mut self, bounds: Bounds) -> bool {
        let (packets, bytes) = (bounds.packets / PAUSE_AT, pause_at_bytes(bounds));
        self.was_out_full = match self.was_out_full {
            true => self.packets > packets / 2 || self.bytes > bytes / 2,
            false => self.packets > packets || self.bytes > bytes,
        };
        self.was_out_full
    }

    pub(super) fn in_full(&mut self, bounds: Bounds) -> bool {
        let times = if self.awaited > 0 { FOR_AN_ANSWER } else { 1 };
        let (events, bytes) = (EVENTS * times, pause_at_bytes(bounds) * times);
        self.was_in_full = match self.was_in_full {
            true => self.events > events / 2 || self.received > bytes / 2,
            false => self.events > events || self.received > bytes,
        };
        self.was_in_full
    }
}

fn pause_at_bytes(bounds: Bounds) -> usize {
    (bounds.bytes / PAUSE_AT).min(PAUSE_AT_BYTES)
}
