//! A handler with the interceptors of its own, as a gateway takes it.

use std::sync::Arc;

use super::{
    handler::{Handler, IntoHandler, Itself},
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
pub fn handle<Parameters>(handler: impl IntoHandler<Parameters>) -> Handle {
    Handle { handler: handler.into_handler(), interceptors: Vec::new() }
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
}

impl Handle {
    /// Adds an interceptor around this event, inside those of the gateway and of the server.
    #[must_use]
    pub fn intercept(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }
}

/// The arguments of [`Gateway::on`](crate::Gateway::on): a function, a [`Handler`], or a
/// [`Handle`].
pub trait IntoHandle<Parameters> {
    /// The handler with its interceptors.
    fn into_handle(self) -> Handle;
}

/// Marks [`IntoHandle`] for everything that is [`IntoHandler`].
#[derive(Debug)]
pub struct Plain<Parameters>(std::marker::PhantomData<Parameters>);

impl<P, H: IntoHandler<P>> IntoHandle<Plain<P>> for H {
    fn into_handle(self) -> Handle {
        handle(self)
    }
}

impl IntoHandle<Itself> for Handle {
    fn into_handle(self) -> Handle {
        self
    }
}
