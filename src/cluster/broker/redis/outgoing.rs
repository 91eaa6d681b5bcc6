//! The frames that wait to be published: bounded, in order, and only while the link is up.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// What may wait. A link that lags behind by so much is as good as down.
const MAX_FRAMES: usize = 65_536;
const MAX_BYTES: usize = 64 << 20;
/// What goes out as one pipeline: enough to fill the wire, little enough to be answered within the
/// deadline of an answer over 5 Mbit/s, too.
const BATCH_FRAMES: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;

/// One of them.
pub(super) struct Frame {
    pub(super) channel: Box<str>,
    pub(super) payload: Bytes,
    pub(super) since: Instant,
}

/// Why a frame was dropped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    Down,
    Full,
}

#[derive(Default)]
pub(super) struct Outgoing {
    state: Mutex<State>,
    wake: Notify,
    /// How many frames have left, whatever became of them.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    gate: Gate,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// How many frames have come in.
    pushed: u64,
}

#[derive(Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Closed,
    Open,
    /// Nothing comes in any more; what is there goes out.
    Sealed,
}

impl Outgoing {
    pub(super) fn push(&self, channel: &str, payload: Bytes) -> Result<(), Dropped> {
        let mut state = self.state.lock();
        if state.gate != Gate::Open {
            return Err(Dropped::Down);
        }
        if state.frames.len() >= MAX_FRAMES || state.bytes + payload.len() > MAX_BYTES {
            return Err(Dropped::Full);
        }
        state.bytes += payload.len();
        state.pushed += 1;
        let since = Instant::now();
        state.frames.push_back(Frame { channel: channel.into(), payload, since });
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn open(&self) {
        self.state.lock().gate = Gate::Open;
    }

    /// Drops what is there, which is to be settled; refuses everything until opened again.
    pub(super) fn close(&self) -> VecDeque<Frame> {
        let mut state = self.state.lock();
        state.gate = Gate::Closed;
        state.bytes = 0;
        std::mem::take(&mut state.frames)
    }

    /// Redis has taken so many frames of a batch, or they are lost.
    pub(super) fn settle(&self, frames: usize) {
        self.settled.send_modify(|settled| *settled += frames as u64);
    }

    /// Ends when every frame that came in before has left.
    pub(super) async fn flushed(&self) {
        let pushed = self.state.lock().pushed;
        // The sender is in `self`.
        let _ = self.settled.subscribe().wait_for(|settled| *settled >= pushed).await;
    }

    pub(super) fn seal(&self) {
        self.state.lock().gate = Gate::Sealed;
        self.wake.notify_one();
    }

    /// What waits, once something does, up to the size of a batch; `None` when it is sealed and
    /// empty. For one caller. Dropping the future loses nothing.
    pub(super) async fn batch(&self) -> Option<Vec<Frame>> {
        loop {
            if let Some(batch) = self.take() {
                return Some(batch);
            }
            if self.state.lock().gate == Gate::Sealed {
                return None;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<Vec<Frame>> {
        let mut state = self.state.lock();
        let mut bytes = 0;
        let fits = |frame: &&Frame| {
            bytes += frame.payload.len();
            bytes <= BATCH_BYTES
        };
        // one frame goes out whatever its size
        let count = state.frames.iter().take(BATCH_FRAMES).take_while(fits).count().max(1);
        let count = count.min(state.frames.len());
        let batch: Vec<_> = state.frames.drain(..count).collect();
        state.bytes -= batch.iter().map(|frame| frame.payload.len()).sum::<usize>();
        (!batch.is_empty()).then_some(batch)
    }

    /// How many frames and bytes wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.frames.len(), state.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_taken_only_while_open_and_come_out_in_order() {
        let outgoing = Outgoing::default();
        assert_eq!(outgoing.push("a", Bytes::new()), Err(Dropped::Down));
        outgoing.open();
        for channel in ["a", "b", "c"] {
            outgoing.push(channel, Bytes::from_static(b"12")).unwrap();
        }
        assert_eq!(outgoing.waiting(), (3, 6));
        outgoing.seal();
        assert_eq!(outgoing.push("d", Bytes::new()), Err(Dropped::Down));
        let batch = outgoing.batch().await.unwrap();
        assert_eq!(batch.iter().map(|frame| &*frame.channel).collect::<String>(), "abc");
        assert!(outgoing.batch().await.is_none());
        outgoing.open();
        outgoing.push("e", Bytes::new()).unwrap();
        assert_eq!(outgoing.close().len(), 1);
    }

    #[tokio::test]
    async fn it_is_flushed_when_everything_from_before_is_taken_or_lost() {
        let outgoing = Outgoing::default();
        outgoing.flushed().await;
        outgoing.open();
        for channel in ["a", "b", "c"] {
            outgoing.push(channel, Bytes::new()).unwrap();
        }
        let mut flushed = std::pin::pin!(outgoing.flushed());
        assert!(futures_util::poll!(&mut flushed).is_pending());
        outgoing.push("later", Bytes::new()).unwrap();
        outgoing.settle(2);
        assert!(futures_util::poll!(&mut flushed).is_pending());
        outgoing.settle(1);
        assert!(futures_util::poll!(&mut flushed).is_ready());
    }

    #[tokio::test]
    async fn too_much_is_refused_and_a_batch_is_no_more_than_an_answer_takes() {
        let outgoing = Outgoing::default();
        outgoing.open();
        let mega = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..64 {
            outgoing.push("a", mega.clone()).unwrap();
        }
        assert_eq!(outgoing.push("a", mega), Err(Dropped::Full));
        assert_eq!(outgoing.batch().await.unwrap().len(), 1);
        outgoing.close();
        outgoing.open();
        for _ in 0..MAX_FRAMES {
            outgoing.push("a", Bytes::new()).unwrap();
        }
        assert_eq!(outgoing.push("a", Bytes::new()), Err(Dropped::Full));
        assert_eq!(outgoing.batch().await.unwrap().len(), BATCH_FRAMES);
    }
}
