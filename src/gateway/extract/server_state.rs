//! What a program gave the server, and what it keeps with a socket.

use std::any::type_name;

use super::{App, Context, FromContext, OfSocket};
use crate::fault::Fault;

/// A value that the program gave the server by [`Builder::state`](crate::server::Builder::state):
/// a pool of connections, a cache, a client of another service.
///
/// Each handler gets a clone, so a value should be cheap to clone, as an `Arc` is. A server with a
/// handler that asks for what was never given cannot be built.
///
/// ```
/// use std::sync::Arc;
/// use switchboard::{Data, Gateway, State, Switchboard};
///
/// #[derive(Clone)]
/// struct Prices(Arc<std::collections::HashMap<String, u32>>);
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gateway = Gateway::new("/").on(
///     "price",
///     async |State(prices): State<Prices>, Data(article): Data<String>| {
///         prices.0.get(&article).copied()
///     },
/// );
/// let server = Switchboard::builder().state(Prices(Arc::default())).gateway(gateway).build()?;
/// # _ = server;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State<T>(pub T);

impl<C: Context, T: Clone + Send + Sync + 'static> FromContext<C> for State<T> {
    fn from_context(context: &C) -> Result<Self, Fault> {
        context.app().state::<T>().cloned().map(Self).ok_or_else(|| {
            tracing::error!(state = type_name::<T>(), "the server was not given this state");
            Fault::internal()
        })
    }

    fn check(server: App<'_>) -> Result<(), String> {
        match server.state::<T>() {
            Some(_) => Ok(()),
            None => Err(format!(
                "`State<{wanted}>` is asked for and was not given: call `.state(…)` of the builder with a `{wanted}`",
                wanted = type_name::<T>()
            )),
        }
    }
}

/// A value that the program keeps with the socket, in this process alone, found by its type: a
/// handle to a document, a sender of a channel. A handler gets a clone, and is refused with
/// `internal` if there is none; ask for `Option<Extension<T>>` where there may be none.
///
/// See [`Socket::extensions`](crate::Socket::extensions). What other nodes should see is
/// [`Socket::set`](crate::Socket::set).
///
/// ```
/// use switchboard::{Extension, Fault, Gateway, Handshake, Socket};
///
/// #[derive(Clone)]
/// struct Tenant(String);
///
/// let gateway = Gateway::new("/")
///     .middleware(async |handshake: Handshake| {
///         let tenant = handshake.query().get("tenant").ok_or(Fault::bad_request("no tenant"))?;
///         handshake.socket().extensions().insert(Tenant(tenant.to_owned()));
///         Ok::<_, Fault>(())
///     })
///     .on("tenant", async |Extension(Tenant(name)): Extension<Tenant>| name);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extension<T>(pub T);

impl<C: OfSocket, T: Clone + Send + Sync + 'static> FromContext<C> for Extension<T> {
    fn from_context(context: &C) -> Result<Self, Fault> {
        context.socket().extensions().get::<T>().map(Self).ok_or_else(|| {
            tracing::error!(extension = type_name::<T>(), "the socket has no such extension");
            Fault::internal()
        })
    }

    fn optional(context: &C) -> Result<Option<Self>, Fault> {
        Ok(context.socket().extensions().get::<T>().map(Self))
    }
}
