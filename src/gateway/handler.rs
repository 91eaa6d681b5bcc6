//! Handlers: ordinary async functions of an event's parts, and their form as values.

use std::{future::Future, sync::Arc};

use crate::gateway::{
    event::{Event, FromEvent},
    reply::{IntoOutcome, Outcome},
};

/// Why a socket has left, for [`Gateway::on_disconnect`](crate::Gateway::on_disconnect).
pub use socketioxide::socket::DisconnectReason;

pub use crate::future::BoxFuture;

/// Handles events. [`IntoHandler`] turns functions into handlers; implement this trait for handlers
/// that are made from data.
///
/// ```
/// use switchboard::{Event, Gateway, Reply};
/// use switchboard::gateway::handler::{BoxFuture, Handler};
/// use switchboard::gateway::reply::{IntoOutcome, Outcome};
///
/// /// Answers with a fixed text.
/// struct Fixed(&'static str);
///
/// impl Handler for Fixed {
///     fn call(&self, _event: Event) -> BoxFuture<'static, Outcome> {
///         let reply = Reply::ack(self.0);
///         Box::pin(async move { reply.into_outcome() })
///     }
/// }
///
/// let gateway = Gateway::new("/").on("version", Fixed("1.0"));
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Handles one event of one socket. The next event of this socket waits until the future ends
    /// and its replies are sent; other sockets do not wait.
    fn call(&self, event: Event) -> BoxFuture<'static, Outcome>;
}

/// Functions that become handlers: async functions and closures of up to four parameters. Each
/// parameter is [`FromEvent`]: the [`Socket`](crate::Socket), the [`Event`], typed
/// [`Data`](crate::Data), or the raw [`Payload`](crate::Payload). A [`Handler`] is its own handler.
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
