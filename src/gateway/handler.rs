//! Handlers: ordinary async functions of the parts of a context, and their form as values.

mod functions;

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;

pub use functions::{Called, Function, Signature};

use crate::{
    fault::Fault,
    gateway::{
        event::Event,
        extract::{App, Context},
        reply::{IntoOutcome, Outcome},
    },
};

/// Why a socket has left, for [`Gateway::on_disconnect`](crate::Gateway::on_disconnect).
pub use socketioxide::socket::DisconnectReason;

pub use crate::future::BoxFuture;

/// Handles events, or whatever else the context `C` is. Functions become handlers by themselves;
/// implement this trait for handlers that are made from data.
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
pub trait Handler<C: Context = Event>: Send + Sync + 'static {
    /// Handles one event of one socket. The next event of this socket waits until the future ends
    /// and its replies are sent; other sockets do not wait.
    fn call(&self, context: C) -> BoxFuture<'static, C::Output>;

    /// What has to be there before it is called. Asked once, when the server is built.
    ///
    /// ```
    /// use switchboard::{
    ///     Event, Gateway, Switchboard,
    ///     gateway::{
    ///         extract::{App, Context},
    ///         handler::{BoxFuture, Handler},
    ///         reply::{IntoOutcome, Outcome},
    ///     },
    /// };
    ///
    /// /// Answers with a text that the program has given the server.
    /// struct Says;
    ///
    /// impl Handler for Says {
    ///     fn call(&self, event: Event) -> BoxFuture<'static, Outcome> {
    ///         let text: Result<String, _> = event.extract::<switchboard::State<String>>().map(|text| text.0);
    ///         Box::pin(async move { text.into_outcome() })
    ///     }
    ///
    ///     fn check(&self, server: App<'_>) -> Result<(), String> {
    ///         server.state::<String>().map(drop).ok_or_else(|| "there is no text".to_owned())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let builder = || Switchboard::builder().gateway(Gateway::new("/").on("say", Says));
    /// assert!(builder().build().is_err());
    /// assert!(builder().state("hello".to_owned()).build().is_ok());
    /// # }
    /// ```
    ///
    /// # Errors
    /// A sentence that names what is missing: the server cannot be built.
    fn check(&self, _server: App<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// The kind of values that are handlers of `C` already.
///
/// ```
/// use switchboard::{Event, gateway::handler::{Called, Handler, Itself}};
///
/// fn handlers<H: Handler>(of_data: H) -> Vec<std::sync::Arc<dyn Handler>> {
///     vec![Itself::<Event>::handler(of_data)]
/// }
/// ```
#[derive(Debug)]
pub struct Itself<C>(std::marker::PhantomData<fn(C)>);

/// The handler of a context as a value.
pub(crate) fn of<C: Context, H: Signature<Kind>, Kind: Called<C, H>>(
    handler: H,
) -> Arc<dyn Handler<C>> {
    Kind::handler(handler)
}

/// Calls a handler. A panic is a fault, and the log names it by `what`.
pub(super) async fn survive<T, E: From<Fault>>(
    what: &'static str,
    called: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    AssertUnwindSafe(called).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("{what} panicked");
        Err(Fault::internal().into())
    })
}

/// What a handler may return, where `Output` is what becomes of it. Events, connects and
/// disconnects have an [`Outcome`]; middlewares let in or refuse.
///
/// ```
/// use switchboard::{Fault, Gateway, Handshake, gateway::{handler::Returns, handshake::Admission}};
///
/// /// What the middlewares of this program return.
/// enum Verdict {
///     Welcome,
///     Full { waiting: usize },
/// }
///
/// impl Returns<Admission, Self> for Verdict {
///     fn output(self) -> Admission {
///         match self {
///             Self::Welcome => Ok(()),
///             Self::Full { waiting } => Err(Fault::plain(format!("{waiting} are before you"))),
///         }
///     }
/// }
///
/// let gateway = Gateway::new("/").middleware(async |handshake: Handshake| {
///     match handshake.query().get("seat") {
///         Some(_) => Verdict::Welcome,
///         None => Verdict::Full { waiting: 3 },
///     }
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "this handler cannot return `{Self}`",
    label = "`{Self}` is no result of such a handler",
    note = "a middleware returns `()` or `Result<(), E>`, where `E` becomes a `Fault` by `From`",
    note = "so does a handler of presence",
    note = "one of opening requests (`allow_request`) may return headers, too, and its `E` may be a `Refusal` or an `axum::response::Response`"
)]
pub trait Returns<Output, How> {
    /// What becomes of it.
    fn output(self) -> Output;
}

impl<How, R: IntoOutcome<How>> Returns<Outcome, How> for R {
    fn output(self) -> Outcome {
        self.into_outcome()
    }
}
