//! Functions as handlers.
//!
//! What a function looks like, and what it has to be for its kind of handler, are two traits. So a
//! function that does not fit is refused for the one parameter, or the result, that does not.

use std::{future::Future, marker::PhantomData, sync::Arc};

use futures_util::FutureExt;

use super::{Handler, Itself, Returns};
use crate::{
    future::BoxFuture,
    gateway::extract::{App, Context, FromContext},
};

/// What a handler looks like: an async function or closure of up to eight parameters, or a value
/// that is a [`Handler`] itself.
///
/// ```
/// use switchboard::{Gateway, Socket, gateway::{handler::{Called, Signature}, lifecycle::Connect}};
///
/// /// The same handler for the connects of several gateways.
/// fn each<H: Signature<Kind> + Clone, Kind: Called<Connect, H>>(gateways: Vec<Gateway>, handler: H) -> Vec<Gateway> {
///     gateways.into_iter().map(|gateway| gateway.on_connect(handler.clone())).collect()
/// }
///
/// let gateways = vec![Gateway::new("/a"), Gateway::new("/b")];
/// let gateways = each(gateways, async |socket: Socket| println!("{} is here", socket.id()));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler",
    label = "not an async function of up to eight parameters that each say their type",
    note = "a handler is an async function or closure: `async |socket: Socket, Data(text): Data<String>| …`",
    note = "each parameter has to name its type, and what is captured has to be cloned into it or be given by `State<T>`",
    note = "a value can be a handler, too, if its type implements `switchboard::gateway::handler::Handler`"
)]
pub trait Signature<Kind>: Send + Sync + 'static {}

/// A kind of handler that can be called for `C`.
///
/// ```
/// use std::sync::Arc;
/// use switchboard::{Event, Reply, gateway::handler::{Called, Handler, Signature}};
///
/// /// Functions of different parameters, as values of one type.
/// fn value<H: Signature<Kind>, Kind: Called<Event, H>>(handler: H) -> Arc<dyn Handler> {
///     Kind::handler(handler)
/// }
///
/// let handlers = [value(async || ()), value(async |event: Event| Reply::ack(event.name()))];
/// ```
pub trait Called<C: Context, H> {
    /// The handler as a value.
    fn handler(handler: H) -> Arc<dyn Handler<C>>;
}

/// The kind of functions of these parameters, with this result.
///
/// ```
/// use switchboard::{
///     Socket,
///     gateway::{handler::{Function, Signature}, reply::AsAck},
/// };
///
/// /// Only functions of a socket whose result is the acknowledgement.
/// fn only<H: Signature<Function<(Socket,), R, AsAck>>, R>(handler: H) {}
///
/// only(async |socket: Socket| socket.namespace().to_owned());
/// ```
#[derive(Debug)]
pub struct Function<Parameters, R, How>(PhantomData<fn(Parameters, R, How)>);

/// A function with its kind.
struct Known<F, Kind> {
    function: F,
    kind: PhantomData<fn(Kind)>,
}

macro_rules! functions {
    ($($parameter:ident),*) => {
        impl<H, Fut, R, How, $($parameter),*> Signature<Function<($($parameter,)*), R, How>> for H
        where
            H: Fn($($parameter),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
        }

        impl<Ctx, H, Fut, R, How, $($parameter),*> Handler<Ctx>
            for Known<H, Function<($($parameter,)*), R, How>>
        where
            Ctx: Context,
            H: Fn($($parameter),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: Returns<Ctx::Output, How> + 'static,
            How: 'static,
            $($parameter: FromContext<Ctx> + 'static),*
        {
            #[allow(non_snake_case)]
            fn call(&self, context: Ctx) -> BoxFuture<'static, Ctx::Output> {
                match FromContext::from_context(&context) {
                    Ok(($($parameter,)*)) => {
                        Box::pin((self.function)($($parameter),*).map(Returns::output))
                    }
                    Err(fault) => Box::pin(std::future::ready(Ctx::refused(fault))),
                }
            }

            fn check(&self, server: App<'_>) -> Result<(), String> {
                <($($parameter,)*) as FromContext<Ctx>>::check(server)
            }
        }

        impl<Ctx, H, Fut, R, How, $($parameter),*> Called<Ctx, H>
            for Function<($($parameter,)*), R, How>
        where
            Ctx: Context,
            H: Fn($($parameter),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = R> + Send + 'static,
            R: Returns<Ctx::Output, How> + 'static,
            How: 'static,
            $($parameter: FromContext<Ctx> + 'static),*
        {
            fn handler(function: H) -> Arc<dyn Handler<Ctx>> {
                Arc::new(Known { function, kind: PhantomData::<fn(Self)> })
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
functions!(A, B, C, D, E, F);
functions!(A, B, C, D, E, F, G);
functions!(A, B, C, D, E, F, G, I);

impl<C: Context, H: Handler<C>> Called<C, H> for Itself<C> {
    fn handler(handler: H) -> Arc<dyn Handler<C>> {
        Arc::new(handler)
    }
}

impl<C: Context, H: Handler<C>> Signature<Itself<C>> for H {}
