//! Extractors: the parameters of handlers, each of which says by its type what it is.
//!
//! A handler is called for a [`Context`]: an [`Event`](crate::Event), a connect, a disconnect. An
//! extractor takes its part out of it, by [`FromContext`], the one trait for all kinds of handlers.

mod arguments;
mod server_state;

use std::fmt;

pub use arguments::{Binary, Data, TryData};
pub use server_state::{Extension, State};

use crate::{
    fault::Fault,
    id::{NodeId, UserId},
    payload::Payload,
    sockets::{
        node::Node,
        socket::{Extensions, Socket},
    },
};

/// What a handler is called for.
///
/// The contexts are the [`Event`](crate::Event), the
/// [`Connect`](crate::gateway::lifecycle::Connect) and the
/// [`Disconnect`](crate::gateway::lifecycle::Disconnect) of a socket, the
/// [`Packet`](crate::gateway::lifecycle::Packet) on its way to a handler, the
/// [`Handshake`](crate::Handshake) before them, the [`Opening`](crate::gateway::opening::Opening) of
/// a connection, a [`ServerSide`](crate::gateway::lifecycle::ServerSide) event, a
/// [`PresenceChange`](crate::gateway::lifecycle::PresenceChange), and a
/// [`Failure`](crate::gateway::lifecycle::Failure).
///
/// ```
/// use switchboard::{Fault, FromContext, gateway::extract::Context};
///
/// /// In handlers of every kind: the name of the node.
/// struct Here(String);
///
/// impl<C: Context> FromContext<C> for Here {
///     fn from_context(context: &C) -> Result<Self, Fault> {
///         Ok(Self(context.app().node().to_string()))
///     }
/// }
/// ```
pub trait Context: Send + Sync + Sized + 'static {
    /// What becomes of the handler's result.
    type Output: Send + 'static;

    /// The server's parts that every context has.
    fn app(&self) -> App<'_>;

    /// The end of a handler that is not called, because a part that it asks for is not there.
    ///
    /// ```
    /// use std::{future::ready, sync::{Arc, atomic::{AtomicBool, Ordering}}};
    /// use switchboard::{Code, Fault, gateway::{extract::Context, handler::{BoxFuture, Handler}}};
    ///
    /// /// A handler that can be switched off.
    /// struct Switched<H> {
    ///     handler: H,
    ///     is_on: Arc<AtomicBool>,
    /// }
    ///
    /// impl<C: Context, H: Handler<C>> Handler<C> for Switched<H> {
    ///     fn call(&self, context: C) -> BoxFuture<'static, C::Output> {
    ///         if self.is_on.load(Ordering::Relaxed) {
    ///             return self.handler.call(context);
    ///         }
    ///         Box::pin(ready(C::refused(Fault::new(Code::Unavailable, "switched off"))))
    ///     }
    /// }
    /// ```
    fn refused(fault: Fault) -> Self::Output;

    /// Takes a part out of it, as a parameter of a handler does.
    ///
    /// ```
    /// use switchboard::{Event, Gateway, Reply, State, gateway::extract::Context};
    ///
    /// let gateway = Gateway::new("/").on("where", async |event: Event| {
    ///     let State(region) = event.extract::<State<&'static str>>()?;
    ///     Ok::<_, switchboard::Fault>(Reply::ack(region))
    /// });
    /// ```
    ///
    /// # Errors
    /// As the extractor says.
    fn extract<T: FromContext<Self>>(&self) -> Result<T, Fault> {
        T::from_context(self)
    }
}

/// A [`Context`] with a socket.
///
/// ```
/// use switchboard::{Fault, FromContext, gateway::extract::OfSocket};
///
/// /// In every handler that has a socket.
/// struct Namespace(String);
///
/// impl<C: OfSocket> FromContext<C> for Namespace {
///     fn from_context(context: &C) -> Result<Self, Fault> {
///         Ok(Self(context.socket().namespace().to_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler of `{Self}` has no socket",
    label = "there is no socket in `{Self}`",
    note = "`Socket`, `Extension<T>` and `UserId` are for handlers of events, packets, connects and disconnects, for middleware and for `on_fault`",
    note = "ask for `Switchboard` instead, and emit by `server.of(\"/\")`"
)]
pub trait OfSocket: Context {
    /// The socket.
    fn socket(&self) -> &Socket;
}

