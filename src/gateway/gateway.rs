//! Gateways: a namespace with its middleware, its handlers and its interceptors.

use std::{collections::HashMap, sync::Arc};

use crate::{
    gateway::{
        event::Event,
        extract::App,
        handle::{Handle, IntoHandle},
        handler::{self, Called, Handler, Signature},
        handshake::Handshake,
        interceptor::Interceptor,
        lifecycle::{Connect, Disconnect, Failure, Packet, ServerSide},
    },
    names::{
        events::{RESERVED_BETWEEN_SERVERS, is_reserved_event},
        rooms::RoomPattern,
    },
};

/// A namespace, with its middleware, handlers and interceptors.
///
/// A handler is an async function of the parts that it asks for: see
/// [`FromContext`](crate::FromContext) for what there is, and
/// [`IntoOutcome`](crate::gateway::reply::IntoOutcome) for what it may return.
///
/// ```
/// use switchboard::{Data, Fault, Gateway, Reply, Socket};
///
/// let chat = Gateway::new("/chat/{room}")
///     .on_connect(async |socket: Socket| {
///         let room = socket.param("room").unwrap_or_default().to_owned();
///         socket.join(room).await
///     })
///     .on("say", async |socket: Socket, Data(text): Data<String>| {
///         let room = socket.param("room").unwrap_or_default().to_owned();
///         (Reply::event("said", &text).to(room), Reply::ack(&true))
///     });
/// ```
#[must_use = "a gateway does nothing before it is given to a server"]
pub struct Gateway {
    pub(super) path: String,
    pub(super) middlewares: Vec<Arc<dyn Handler<Handshake>>>,
    pub(super) interceptors: Vec<Arc<dyn Interceptor>>,
    pub(super) handles: HashMap<Box<str>, Handle>,
    pub(super) patterns: Vec<(RoomPattern, Box<str>, Handle)>,
    pub(super) fallback: Option<Handle>,
    pub(super) packets: Vec<Arc<dyn Handler<Packet>>>,
    pub(super) any: Vec<Arc<dyn Handler>>,
    pub(super) on_connect: Option<Arc<dyn Handler<Connect>>>,
    pub(super) on_disconnect: Option<Arc<dyn Handler<Disconnect>>>,
    pub(super) on_fault: Option<Arc<dyn Handler<Failure>>>,
    pub(super) server_side: HashMap<String, Arc<dyn Handler<ServerSide>>>,
    pub(super) refuses_in_words: bool,
    pub(super) refuses_unknown_events: bool,
    /// Why it cannot be served, if it cannot.
    problem: Option<String>,
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
            patterns: Vec::new(),
            fallback: None,
            packets: Vec::new(),
            any: Vec::new(),
            on_connect: None,
            on_disconnect: None,
            on_fault: None,
            server_side: HashMap::new(),
            refuses_in_words: false,
            refuses_unknown_events: false,
            problem: None,
        }
    }

    /// Handles the event `name`. A second handler for the same event, and one for a name that
    /// Socket.IO reserves, are errors when the server is built.
    ///
    /// ```
    /// use switchboard::{Data, Gateway};
    ///
    /// let gateway = Gateway::new("/").on("add", async |Data((a, b)): Data<(i64, i64)>| a + b);
    /// ```
    pub fn on<H: Signature<Kind>, Kind: IntoHandle<H>>(
        mut self,
        name: impl Into<Box<str>>,
        handler: H,
    ) -> Self {
        let name = name.into();
        self.refuse_reserved(&name);
        if self.handles.contains_key(&name) {
            self.refuse(|| format!("there are two handlers for the event `{name}`"));
        }
        self.handles.insert(name, Kind::handle(handler));
        self
    }

    /// Handles every event whose name fits `pattern` and that has no handler of its own: a name, or
    /// its beginning with `*` behind it. Of several patterns the longest one that fits counts.
    ///
    /// ```
    /// use switchboard::{Event, Gateway};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on_pattern("orders:*", async |event: Event| println!("{} came", event.name()));
    /// ```
    pub fn on_pattern<H: Signature<Kind>, Kind: IntoHandle<H>>(
        mut self,
        pattern: impl Into<Box<str>>,
        handler: H,
    ) -> Self {
        let pattern = pattern.into();
        self.refuse_reserved(&pattern);
        if self.patterns.iter().any(|(_, known, _)| *known == pattern) {
            self.refuse(|| format!("there are two handlers for the events `{pattern}`"));
        }
        match RoomPattern::parse(&pattern) {
            Ok(parsed) => self.patterns.push((parsed, pattern, Kind::handle(handler))),
            Err(error) => self.refuse(|| format!("the pattern `{pattern}`: {error}")),
        }
        self
    }

    /// Handles every event that has no handler of its own and fits no pattern. Without a fallback
    /// such an event is not answered, as in Node.js; see
    /// [`refuse_unknown_events`](Self::refuse_unknown_events).
    ///
    /// ```
    /// use switchboard::{Event, Gateway};
    ///
    /// let gateway = Gateway::new("/").fallback(async |event: Event| println!("{} came", event.name()));
    /// ```
    pub fn fallback<H: Signature<Kind>, Kind: IntoHandle<H>>(mut self, handler: H) -> Self {
        if self.fallback.is_some() {
            self.refuse(|| "there are two fallbacks".to_owned());
        }
        self.fallback = Some(Kind::handle(handler));
        self
    }

    /// Sees every event before its handler, whether or not it has one: `socket.onAny` of Node.js.
    /// Several are called in the order in which they were added. Its replies are sent; a fault
    /// ends the event.
    ///
    /// ```
    /// use switchboard::{Event, Gateway};
    ///
    /// let gateway = Gateway::new("/").on_any(async |event: Event| println!("{} came", event.name()));
    /// ```
    pub fn on_any<H: Signature<Kind>, Kind: Called<Event, H>>(mut self, handler: H) -> Self {
        self.any.push(handler::of(handler));
        self
    }

    /// A middleware for each packet, before anything else sees the event: `socket.use` of Node.js.
    /// It returns `()` or a `Result`; an error is the event's error acknowledgement.
    ///
    /// ```
    /// use switchboard::{Event, Fault, Gateway};
    ///
    /// let gateway = Gateway::new("/").use_packet(async |event: Event| {
    ///     match event.name().starts_with("admin:") {
    ///         true => Err(Fault::forbidden("not here")),
    ///         false => Ok(()),
    ///     }
    /// });
    /// ```
    pub fn use_packet<H: Signature<Kind>, Kind: Called<Packet, H>>(mut self, handler: H) -> Self {
        self.packets.push(handler::of(handler));
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

    /// Runs when a socket has entered. The socket's first event waits for its end. What it replies
    /// is sent. If it fails, the socket is disconnected: the client sees `io server disconnect`. A
    /// client that shall hear why is refused earlier, by [`middleware`](Self::middleware).
    ///
    /// ```
    /// use switchboard::{Gateway, Reply, Socket};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on_connect(async |socket: Socket| Reply::event("welcome", &socket.id()));
    /// ```
    pub fn on_connect<H: Signature<Kind>, Kind: Called<Connect, H>>(mut self, handler: H) -> Self {
        if self.on_connect.is_some() {
            self.refuse(|| "there are two `on_connect` handlers".to_owned());
        }
        self.on_connect = Some(handler::of(handler));
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
    pub fn on_disconnect<H: Signature<Kind>, Kind: Called<Disconnect, H>>(
        mut self,
        handler: H,
    ) -> Self {
        if self.on_disconnect.is_some() {
            self.refuse(|| "there are two `on_disconnect` handlers".to_owned());
        }
        self.on_disconnect = Some(handler::of(handler));
        self
    }

    /// Decides what becomes of the faults of this gateway's handlers: an exception filter. What it
    /// returns takes the place of the handler's result, so `Err` is the error acknowledgement. The
    /// event is a parameter `Option<Event>`, for a connect handler has none.
    ///
    /// ```
    /// use switchboard::{Event, Fault, Gateway, Reply};
    ///
    /// let gateway = Gateway::new("/").on_fault(async |fault: Fault, event: Option<Event>| {
    ///     println!("{:?} failed: {fault}", event.as_ref().map(Event::name));
    ///     (Reply::event("exception", fault.message()), Reply::ack(&false))
    /// });
    /// ```
    pub fn on_fault<H: Signature<Kind>, Kind: Called<Failure, H>>(mut self, handler: H) -> Self {
        if self.on_fault.is_some() {
            self.refuse(|| "there are two `on_fault` handlers".to_owned());
        }
        self.on_fault = Some(handler::of(handler));
        self
    }

    /// Handles the event `name` that another node sends to the servers, with `serverSideEmit` in
    /// Node.js or
    /// [`Emitter::server_side_emit`](crate::sockets::emitter::Emitter::server_side_emit). What it
    /// returns as the acknowledgement is its answer, of which only the first argument travels. `()`
    /// and a fault are an empty answer.
    ///
    /// ```
    /// use switchboard::{Data, Gateway, Switchboard};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on_server_side("version", async || "1.0")
    ///     .on_server_side("tell", async |server: Switchboard, Data(news): Data<String>| {
    ///         server.of("/").local().emit("news", &news).map_err(switchboard::Fault::from)
    ///     });
    /// ```
    pub fn on_server_side<H: Signature<Kind>, Kind: Called<ServerSide, H>>(
        mut self,
        name: impl Into<String>,
        handler: H,
    ) -> Self {
        let name = name.into();
        if RESERVED_BETWEEN_SERVERS.contains(&&*name) {
            self.refuse(|| format!("Node.js reserves the event name `{name}` between servers"));
        }
        if self.server_side.contains_key(&name) {
            self.refuse(|| format!("there are two handlers for `{name}` of other servers"));
        }
        self.server_side.insert(name, handler::of(handler));
        self
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
    pub fn middleware<H: Signature<Kind>, Kind: Called<Handshake, H>>(
        mut self,
        middleware: H,
    ) -> Self {
        self.middlewares.push(handler::of(middleware));
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

    /// Refuses with the sentence alone, without the code before it: for clients that know Node.js
    /// only.
    pub(crate) fn refusing_in_words(mut self) -> Self {
        self.refuses_in_words = true;
        self
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn refuse_reserved(&mut self, name: &str) {
        let instead = match name {
            "connect" => ": use `on_connect`",
            "disconnect" | "disconnecting" => ": use `on_disconnect`",
            _ => "",
        };
        if is_reserved_event(name) {
            self.refuse(|| format!("Socket.IO reserves the event name `{name}`{instead}"));
        }
    }

    /// The first problem counts.
    fn refuse(&mut self, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(problem);
    }

    /// Why it cannot be served by this server, if it cannot.
    pub(crate) fn problem(&self, server: App<'_>) -> Option<String> {
        if self.problem.is_some() {
            return self.problem.clone();
        }
        let of = |what: &str, checked: Result<(), String>| {
            checked.err().map(|missing| format!("{what}: {missing}"))
        };
        let mut found = None;
        let mut look = |what: &str, checked| found = found.take().or_else(|| of(what, checked));
        self.middlewares.iter().for_each(|it| look("a middleware", it.check(server)));
        self.packets.iter().for_each(|it| look("`use_packet`", it.check(server)));
        self.any.iter().for_each(|it| look("`on_any`", it.check(server)));
        self.on_connect.iter().for_each(|it| look("`on_connect`", it.check(server)));
        self.on_disconnect.iter().for_each(|it| look("`on_disconnect`", it.check(server)));
        self.on_fault.iter().for_each(|it| look("`on_fault`", it.check(server)));
        self.fallback.iter().for_each(|it| look("the fallback", it.check(server)));
        self.interceptors.iter().for_each(|it| look("an interceptor", it.check(server)));
        let patterns = self.patterns.iter().map(|(_, name, handle)| (name, handle));
        for (name, handle) in self.handles.iter().chain(patterns) {
            look(&format!("the handler of `{name}`"), handle.check(server));
        }
        for (name, handler) in &self.server_side {
            look(&format!("the handler of `{name}` of other servers"), handler.check(server));
        }
        found
    }
}
