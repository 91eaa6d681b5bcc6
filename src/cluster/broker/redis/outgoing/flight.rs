//! Frames on their way to Redis, and the fate of each.

use std::collections::HashSet;

use super::{Frame, Gate, Lost, Outgoing};

/// The fate of a frame on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No answer: it may have arrived.
    Unsure,
    Taken,
    Refused,
    /// It is larger than what Redis passes on, and was not sent.
    TooBig,
    /// Redis did not take it, and a second attempt is allowed.
    NotNow,
}

/// A batch on its way. When it is dropped, it has landed: each frame is accounted for by its fate.
pub(crate) struct Flight<'a> {
    outgoing: &'a Outgoing,
    lane: usize,
    generation: u64,
    pub(crate) frames: Vec<Frame>,
    pub(crate) fates: Vec<Fate>,
}

impl<'a> Flight<'a> {
    pub(super) fn new(
        outgoing: &'a Outgoing,
        lane: usize,
        generation: u64,
        frames: Vec<Frame>,
    ) -> Self {
        let fates = vec![Fate::Unsure; frames.len()];
        Self { outgoing, lane, generation, frames, fates }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = self.outgoing.state.lock();
        let queue = &mut state.queues[self.lane];
        queue.flying -= self.frames.len();
        // The channel may have moved to another lane by now, and later frames may have been sent
        // there.
        let moved = queue.generation != self.generation || state.gate == Gate::Closed;
        let mut overtaken = HashSet::new();
        let any_again = self.fates.contains(&Fate::NotNow);
        // From the last to the first, for returned frames go to the front.
        for (frame, fate) in self.frames.drain(..).zip(self.fates.drain(..)).rev() {
            if any_again && matches!(fate, Fate::Taken | Fate::Unsure) {
                overtaken.insert(frame.channel.clone());
            }
            match fate {
                Fate::Taken => {
                    state.counts.published += 1;
                    state.queues[frame.home].settled += 1;
                }
                Fate::NotNow if moved || overtaken.contains(&frame.channel) => {
                    state.lose(&frame, Lost::Down);
                }
                Fate::NotNow => {
                    let queue = &mut state.queues[self.lane];
                    queue.bytes += frame.size();
                    queue.frames.push_front(frame);
                }
                Fate::TooBig => {
                    state.note_too_big(&frame);
                    state.lose(&frame, Lost::Unsure);
                }
                Fate::Refused | Fate::Unsure => state.lose(&frame, Lost::Unsure),
            }
        }
        state.trim(self.outgoing.pending);
        self.outgoing.changed(state);
    }
}
