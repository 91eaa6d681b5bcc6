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
    gateway::{
        event::Event,
        extract::{App, FromContext},
        handler::{Function, Handler},
        reply::IntoOutcome,
    },
};

/// An interceptor from an async function: up to seven parameters that a handler of events may have,
/// and behind them the [`Rest`] of the chain. It returns what a handler may return; so an error is
/// one for the client. If it panics after the rest has run, the client gets the rest's outcome.
///
/// ```
/// use std::time::Instant;
/// use switchboard::{Event, Fault, Gateway, Socket, State, gateway::interceptor::{Rest, from_fn}};
///
/// #[derive(Clone)]
/// struct Staff(Vec<String>);
///
/// let gateway = Gateway::new("/")
///     .intercept(from_fn(async |event: Event, rest: Rest| {
///         let started = Instant::now();
///         let outcome = rest.run(event.clone()).await;
///         println!("{} took {:?}", event.name(), started.elapsed());
///         outcome
///     }))
///     .intercept(from_fn(async |State(staff): State<Staff>, socket: Socket, event: Event, rest: Rest| {
///         match socket.user() {
///             Some(user) if staff.0.iter().any(|name| **name == *user) => rest.run(event).await,
///             _ => Err(Fault::forbidden("for staff only")),
///         }
///     }));
/// ```
pub fn from_fn<F: Intercepts<Kind>, Kind>(function: F) -> FromFn<F, Kind> {
    FromFn { function, kind: PhantomData }
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
pub struct FromFn<F, Kind> {
    function: F,
    kind: PhantomData<fn(Kind)>,
}

/// A function that can be an interceptor, by its kind; see [`from_fn`]. Only functions are: a type
/// implements [`Interceptor`].
///
/// ```
/// use switchboard::{Event, Gateway, gateway::interceptor::{Intercepts, Rest, from_fn}};
///
/// /// The same function around the handlers of several gateways.
/// fn each<F: Intercepts<Kind> + Clone, Kind: 'static>(gateways: Vec<Gateway>, function: F) -> Vec<Gateway> {
///     gateways.into_iter().map(|gateway| gateway.intercept(from_fn(function.clone()))).collect()
/// }
///
/// let gateways = vec![Gateway::new("/a"), Gateway::new("/b")];
/// let gateways = each(gateways, async |event: Event, rest: Rest| rest.run(event).await);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function for an interceptor",
    label = "not an async function of parameters of a handler, with `Rest` as the last one",
    note = "an interceptor is an async function or closure: `async |event: Event, rest: Rest| rest.run(event).await`",
    note = "before `rest` it may ask for what a handler of events may ask for, seven parts at most, and it returns what a handler may return",
    note = "each parameter has to name its type"
)]
pub trait Intercepts<Kind>: Send + Sync + 'static {
    /// Calls it. If a part that it asks for is not there, that is the outcome.
    #[doc(hidden)]
    fn call(&self, event: &Event, rest: Rest) -> BoxFuture<'static, Outcome>;

    /// What has to be there before it is called; see
    /// [`FromContext::check`](crate::FromContext::check).
    #[doc(hidden)]
    fn check(server: App<'_>) -> Result<(), String>;
}

macro_rules! functions {
    ($($parameter:ident),*) => {
        impl<F, Fut, R, How, $($parameter),*> Intercepts<Function<($($parameter,)* Rest,), R, How>> for F
        where
            F: Fn($($parameter,)* Rest) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoOutcome<How> + 'static,
            How: 'static,
            $($parameter: FromContext<Event>),*
        {
            #[allow(non_snake_case)]
            fn call(&self, event: &Event, rest: Rest) -> BoxFuture<'static, Outcome> {
                match FromContext::from_context(event) {
                    Ok(($($parameter,)*)) => {
                        Box::pin(self($($parameter,)* rest).map(IntoOutcome::into_outcome))
                    }
                    Err(fault) => Box::pin(std::future::ready(Err(fault))),
                }
            }

            fn check(server: App<'_>) -> Result<(), String> {
                <($($parameter,)*) as FromContext<Event>>::check(server)
            }
        }
    };
}
functions!();
functions!(A);
functions!(A, B);
functions!(A, B, C);
functions!(A, B, C, D);
functions!(A, B, C, D, E);
functions!(A, B, C, D, E, G);
functions!(A, B, C, D, E, G, H);

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

impl<F: Intercepts<Kind>, Kind: 'static> Interceptor for FromFn<F, Kind> {
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
            let called = async { self.function.call(event, rest).await };
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

    fn check(&self, server: App<'_>) -> Result<(), String> {
        F::check(server)
    }
}
