//! Handlers: ordinary async functions of an event's parts, and the value they are kept as.

use std::{future::Future, sync::Arc};

use crate::gateway::{
    event::{Event, FromEvent},
    reply::{IntoOutcome, Outcome},
};

/// Why a socket has left, for [`Gateway::on_disconnect`](crate::Gateway::on_disconnect).
pub use socketioxide::socket::DisconnectReason;

pub use crate::future::BoxFuture;

/// Handles events. Functions are turned into it by [`IntoHandler`]; implement it for handlers that
/// are made from data.
pub trait Handler: Send + Sync + 'static {
    /// Handles one event of one socket. The next event of this socket waits until the future ends
    /// and its replies are sent; other sockets do not wait.
    fn call(&self, event: Event) -> BoxFuture<'static, Outcome>;
}

/// What [`Gateway::on`](crate::Gateway::on) takes: async functions and closures of up to four
/// parameters, each one [`FromEvent`] (the [`Socket`](crate::Socket), the [`Event`], typed
/// [`Data`](crate::Data), the raw [`Payload`](crate::Payload)), or a [`Handler`].
pub trait IntoHandler<Parameters> {
    /// The handler as a value.
    fn into_handler(self) -> Arc<dyn Handler>;
}

/// Marks [`IntoHandler`] for values that are handlers already.
#[derive(Debug)]
pub struct Itself;

impl<H: Handler> IntoHandler<Itself> for H {
    fn into_handler(self) -> Arc<dyn Handler> {
        Arc::new(self)
    }
}

/// A function with the types of its parameters.
struct Function<F, Parameters> {
    function: F,
    parameters: std::marker::PhantomData<fn(Parameters)>,
}

macro_rules! functions {
    ($($parameter:ident),*) => {
        impl<F, Fut, R, $($parameter),*> Handler for Function<F, ($($parameter,)*)>
        where
            F: Fn($($parameter),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoOutcome,
            $($parameter: FromEvent + 'static),*
        {
            #[allow(non_snake_case, unused_variables)]
            fn call(&self, event: Event) -> BoxFuture<'static, Outcome> {
                $(let $parameter = match $parameter::from_event(&event) {
                    Ok(part) => part,
                    Err(fault) => return Box::pin(std::future::ready(Err(fault))),
                };)*
                let future = (self.function)($($parameter),*);
                Box::pin(async move { future.await.into_outcome() })
            }
        }

        impl<F, Fut, R, $($parameter),*> IntoHandler<($($parameter,)*)> for F
        where
            F: Fn($($parameter),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: IntoOutcome,
            $($parameter: FromEvent + 'static),*
        {
            fn into_handler(self) -> Arc<dyn Handler> {
                Arc::new(Function {
                    function: self,
                    parameters: std::marker::PhantomData::<fn(($($parameter,)*))>,
                })
            }
        }
    };
}
functions!();
functions!(A);
functions!(A, B);
functions!(A, B, C);
functions!(A, B, C, D);
