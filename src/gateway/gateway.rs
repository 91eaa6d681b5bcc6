//! Gateways: a namespace with its middleware, its handlers and its interceptors.

use std::{collections::HashMap, future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use socketioxide::socket::DisconnectReason;

use crate::{
    fault::Fault,
    future::BoxFuture,
    gateway::{
        handle::{Handle, IntoHandle},
        handler::Handler,
        handshake::Middleware,
        interceptor::Interceptor,
    },
    payload::Payload,
    sockets::{
        relay::{ServerSideHandler, ServerSideHandlers},
        socket::Socket,
    },
    telemetry::{durations::Durations, meters::Meters},
};

type OnConnect = Box<dyn Fn(Socket) -> BoxFuture<'static, ()> + Send + Sync>;
type OnDisconnect = Box<dyn Fn(Socket, DisconnectReason) -> BoxFuture<'static, ()> + Send + Sync>;

/// A namespace, with its middleware, handlers and interceptors.
///
/// ```
/// use switchboard::{Data, Gateway, Reply, Socket};
///
/// let chat = Gateway::new("/chat/{room}")
///     .on_connect(async |socket: Socket| {
///         let room = socket.param("room").unwrap_or_default().to_owned();
///         if socket.join(room).await.is_err() {
///             socket.disconnect(false);
///         }
///     })
///     .on("say", async |socket: Socket, Data(text): Data<String>| {
///         let room = socket.param("room").unwrap_or_default().to_owned();
///         (Reply::event("said", &text).to_room(room), Reply::ack(&true))
///     });
/// ```
#[must_use = "a gateway does nothing before it is given to a server"]
pub struct Gateway {
    path: String,
    middlewares: Vec<Arc<dyn Middleware>>,
    interceptors: Vec<Arc<dyn Interceptor>>,
    handles: HashMap<Box<str>, Handle>,
    fallback: Option<Handle>,
    on_connect: Option<OnConnect>,
    on_disconnect: Option<OnDisconnect>,
    server_side: ServerSideHandlers,
    refuses_in_words: bool,
    refuses_unknown_events: bool,
}

impl Gateway {
    /// A gateway for the namespace `path`, such as `/` or `/chat`. A path with parameters, such as
    /// `/chat/{room}`, is a gateway for each matching namespace; see
    /// [`Socket::param`](crate::Socket::param).
    ///
    /// ```
    /// use switchboard::Gateway;
    ///
    /// let (main, rooms) = (Gateway::new("/"), Gateway::new("/chat/{room}"));
    /// ```
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            middlewares: Vec::new(),
            interceptors: Vec::new(),
            handles: HashMap::new(),
            fallback: None,
            on_connect: None,
            on_disconnect: None,
            server_side: HashMap::new(),
            refuses_in_words: false,
            refuses_unknown_events: false,
        }
    }

    /// Handles the event `name`. A second handler for the same event replaces the first.
    ///
    /// ```
    /// use switchboard::{Data, Gateway, Reply};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on("add", async |Data((a, b)): Data<(i64, i64)>| Reply::ack(&(a + b)));
    /// ```
    pub fn on<Kind>(mut self, name: impl Into<Box<str>>, handler: impl IntoHandle<Kind>) -> Self {
        self.handles.insert(name.into(), handler.into_handle());
        self
    }

    /// Handles every event that has no handler of its own. Without a fallback such an event is not
    /// answered, as in Node.js; see [`refuse_unknown_events`](Self::refuse_unknown_events).
    ///
    /// ```
    /// use switchboard::{Event, Gateway};
    ///
    /// let gateway = Gateway::new("/").fallback(async |event: Event| println!("{} came", event.name()));
    /// ```
    pub fn fallback<Kind>(mut self, handler: impl IntoHandle<Kind>) -> Self {
        self.fallback = Some(handler.into_handle());
        self
    }

    /// Answers events without a handler with the error acknowledgement `unknown_event`. By default
    /// they are not acknowledged, and a client that waits with a timeout runs into it.
    ///
    /// ```
    /// use switchboard::Gateway;
    ///
    /// let strict = Gateway::new("/").refuse_unknown_events();
    /// ```
    pub fn refuse_unknown_events(mut self) -> Self {
        self.refuses_unknown_events = true;
        self
    }

    /// Runs when a socket has entered. The socket's first event waits for its end.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on_connect(async |socket: Socket| {
    ///     socket.emit("welcome", &socket.id()).expect("an id can be encoded");
    /// });
    /// ```
    pub fn on_connect<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.on_connect = Some(Box::new(move |socket| Box::pin(handler(socket))));
        self
    }

    /// Runs once for each socket that has entered, when it has left for whatever reason. It comes
    /// after the handlers under way, but waits at most 5 s for them.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket, gateway::handler::DisconnectReason};
    ///
    /// let gateway = Gateway::new("/").on_disconnect(async |socket: Socket, reason: DisconnectReason| {
    ///     println!("{} has left {:?}: {reason:?}", socket.id(), socket.rooms());
    /// });
    /// ```
    pub fn on_disconnect<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.on_disconnect =
            Some(Box::new(move |socket, reason| Box::pin(handler(socket, reason))));
        self
    }

    /// Handles the event `name` that another node sends to the servers, with `serverSideEmit` in
    /// Node.js or
    /// [`Emitter::server_side_emit`](crate::sockets::emitter::Emitter::server_side_emit). The
    /// handler's result is its answer, of which only the first argument travels. `None` is an empty
    /// answer.
    ///
    /// ```
    /// use switchboard::{Gateway, Payload};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on_server_side("version", async |_arguments: Payload| Payload::ack("1.0").ok());
    /// ```
    pub fn on_server_side<F, Fut>(mut self, name: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<Payload>> + Send + 'static,
    {
        let handler: ServerSideHandler = Arc::new(move |payload| Box::pin(handler(payload)));
        self.server_side.insert(name.into(), handler);
        self
    }

    /// Refuses with the sentence alone, without the code before it: for clients that know Node.js
    /// only.
    pub(crate) fn refusing_in_words(mut self) -> Self {
        self.refuses_in_words = true;
        self
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Takes out the path and the handlers of events between servers.
    pub(crate) fn take_server_side(&mut self) -> (String, ServerSideHandlers) {
        (self.path.clone(), std::mem::take(&mut self.server_side))
    }

    /// Adds a middleware after those of the server and those added before.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Handshake};
    ///
    /// let staff = Gateway::new("/staff").middleware(async |handshake: Handshake| {
    ///     match handshake.identity().user_id() {
    ///         Some(_) => Ok(()),
    ///         None => Err(Fault::unauthorized("log in first")),
    ///     }
    /// });
    /// ```
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middlewares.push(Arc::new(middleware));
        self
    }

    /// Adds an interceptor inside those of the server and those added before.
    ///
    /// ```
    /// use switchboard::{Gateway, gateway::interceptor::Logging};
    ///
    /// let gateway = Gateway::new("/").intercept(Logging);
    /// ```
    pub fn intercept(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Joins the gateway with the middlewares and interceptors of the server.
    pub(crate) fn build(
        self,
        server_middlewares: &[Arc<dyn Middleware>],
        server_interceptors: &[Arc<dyn Interceptor>],
    ) -> Inner {
        let outer: Vec<_> = server_interceptors.iter().cloned().chain(self.interceptors).collect();
        let route = |handle: Handle| Route {
            handler: handle.handler,
            interceptors: outer.iter().cloned().chain(handle.interceptors).collect(),
            durations: Arc::default(),
        };
        Inner {
            middlewares: server_middlewares.iter().cloned().chain(self.middlewares).collect(),
            routes: self.handles.into_iter().map(|(name, handle)| (name, route(handle))).collect(),
            fallback: self.fallback.map(route),
            on_connect: self.on_connect,
            on_disconnect: self.on_disconnect,
            path: self.path,
            refuses_in_words: self.refuses_in_words,
            refuses_unknown_events: self.refuses_unknown_events,
        }
    }
}

/// A gateway as the server runs it.
pub(crate) struct Inner {
    pub(crate) path: String,
    pub(crate) middlewares: Vec<Arc<dyn Middleware>>,
    routes: HashMap<Box<str>, Route>,
    fallback: Option<Route>,
    on_connect: Option<OnConnect>,
    pub(crate) on_disconnect: Option<OnDisconnect>,
    pub(crate) refuses_in_words: bool,
    pub(crate) refuses_unknown_events: bool,
}

/// The handler of an event inside all its interceptors.
pub(crate) struct Route {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) interceptors: Box<[Arc<dyn Interceptor>]>,
    pub(crate) durations: Arc<Durations>,
}

