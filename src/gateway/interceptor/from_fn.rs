//! Functions as interceptors.

use std::{
    future::Future,
    marker::PhantomData,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use futures_util::FutureExt;
use smallvec::SmallVec;

use super::{Failure, Interceptor, Next, Outcome, run};
use crate::{
    future::BoxFuture,
    gateway::{event::Event, handler::Handler, reply::IntoOutcome},
};

/// An interceptor from an async function of the event and the [`Rest`] of the chain. It returns what
/// a handler may return; so an error is one for the client. If it panics after the rest has run, the
/// client gets the rest's outcome.
///
/// ```
/// use std::time::Instant;
/// use switchboard::{Event, Gateway, gateway::interceptor::{Rest, from_fn}};
///
/// let gateway = Gateway::new("/").intercept(from_fn(async |event: Event, rest: Rest| {
///     let started = Instant::now();
///     let outcome = rest.run(event.clone()).await;
///     println!("{} took {:?}", event.name(), started.elapsed());
///     outcome
/// }));
/// ```
pub fn from_fn<F, Fut, R, How>(function: F) -> FromFn<F, How>
where
    F: Fn(Event, Rest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoOutcome<How>,
{
    FromFn { function, how: PhantomData }
}

/// An interceptor that is a function, made by [`from_fn`].
///
/// ```
/// use switchboard::{Event, Gateway, gateway::{handle, interceptor::{Interceptor, Rest, from_fn}}};
///
/// /// The type has no name that could be written, so it is given on as what it does.
/// fn counted() -> impl Interceptor {
///     from_fn(async |event: Event, rest: Rest| {
///         println!("one more {}", event.name());
///         rest.run(event).await
///     })
/// }
///
/// let gateway = Gateway::new("/").intercept(counted()).on("sum", handle(async || 7).intercept(counted()));
/// ```
#[derive(Debug)]
pub struct FromFn<F, How> {
    function: F,
    how: PhantomData<fn(How)>,
}

/// The rest of the chain: the interceptors further in, then the handler.
///
/// ```
/// use switchboard::{Event, Fault, gateway::{interceptor::{Rest, from_fn}, reply::Outcome}};
///
/// /// Says it in the words of the program.
/// async fn politely(event: Event, rest: Rest) -> Outcome {
///     match rest.run(event).await {
///         Err(fault) if fault.retry() => Err(Fault::plain("please try again in a minute")),
///         outcome => outcome,
///     }
/// }
///
/// let interceptor = from_fn(politely);
/// ```
pub struct Rest {
    rest: SmallVec<[Arc<dyn Interceptor>; 4]>,
    handler: Arc<dyn Handler>,
    /// Keeps the outcome in case the function fails.
    kept: Arc<OnceLock<Outcome>>,
}

impl Rest {
    /// Runs it.
    pub async fn run(self, event: Event) -> Outcome {
        let outcome = run(&self.rest, &self.handler, event).await;
        let _ = self.kept.set(outcome.clone());
        outcome
    }
}

impl<F, Fut, R, How> Interceptor for FromFn<F, How>
where
    F: Fn(Event, Rest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoOutcome<How>,
    How: 'static,
{
    fn intercept<'a>(
        &'a self,
        event: &'a Event,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        let kept = Arc::new(OnceLock::new());
        let rest = Rest {
            rest: next.rest.iter().cloned().collect(),
            handler: next.handler.clone(),
            kept: kept.clone(),
        };
        Box::pin(async move {
            let called = async { (self.function)(event.clone(), rest).await.into_outcome() };
            match AssertUnwindSafe(called).catch_unwind().await {
                Ok(outcome) => Ok(outcome),
                Err(_) => {
                    if let Some(outcome) = kept.get() {
                        let _ = next.kept.set(outcome.clone());
                    }
                    Err("panic".into())
                }
            }
        })
    }
}
