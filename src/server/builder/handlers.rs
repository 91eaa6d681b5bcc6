//! The handlers of a whole server, and the state that handlers ask for.

use std::{any::type_name, sync::Arc};

use super::Builder;
use crate::gateway::{
    Event, Handshake,
    handler::{self, Called, Signature},
    interceptor::Interceptor,
    lifecycle::PresenceChange,
    opening::Opening,
};

impl Builder {
    /// Adds a middleware for all gateways, before their own; run in the order written. `io.use` of
    /// Node.js is for the namespace `/` alone, which is
    /// [`Gateway::middleware`](crate::Gateway::middleware) of `Gateway::new("/")`.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Handshake, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .global_middleware(async |handshake: Handshake| match handshake.headers().get("x-tenant") {
    ///         Some(_) => Ok(()),
    ///         None => Err(Fault::forbidden("no tenant")),
    ///     })
    ///     .gateway(Gateway::new("/"))
    ///     .build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn global_middleware<H: Signature<Kind>, Kind: Called<Handshake, H>>(
        mut self,
        middleware: H,
    ) -> Self {
        self.middlewares.push(handler::of(middleware));
        self
    }

    /// Gives the server a value that handlers of every kind ask for by [`State`](crate::State):
    /// those of events, connects and disconnects, middleware, interceptors. An interceptor that is a
    /// type asks by [`extract`](crate::gateway::extract::Context::extract) of the event. There is
    /// one value of each type; a second one of the same type is an error when the server is built.
    ///
    /// ```
    /// use switchboard::{Gateway, State, Switchboard};
    ///
    /// #[derive(Clone)]
    /// struct Region(&'static str);
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let gateway = Gateway::new("/").on("where", async |State(region): State<Region>| region.0);
    /// let server = Switchboard::builder().state(Region("eu")).gateway(gateway).build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.add_state(state);
        self
    }

    /// Gives the server a part of a value that it was given before, so that handlers can ask for
    /// the part alone: `FromRef` of axum.
    ///
    /// ```
    /// use switchboard::{Gateway, State, Switchboard};
    ///
    /// #[derive(Clone)]
    /// struct App {
    ///     greeting: String,
    ///     limit: u32,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .state(App { greeting: "hello".into(), limit: 7 })
    ///     .state_part(|app: &App| app.greeting.clone())
    ///     .gateway(Gateway::new("/").on("greet", async |State(greeting): State<String>| greeting))
    ///     .build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn state_part<T: 'static, P: Clone + Send + Sync + 'static>(
        mut self,
        part: impl FnOnce(&T) -> P,
    ) -> Self {
        // What is missing is named by `build`, if a handler asks for the part.
        if let Some(part) = self.states.get().map(part) {
            self.add_state(part);
        }
        self
    }

    fn add_state<T: Send + Sync + 'static>(&mut self, state: T) {
        let is_second = !self.states.add(state);
        self.refuse_second(&format!("states of the type `{}`", type_name::<T>()), is_second);
    }

    /// Handles the events of all gateways that have no handler and no fallback of their own.
    ///
    /// ```
    /// use switchboard::{Event, Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .global_fallback(async |event: Event| println!("nobody handles {}", event.name()))
    ///     .gateway(Gateway::new("/"))
    ///     .build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn global_fallback<H: Signature<Kind>, Kind: Called<Event, H>>(
        mut self,
        handler: H,
    ) -> Self {
        self.refuse_second("`global_fallback` handlers", self.fallback.is_some());
        self.fallback = Some(handler::of(handler));
        self
    }

    /// Asks before each connection, when its first request has come and before it is answered:
    /// `allowRequest` of Node.js. An error refuses it with 403, and its sentence is the message; a
    /// [`Refusal`](crate::gateway::opening::Refusal) has a status, headers and a body of its own.
    /// Headers that are returned, as a [`HeaderMap`](http::HeaderMap) or as an array of names and
    /// values, are added to the answer, cookies for instance. The client waits as long as this
    /// takes. While 4,096 requests wait, or 16 MiB of them, further ones are refused with 503.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Switchboard, gateway::opening::Opening};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .allow_request(async |opening: Opening| match opening.cookie("session") {
    ///         Some(_) => Ok([("x-node", "a")]),
    ///         None => Err(Fault::plain("log in first")),
    ///     })
    ///     .gateway(Gateway::new("/"))
    ///     .build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow_request<H: Signature<Kind>, Kind: Called<Opening, H>>(
        mut self,
        handler: H,
    ) -> Self {
        self.refuse_second("`allow_request` handlers", self.allow_request.is_some());
        self.allow_request = Some(handler::of(handler));
        self
    }

    /// Adds an interceptor around the handlers of all gateways, outside their own; the first one
    /// written is the outermost.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, gateway::interceptor::{Logging, Propagate}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server =
    ///     Switchboard::builder().global_interceptor(Logging).global_interceptor(Propagate).gateway(Gateway::new("/")).build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn global_interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Is told of each user that comes online or goes offline, one after the other, in the order
    /// in which it happens. It asks for what it needs as every handler does: the
    /// [`Presence`](crate::users::Presence), a [`State`](crate::State), the server. It returns `()`
    /// or a `Result`; an error is logged.
    ///
    /// ```
    /// use switchboard::{Gateway, State, Switchboard, users::Presence};
    /// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
    ///
    /// #[derive(Clone, Default)]
    /// struct Changes(Arc<AtomicUsize>);
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .state(Changes::default())
    ///     .gateway(Gateway::new("/"))
    ///     .on_presence(async |change: Presence, server: Switchboard, State(changes): State<Changes>| {
    ///         changes.0.fetch_add(1, Ordering::Relaxed);
    ///         server.of("/").to("staff").emit("presence", &format!("{change:?}"))
    ///     })
    ///     .build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_presence<H: Signature<Kind>, Kind: Called<PresenceChange, H>>(
        mut self,
        handler: H,
    ) -> Self {
        self.refuse_second("`on_presence` handlers", self.on_presence.is_some());
        self.on_presence = Some(handler::of(handler));
        self
    }

    /// The first problem counts.
    fn refuse_second(&mut self, what: &str, is_second: bool) {
        if is_second {
            self.problem.get_or_insert_with(|| format!("there are two {what}"));
        }
    }
}
