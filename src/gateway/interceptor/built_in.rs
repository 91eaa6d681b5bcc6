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

/// Sends each event that a handler replies to the sender also to the user's other sockets, on every
/// node, so that all tabs of a user see the same. The sender never gets it twice. Acknowledgements,
/// errors and replies to anonymous sockets stay as they are.
///
/// ```
/// use switchboard::{Gateway, Switchboard, gateway::interceptor::Propagate};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder().global_interceptor(Propagate).gateway(Gateway::new("/")).build()?;
/// # _ = server;
/// # Ok(())
/// # }
/// ```
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
            // The sender is one of the user's sockets, so one emit to the user reaches all of them,
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

/// Logs each event at debug level: its name, the handler's time, and the code of a fault. Never its
/// arguments.
///
/// ```
/// use switchboard::{Gateway, gateway::interceptor::Logging};
///
/// let gateway = Gateway::new("/").intercept(Logging);
/// ```
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

/// Answers `timeout` when the rest of the chain takes too long, and drops the handler's future.
/// Streaming replies are not cut: the limit is on the handler, not on its stream.
///
/// ```
/// use std::time::Duration;
/// use switchboard::{Gateway, gateway::interceptor::Timeout};
///
/// let gateway = Gateway::new("/").intercept(Timeout::after(Duration::from_secs(5)));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Timeout(Duration);

impl Timeout {
    /// The longest time for a handler.
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

/// Counts events and their outcomes. [`Counting::counts`] reads the counts.
///
/// ```
/// use switchboard::{Gateway, gateway::interceptor::Counting};
///
/// let counting = Counting::new();
/// let gateway = Gateway::new("/").intercept(counting.clone());
/// assert_eq!(counting.counts().events, 0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Counting(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    events: AtomicU64,
    replies: AtomicU64,
    faults: AtomicU64,
}

/// The counts of a [`Counting`] since it was made.
///
/// ```
/// use switchboard::gateway::interceptor::{Counting, Counts};
///
/// let counting = Counting::new();
/// assert_eq!(counting.counts(), Counts::default());
/// ```
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
