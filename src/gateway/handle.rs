//! A handler with the interceptors of its own, as a gateway takes it.

use std::sync::Arc;

use super::{
    event::Event,
    extract::App,
    handler::{self, Called, Handler, Signature},
    interceptor::Interceptor,
};

/// A handler and the interceptors of this one event, for [`Gateway::on`](crate::Gateway::on).
///
/// ```
/// use std::time::Duration;
/// use switchboard::{Data, Gateway, Reply, handle, gateway::interceptor::Timeout};
///
/// Gateway::new("/").on(
///     "slow",
///     handle(async |Data(n): Data<u32>| Reply::ack(&n)).intercept(Timeout::after(Duration::from_secs(2))),
/// );
/// ```
pub fn handle<H: Signature<Kind>, Kind: Called<Event, H>>(handler: H) -> Handle {
    let handler = handler::of(handler);
    Handle { handler, interceptors: Vec::new(), concurrent: false }
}

/// A handler with its own interceptors, made by [`handle`].
///
/// ```
/// use switchboard::{Data, Gateway, Reply, gateway::{handle, handle::Handle, interceptor::Logging}};
///
/// let echo: Handle = handle(async |Data(text): Data<String>| Reply::ack(&text)).intercept(Logging);
/// let gateway = Gateway::new("/").on("echo", echo);
/// ```
pub struct Handle {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) interceptors: Vec<Arc<dyn Interceptor>>,
    pub(crate) concurrent: bool,
}

impl Handle {
    /// Adds an interceptor around this event, inside those of the gateway and of the server.
    ///
    /// ```
    /// use switchboard::{Gateway, gateway::interceptor::Logging, handle};
    ///
    /// let gateway = Gateway::new("/").on("loud", handle(async || ()).intercept(Logging));
    /// ```
    #[must_use]
    pub fn intercept(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// The socket's next events do not wait for this handler: it runs in a task of its own, as one
    /// does that asks the client something and awaits the answer. Its replies come when it has
    /// ended, in whatever order. At most 64 such handlers of a socket run at a time; then its events
    /// wait for one to end.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Fault, Gateway, Socket, handle};
    ///
    /// let gateway = Gateway::new("/").on(
    ///     "delete",
    ///     handle(async |socket: Socket| {
    ///         let sure: bool = socket.ask("sure?", &(), Duration::from_secs(30)).await?;
    ///         Ok::<_, Fault>(if sure { "deleted" } else { "kept" })
    ///     })
    ///     .concurrent(),
    /// );
    /// ```
    #[must_use]
    pub fn concurrent(mut self) -> Self {
        self.concurrent = true;
        self
    }

    /// What has to be there before an event comes.
    pub(crate) fn check(&self, server: App<'_>) -> Result<(), String> {
        self.handler.check(server)?;
        self.interceptors.iter().try_for_each(|interceptor| interceptor.check(server))
    }
}

/// Marks a [`Handle`] among the handlers for [`Gateway::on`](crate::Gateway::on).
///
/// ```
/// use switchboard::gateway::handle::{Complete, IntoHandle, handle};
///
/// // A handle is taken as it is, with its interceptors.
/// let handle = Complete::handle(handle(async || ()).concurrent());
/// ```
#[derive(Debug)]
pub struct Complete;

impl Signature<Complete> for Handle {}

/// What [`Gateway::on`](crate::Gateway::on) takes, by its kind: a function, a [`Handler`], or a
/// [`Handle`].
///
/// ```
/// use std::time::Duration;
/// use switchboard::gateway::{handle::{Handle, IntoHandle}, handler::Signature, interceptor::Timeout};
///
/// /// Whatever a gateway takes, with a limit of time.
/// fn hurried<H: Signature<Kind>, Kind: IntoHandle<H>>(handler: H) -> Handle {
///     Kind::handle(handler).intercept(Timeout::after(Duration::from_secs(1)))
/// }
///
/// let gateway = switchboard::Gateway::new("/").on("quick", hurried(async || "done"));
/// ```
pub trait IntoHandle<H> {
    /// The handler with its interceptors.
    fn handle(handler: H) -> Handle;
}

impl<H: Signature<Kind>, Kind: Called<Event, H>> IntoHandle<H> for Kind {
    fn handle(handler: H) -> Handle {
        handle::<H, Kind>(handler)
    }
}

impl IntoHandle<Handle> for Complete {
    fn handle(handler: Handle) -> Handle {
        handler
    }
}