/// A [`Context`] with arguments.
///
/// ```
/// use switchboard::{Fault, FromContext, gateway::extract::WithArguments};
///
/// /// In every handler of an event.
/// struct IsEmpty(bool);
///
/// impl<C: WithArguments> FromContext<C> for IsEmpty {
///     fn from_context(context: &C) -> Result<Self, Fault> {
///         Ok(Self(context.payload().is_empty()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler of `{Self}` has no arguments",
    label = "there are no arguments in `{Self}`",
    note = "`Data<T>`, `TryData<T>`, `Binary` and `Payload` are for handlers of events, of packets, and of events between servers",
    note = "what a client says when it connects is `Handshake::auth` and `Handshake::query`"
)]
pub trait WithArguments: Context {
    /// The arguments as they came.
    fn payload(&self) -> &Payload;
}

/// The parts of the server that every [`Context`] reaches.
///
/// ```
/// use std::collections::HashMap;
/// use switchboard::{Fault, FromContext, gateway::extract::{App, Context}};
///
/// /// What the program gives the server: the region of each node.
/// struct Regions(HashMap<String, &'static str>);
///
/// /// The region of the node, as a parameter of handlers.
/// struct Region(&'static str);
///
/// fn region(app: App<'_>) -> Option<&'static str> {
///     app.state::<Regions>()?.0.get(app.node().as_str()).copied()
/// }
///
/// impl<C: Context> FromContext<C> for Region {
///     fn from_context(context: &C) -> Result<Self, Fault> {
///         region(context.app()).map(Self).ok_or_else(Fault::internal)
///     }
/// }
/// ```
#[derive(Clone, Copy)]
pub struct App<'a>(&'a Node);

impl<'a> App<'a> {
    pub(crate) fn new(node: &'a Node) -> Self {
        Self(node)
    }

    /// The name of this node.
    pub fn node(self) -> &'a NodeId {
        self.0.id()
    }

    /// A value that the program has given the server by
    /// [`Builder::state`](crate::server::Builder::state).
    pub fn state<T: 'static>(self) -> Option<&'a T> {
        self.0.states().get()
    }

    pub(crate) fn this_node(self) -> &'a Node {
        self.0
    }
}

impl fmt::Debug for App<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("node", self.node()).finish_non_exhaustive()
    }
}

/// A part of a [`Context`]. A handler asks for it by a parameter of this type.
///
/// | Parameter | What it is | Handlers |
/// |---|---|---|
/// | [`Socket`] | the socket | all with a socket |
/// | [`Event`](crate::Event) | the event itself | of events |
/// | [`Data<T>`](Data), [`TryData<T>`](TryData), [`Binary`], [`Payload`] | its arguments | of events, also between servers |
/// | [`State<T>`](State) | what the program gave the server | all |
/// | [`Extension<T>`](Extension) | what the program keeps with the socket | all with a socket |
/// | [`Switchboard`](crate::Switchboard) | the server | all |
/// | [`Handshake`](crate::Handshake) | the request and the CONNECT behind the socket | all with a socket |
/// | [`DisconnectReason`](crate::gateway::handler::DisconnectReason) | why it has left | of disconnects |
/// | [`Presence`](crate::users::Presence) | who comes or goes | of presence |
/// | [`UserId`] | its user; refused if it is anonymous | all with a socket |
/// | `Option<T>` | `None` where the part is not there | all |
/// | `(A, B, …)` | several | all |
///
/// ```
/// use switchboard::{Fault, Gateway, Reply, gateway::extract::{FromContext, OfSocket}};
///
/// struct Staff(String);
///
/// /// In all handlers that have a socket.
/// impl<C: OfSocket> FromContext<C> for Staff {
///     fn from_context(context: &C) -> Result<Self, Fault> {
///         match context.socket().user() {
///             Some(user) if user.starts_with("staff:") => Ok(Self(user.to_string())),
///             _ => Err(Fault::forbidden("for staff only")),
///         }
///     }
/// }
///
/// let gateway = Gateway::new("/").on("who", async |Staff(name): Staff| Reply::ack(&name));
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler of `{C}` cannot have a parameter of the type `{Self}`",
    label = "`{Self}` cannot be taken out of `{C}`",
    note = "arguments of an event are `Data<T>`, with several as a tuple: `Data((a, b)): Data<(A, B)>`",
    note = "what the program gave the server by `Builder::state` is `State<T>`, what it keeps with a socket `Extension<T>`",
    note = "for a type of your own, implement `FromContext<C>`; see `switchboard::gateway::extract`"
)]
pub trait FromContext<C: Context>: Sized {
    /// Takes the part out of the context.
    ///
    /// # Errors
    /// The handler is not called then. A client that waits for an acknowledgement gets the fault.
    fn from_context(context: &C) -> Result<Self, Fault>;

