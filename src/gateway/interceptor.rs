//! Interceptors: code around every handler, which sees the event and what became of it.
//!
//! They stand at three levels, from the outside in: the server, the gateway, one event. An
//! interceptor may look, change, or answer instead of the handler, but it cannot lose a reply: what
//! it breaks by a panic or an error of its own is delivered as the handler gave it.

mod built_in;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use futures_util::FutureExt;

pub use built_in::{Counting, Counts, Logging, Propagate, Timeout};

use crate::{
    fault::Fault,
    gateway::{event::Event, handler::Handler},
};
pub use crate::{future::BoxFuture, gateway::reply::Outcome};

/// An interceptor's own failure. Not what the client gets: that is a [`Fault`] inside the outcome.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Code around the handlers.
///
/// ```
/// use switchboard::{Event, gateway::interceptor::{BoxFuture, Failure, Interceptor, Next, Outcome}};
///
/// struct Audit;
///
/// impl Interceptor for Audit {
///     fn intercept<'a>(&'a self, event: &'a Event, next: Next<'a>) -> BoxFuture<'a, Result<Outcome, Failure>> {
///         Box::pin(async move {
///             let outcome = next.run(event.clone()).await;
///             println!("{} was handled: {}", event.name(), outcome.is_ok());
///             Ok(outcome)
///         })
///     }
/// }
/// ```
pub trait Interceptor: Send + Sync + 'static {
    /// Wraps the rest of the chain. `Ok` is what the client gets, a [`Fault`] inside it included.
    ///
    /// # Errors
    /// `Err` is a failure of the interceptor itself: it is logged, and the client gets what the rest
    /// of the chain answered; if the rest was not asked yet, the client gets `internal`, for an
    /// interceptor may be what keeps the event out.
    fn intercept<'a>(
        &'a self,
        event: &'a Event,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>>;
}

/// The rest of the chain: the interceptors further in, then the handler.
pub struct Next<'a> {
    rest: &'a [Arc<dyn Interceptor>],
    handler: &'a Arc<dyn Handler>,
    /// Where the outcome is kept for the case that the interceptor breaks it.
    kept: &'a OnceLock<Outcome>,
}

impl Next<'_> {
    /// Asks the rest of the chain. What it answers is also kept, see [`Interceptor`].
    pub async fn run(self, event: Event) -> Outcome {
        let outcome = run(self.rest, self.handler, event).await;
        let _ = self.kept.set(outcome.clone());
        outcome
    }
}

/// Runs the handler inside the interceptors. Never panics: a panic of the handler is `internal`.
pub(crate) fn run<'a>(
    interceptors: &'a [Arc<dyn Interceptor>],
    handler: &'a Arc<dyn Handler>,
    event: Event,
) -> BoxFuture<'a, Outcome> {
    let Some((first, rest)) = interceptors.split_first() else {
        return call(handler, event);
    };
    Box::pin(async move {
        let kept = OnceLock::new();
        let next = Next { rest, handler, kept: &kept };
        let intercepted = async { first.intercept(&event, next).await };
        let failure = match AssertUnwindSafe(intercepted).catch_unwind().await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "panic".to_owned(),
        };
        tracing::error!(event.name = event.name(), failure, "an interceptor failed");
        kept.into_inner().unwrap_or_else(|| Err(Fault::internal()))
    })
}

fn call(handler: &Arc<dyn Handler>, event: Event) -> BoxFuture<'static, Outcome> {
    // The call itself may panic too, before there is a future.
    match std::panic::catch_unwind(AssertUnwindSafe(|| handler.call(event))) {
        Ok(future) => Box::pin(
            AssertUnwindSafe(future)
                .catch_unwind()
                .map(|outcome| outcome.unwrap_or_else(|_| Err(panicked()))),
        ),
        Err(_) => Box::pin(std::future::ready(Err(panicked()))),
    }
}

/// The panic's own message is on standard error, by the panic hook.
fn panicked() -> Fault {
    tracing::error!("a handler panicked");
    Fault::internal()
}
