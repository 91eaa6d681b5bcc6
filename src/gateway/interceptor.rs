//! Interceptors: code around every handler, which sees the event and its outcome.
//!
//! They stand at three levels, from the outside in: the server, the gateway, one event. An
//! interceptor may watch, change, or answer instead of the handler, but it cannot lose a reply:
//! after its panic or error, the handler's own outcome is delivered.

mod built_in;
mod from_fn;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use futures_util::FutureExt;

pub use built_in::{Counting, Counts, Logging, Propagate, Timeout};
pub use from_fn::{FromFn, Intercepts, Rest, from_fn};

use crate::{
    fault::Fault,
    gateway::{event::Event, extract::App, handler::Handler},
};
pub use crate::{future::BoxFuture, gateway::reply::Outcome};

/// An interceptor's own failure. The client does not get it; a [`Fault`] for the client is in the
/// outcome.
///
/// ```
/// use switchboard::gateway::interceptor::Failure;
///
/// /// An interceptor that ends with this keeps the handler's outcome, and the log has the sentence.
/// fn fits(name: &str) -> Result<(), Failure> {
///     if name.len() > 64 {
///         return Err("the audit takes names of 64 bytes at most".into());
///     }
///     Ok(())
/// }
/// ```
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no interceptor",
    label = "this does not implement `Interceptor`",
    note = "a function becomes one by `interceptor::from_fn(async |event: Event, rest: Rest| rest.run(event).await)`",
    note = "a type becomes one by `impl Interceptor`; `interceptor::Logging`, `Timeout` and others are there already"
)]
pub trait Interceptor: Send + Sync + 'static {
    /// Wraps the rest of the chain. The client gets the outcome in `Ok`, even if it is a [`Fault`].
    ///
    /// # Errors
    /// `Err` is a failure of the interceptor itself. It is logged, and the client gets the outcome
    /// of the rest of the chain. If the rest has not run yet, the client gets `internal`, for the
    /// interceptor may be there to keep events out.
    fn intercept<'a>(
        &'a self,
        event: &'a Event,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>>;

    /// What has to be there before any event comes. Asked once, when the server is built.
    ///
    /// ```
    /// use switchboard::{
    ///     Event, Gateway, Switchboard,
    ///     gateway::{extract::App, interceptor::{BoxFuture, Failure, Interceptor, Next, Outcome}},
    /// };
    ///
    /// /// What the program gives the server by `Builder::state`.
    /// struct Prefix(&'static str);
    ///
    /// /// Lets events of this prefix through.
    /// struct Prefixed;
    ///
    /// impl Interceptor for Prefixed {
    ///     fn intercept<'a>(&'a self, event: &'a Event, next: Next<'a>) -> BoxFuture<'a, Result<Outcome, Failure>> {
    ///         Box::pin(async move { Ok(next.run(event.clone()).await) })
    ///     }
    ///
    ///     fn check(&self, server: App<'_>) -> Result<(), String> {
    ///         server.state::<Prefix>().map(drop).ok_or_else(|| "there is no prefix".to_owned())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let gateway = Gateway::new("/").intercept(Prefixed);
    /// assert!(Switchboard::builder().gateway(gateway).build().is_err());
    /// # }
    /// ```
    ///
    /// # Errors
    /// A sentence that names what is missing: the server cannot be built.
    fn check(&self, _server: App<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// The rest of the chain: the interceptors further in, then the handler.
///
/// ```
/// use switchboard::{Code, Event, Fault, gateway::interceptor::{Next, Outcome}};
///
/// /// Events of guests go no further.
/// async fn users_only(event: Event, next: Next<'_>) -> Outcome {
///     match event.socket().user() {
///         Some(_) => next.run(event).await,
///         None => Err(Fault::new(Code::Forbidden, "for users only")),
///     }
/// }
/// ```
pub struct Next<'a> {
    rest: &'a [Arc<dyn Interceptor>],
    handler: &'a Arc<dyn Handler>,
    /// Keeps the outcome in case the interceptor fails.
    kept: &'a OnceLock<Outcome>,
}

impl Next<'_> {
    /// Runs the rest of the chain. Its outcome is also kept, see [`Interceptor`].
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
