//! How long a peer may leave waiting bytes: the same for websockets and for answers to requests.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::reasons::KillReason;

/// The slowest allowed reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// While bytes wait, the time in which the peer has to take some.
    pub(crate) timeout: Duration,
    /// Bytes per second that it has to take on the average of that time.
    pub(crate) min_rate: u64,
}

/// The time in which a peer has to take waiting bytes.
#[derive(Debug)]
pub(super) struct Stall {
    timer: Pin<Box<Sleep>>,
    written_before: u64,
}

impl Stall {
    /// Begins now. `written` is the number of bytes that the peer has taken in all.
    pub(super) fn new(patience: Patience, written: u64) -> Self {
        Self { timer: Box::pin(sleep(patience.timeout)), written_before: written }
    }

    /// Ready with the reason when the peer has taken too little for too long.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        patience: Patience,
        written: u64,
    ) -> Poll<KillReason> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let taken = written - self.written_before;
            if taken == 0 {
                return Poll::Ready(KillReason::Stalled);
            }
            if (taken as f64) < patience.min_rate as f64 * patience.timeout.as_secs_f64() {
                return Poll::Ready(KillReason::SlowConsumer);
            }
            self.written_before = written;
            self.timer.as_mut().reset(Instant::now() + patience.timeout);
        }
    }
}
