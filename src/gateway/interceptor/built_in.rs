//! The interceptors that come with the library.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{Failure, Interceptor, Next};
use crate::{
    fault::{Code, Fault},
    future::BoxFuture,
    gateway::{
        event::Event,
        reply::{Addressee, Outcome},
    },
};

/// Propagates each event that a handler replies to the sender to the user's other sockets too, on
/// every node, so that all tabs of a user see the same. The sender never gets it twice;
/// acknowledgements, errors and replies to anonymous sockets are left alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Propagate;

impl Interceptor for Propagate {
    fn intercept<'a>(
        &'a self,
        event: &'a Event,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            let outcome = next.run(event.clone()).await;
            let Some(user) = event.socket().user() else { return Ok(outcome) };
            // The sender is one of the user's sockets: one emit to the user reaches all of them,
            // the sender once.
            Ok(outcome.map(|replies| {
                replies.map(move |mut reply| {
                    if reply.addressee == Addressee::Sender && !reply.except_sender {
                        reply = reply.to_user(user.clone());
                    }
                    reply
                })
            }))
        })
    }
}

/// Logs each event at debug level: its name, how long the handler took, and the code of a fault.
/// Never its arguments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Logging;

impl Interceptor for Logging {
    fn intercept<'a>(
        &'a self,
        event: &'a Event,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            let started = Instant::now();
            let outcome = next.run(event.clone()).await;
            let fault = outcome.as_ref().err().map(Fault::code);
            tracing::debug!(
                event.name = event.name(),
                socket.id = %event.socket().id(),
                namespace = event.socket().namespace(),
                elapsed_us = started.elapsed().as_micros() as u64,
                fault = fault.map(Code::as_str),
                "event handled"
            );
            Ok(outcome)
        })
    }
}

/// Answers `timeout` when the rest of the chain takes too long; the handler's future is dropped
/// then. Replies that stream are not cut: the limit is on the handler, not on its stream.
#[derive(Debug, Clone, Copy)]
pub struct Timeout(Duration);

impl Timeout {
    /// The longest that a handler may take.
    pub const fn after(limit: Duration) -> Self {
        Self(limit)
    }
}

impl Interceptor for Timeout {
    fn intercept<'a>(
        &'a self,
        event: &'a Event,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            let late = |_| Err(Fault::new(Code::Timeout, "the handler took too long"));
            Ok(tokio::time::timeout(self.0, next.run(event.clone())).await.unwrap_or_else(late))
        })
    }
}

/// Counts events and what became of them; read the counts through [`Counting::counts`].
#[derive(Debug, Clone, Default)]
pub struct Counting(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    events: AtomicU64,
    replies: AtomicU64,
    faults: AtomicU64,
}

/// What [`Counting`] has seen since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events that reached the interceptor.
    pub events: u64,
    /// Acknowledgements and events that handlers replied, each item of a stream included.
    pub replies: u64,
    /// Events that ended in a fault.
    pub faults: u64,
}

impl Counting {
    /// Counters at zero. Clones count together.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        Counts {
            events: self.0.events.load(Relaxed),
            replies: self.0.replies.load(Relaxed),
            faults: self.0.faults.load(Relaxed),
        }
    }
}

impl Interceptor for Counting {
    fn intercept<'a>(
        &'a self,
        event: &'a Event,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async move {
            self.0.events.fetch_add(1, Relaxed);
            let outcome = next.run(event.clone()).await;
            if outcome.is_err() {
                self.0.faults.fetch_add(1, Relaxed);
            }
            let counters = self.0.clone();
            Ok(outcome.map(|replies| {
                replies.inspect(move |_| {
                    counters.replies.fetch_add(1, Relaxed);
                })
            }))
        })
    }
}