    /// The part if it is there, for a parameter `Option<Self>`. Unless an extractor says otherwise,
    /// `None` takes the place of any fault.
    ///
    /// ```
    /// use switchboard::{Fault, FromContext, gateway::extract::OfSocket};
    ///
    /// /// The tenant that the token names.
    /// struct Tenant(String);
    ///
    /// impl<C: OfSocket> FromContext<C> for Tenant {
    ///     fn from_context(context: &C) -> Result<Self, Fault> {
    ///         Self::optional(context)?.ok_or_else(|| Fault::forbidden("for tenants only"))
    ///     }
    ///
    ///     /// Who names none may be let in, but nobody by mistake.
    ///     fn optional(context: &C) -> Result<Option<Self>, Fault> {
    ///         match context.socket().identity().claims().get("tenant") {
    ///             None => Ok(None),
    ///             Some(tenant) => match tenant.as_str() {
    ///                 Some(tenant) => Ok(Some(Self(tenant.to_owned()))),
    ///                 None => Err(Fault::bad_request("the claim `tenant` is no text")),
    ///             },
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// If the part is there and cannot be taken.
    fn optional(context: &C) -> Result<Option<Self>, Fault> {
        Ok(Self::from_context(context).ok())
    }

    /// What has to be there before any handler is called. Asked once, when the server is built.
    ///
    /// ```
    /// use switchboard::{Fault, FromContext, Gateway, Switchboard, gateway::extract::{App, Context}};
    ///
    /// /// How the program greets, which it gives the server by `Builder::state`.
    /// #[derive(Clone)]
    /// struct Greeting(&'static str);
    ///
    /// impl<C: Context> FromContext<C> for Greeting {
    ///     fn from_context(context: &C) -> Result<Self, Fault> {
    ///         context.app().state::<Self>().cloned().ok_or_else(Fault::internal)
    ///     }
    ///
    ///     fn check(server: App<'_>) -> Result<(), String> {
    ///         server.state::<Self>().map(drop).ok_or_else(|| "no greeting was given".to_owned())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let gateway = || Gateway::new("/").on("hello", async |Greeting(hello): Greeting| hello);
    /// assert!(Switchboard::builder().gateway(gateway()).build().is_err());
    /// assert!(Switchboard::builder().state(Greeting("hi")).gateway(gateway()).build().is_ok());
    /// # }
    /// ```
    ///
    /// # Errors
    /// A sentence that names what is missing: the server cannot be built.
    fn check(_server: App<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl<C: Context, T: FromContext<C>> FromContext<C> for Option<T> {
    fn from_context(context: &C) -> Result<Self, Fault> {
        T::optional(context)
    }
}

impl<C: OfSocket> FromContext<C> for Socket {
    fn from_context(context: &C) -> Result<Self, Fault> {
        Ok(context.socket().clone())
    }
}

/// The user of the socket. An anonymous socket is refused with `unauthorized`.
impl<C: OfSocket> FromContext<C> for UserId {
    fn from_context(context: &C) -> Result<Self, Fault> {
        context.socket().user().ok_or_else(|| Fault::unauthorized("for users only"))
    }
}

impl<C: OfSocket> FromContext<C> for Extensions {
    fn from_context(context: &C) -> Result<Self, Fault> {
        Ok(context.socket().extensions())
    }
}

impl<C: WithArguments> FromContext<C> for Payload {
    fn from_context(context: &C) -> Result<Self, Fault> {
        Ok(context.payload().clone())
    }
}

/// Several parts are one: that is how a function of several parameters asks for them.
macro_rules! tuples {
    ($($part:ident),*) => {
        impl<C: Context, $($part: FromContext<C>),*> FromContext<C> for ($($part,)*) {
            #[allow(unused_variables)]
            fn from_context(context: &C) -> Result<Self, Fault> {
                Ok(($($part::from_context(context)?,)*))
            }

            #[allow(unused_variables)]
            fn check(server: App<'_>) -> Result<(), String> {
                $($part::check(server)?;)*
                Ok(())
            }
        }
    };
}
tuples!();
tuples!(A);
tuples!(A, B);
tuples!(A, B, D);
tuples!(A, B, D, E);
tuples!(A, B, D, E, F);
tuples!(A, B, D, E, F, G);
tuples!(A, B, D, E, F, G, H);
tuples!(A, B, D, E, F, G, H, I);