impl Inner {
    pub(crate) fn route(&self, event: &str) -> Option<&Route> {
        self.routes.get(event).or(self.fallback.as_ref())
    }

    /// Whether the gateway has a handler of its own for this event.
    pub(crate) fn declares(&self, event: &str) -> bool {
        self.routes.contains_key(event)
    }

    /// Shows how long the handlers take. Only declared names are shown, for clients choose the
    /// others.
    pub(crate) fn measure(&mut self, meters: &Meters) {
        const OTHER: &str = "other";
        for (event, route) in &self.routes {
            meters.show(&self.path, event, route.durations.clone());
        }
        match (&mut self.fallback, self.routes.get(OTHER)) {
            // One series cannot appear twice.
            (Some(fallback), Some(declared)) => fallback.durations = declared.durations.clone(),
            (Some(fallback), None) => meters.show(&self.path, OTHER, fallback.durations.clone()),
            (None, _) => {}
        }
    }

    pub(crate) async fn connected(&self, socket: &Socket) {
        if let Some(handler) = &self.on_connect {
            survive("connect", socket, || handler(socket.clone())).await;
        }
    }

    pub(crate) async fn disconnected(&self, socket: &Socket, reason: DisconnectReason) {
        if let Some(handler) = &self.on_disconnect {
            survive("disconnect", socket, || handler(socket.clone(), reason)).await;
        }
    }

    /// Asks the middlewares in their order. The first refusal ends it.
    pub(crate) async fn admit(
        &self,
        handshake: &crate::gateway::handshake::Handshake,
    ) -> Result<(), Fault> {
        for middleware in &self.middlewares {
            let asked = async { middleware.call(handshake.clone()).await };
            AssertUnwindSafe(asked).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!("a middleware panicked, the socket is refused");
                Err(Fault::internal())
            })?;
        }
        Ok(())
    }
}

/// Runs a connect or disconnect handler. A panic is logged and ends nothing else.
async fn survive(
    what: &'static str,
    socket: &Socket,
    start: impl FnOnce() -> BoxFuture<'static, ()>,
) {
    let run = async { start().await };
    if AssertUnwindSafe(run).catch_unwind().await.is_err() {
        tracing::error!(socket.id = %socket.id(), "a {what} handler panicked");
    }
}
