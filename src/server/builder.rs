//! Puts a server together, in the order in which its parts need one another.

use std::{
    future::Future,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use arc_swap::ArcSwap;
use socketioxide::SocketIo;
use tokio::sync::OnceCell;

#[cfg(not(feature = "admin-ui"))]
use super::no_admin_ui::{self as admin_ui, AdminUi};
use super::{
    Inner, Switchboard,
    error::BuildError,
    health,
    join::{ClusterParts, NewClusterParts, relay},
    local_cluster::LocalCluster,
    settings::{edge_options, engine, secrets},
};
#[cfg(feature = "admin-ui")]
use crate::admin_ui::{self, AdminUi};
use crate::{
    cluster::{peers::Peers, sessions::RedisSessions},
    config::{self, Config, WireProtocol},
    edge::{Edge, Hop, Tls},
    future::BoxFuture,
    gateway::{
        Event, Gateway, Handshake,
        entrance::{Entrance, Surroundings},
        extract::App,
        handler::{self, Called, Handler, Signature},
        interceptor::Interceptor,
        opening::{self, Opening},
    },
    id::NodeId,
    link::{client::Redis, target::Target},
    payload::Parser,
    sockets::{
        adapter::{Adapter, Adapters, Paths, State},
        farewell,
        handover::Handover,
        node::{Context, Recovery},
        roaming::Roaming,
        socket::Expiry,
    },
    state::States,
    telemetry::traces::Tracer,
    users::{Itself, Presence, PresenceSink},
};

type OnPresence = Box<dyn Fn(Presence) -> BoxFuture<'static, ()> + Send + Sync>;

/// Describes a server; see [`Switchboard::builder`].
///
/// ```
/// use switchboard::{Authenticate, Gateway, Jwt, Switchboard, gateway::interceptor::Logging};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder()
///     .middleware(Authenticate::required(Jwt::hs256("a secret of at least 32 bytes, please")))
///     .intercept(Logging)
///     .gateway(Gateway::new("/"))
///     .gateway(Gateway::new("/chat/{room}"))
///     .build()?;
/// # _ = server;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use]
pub struct Builder {
    config: Config,
    parser: Option<Parser>,
    gateways: Vec<Gateway>,
    states: States,
    middlewares: Vec<Arc<dyn Handler<Handshake>>>,
    interceptors: Vec<Arc<dyn Interceptor>>,
    fallback: Option<Arc<dyn Handler>>,
    allow_request: Option<Arc<dyn Handler<Opening>>>,
    on_presence: Option<OnPresence>,
    routes: Option<axum::Router>,
    admin_ui: Option<config::AdminUi>,
    local: Option<LocalCluster>,
    wait_for_redis: bool,
    tls: Option<Tls>,
    #[cfg(feature = "otlp")]
    tracer_provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Builder {
    /// Sets everything that can be configured; the defaults are those of the configuration file.
    /// The `auth` section is not applied here: give the server an
    /// [`Authenticate`](crate::Authenticate) middleware. `listen`, `admin_listen` and `log` are for the
    /// binary: a program names its addresses when it binds them, and writes its log as it wants to.
    ///
    /// ```
    /// use switchboard::{Config, Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = Config::default();
    /// config.limits.max_connections = 10_000;
    /// let server = Switchboard::builder().config(config).gateway(Gateway::new("/")).build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The packet format that the clients use, instead of `engine.parser` of the configuration.
    pub fn parser(mut self, parser: Parser) -> Self {
        self.parser = Some(parser);
        self
    }

    /// Adds a gateway.
    pub fn gateway(mut self, gateway: Gateway) -> Self {
        self.gateways.push(gateway);
        self
    }

    /// Adds a middleware for all gateways, before their own; run in the order written.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Handshake, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .middleware(async |handshake: Handshake| match handshake.headers().get("x-tenant") {
    ///         Some(_) => Ok(()),
    ///         None => Err(Fault::forbidden("no tenant")),
    ///     })
    ///     .gateway(Gateway::new("/"))
    ///     .build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn middleware<H: Signature<Kind>, Kind: Called<Handshake, H>>(
        mut self,
        middleware: H,
    ) -> Self {
        self.middlewares.push(handler::of(middleware));
        self
    }

    /// Gives the server a value that handlers ask for by [`State`](crate::State): in handlers of
    /// events, connects and disconnects, in middleware, and by
    /// [`extract`](crate::gateway::extract::Context::extract) in interceptors. There is one value
    /// of each type; of a second one of the same type the first stays.
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
        self.states.add(state);
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
            self.states.add(part);
        }
        self
    }

    /// Handles the events of all gateways that have no handler and no fallback of their own.
    ///
    /// ```
    /// use switchboard::{Event, Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .fallback(async |event: Event| println!("nobody handles {}", event.name()))
    ///     .gateway(Gateway::new("/"))
    ///     .build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback<H: Signature<Kind>, Kind: Called<Event, H>>(mut self, handler: H) -> Self {
        self.fallback = Some(handler::of(handler));
        self
    }

    /// Asks before each connection, when its first request has come and before it is answered:
    /// `allowRequest` of Node.js. An error refuses it with 403, and its sentence is the message. A
    /// [`HeaderMap`](http::HeaderMap) is added to the answer. The client waits as long as this
    /// takes.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Switchboard, gateway::opening::Opening};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .allow_request(async |opening: Opening| match opening.cookie("session") {
    ///         Some(_) => Ok(()),
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
    ///     Switchboard::builder().intercept(Logging).intercept(Propagate).gateway(Gateway::new("/")).build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn intercept(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Is told of each user that comes online or goes offline, one after the other, in the order
    /// in which it happens.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, users::Presence};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder()
    ///     .gateway(Gateway::new("/"))
    ///     .on_presence(async |change: Presence| println!("{change:?}"))
    ///     .build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_presence<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Presence) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.on_presence = Some(Box::new(move |presence| Box::pin(handler(presence))));
        self
    }

    /// Serves these routes on the same port, beside the Socket.IO path, `/healthz` and `/readyz`.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let routes = Router::new().route("/version", get(async || "1.0"));
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).routes(routes).build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn routes(mut self, routes: axum::Router) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Serves the official Socket.IO Admin UI, instead of as `admin_ui` of the configuration says.
    pub fn admin_ui(mut self, admin_ui: config::AdminUi) -> Self {
        self.admin_ui = Some(admin_ui);
        self
    }

    /// Makes the server a node of a cluster inside this process; `redis.url` is not looked at then.
    pub fn cluster(mut self, cluster: &LocalCluster) -> Self {
        self.local = Some(cluster.clone());
        self
    }

    /// Starts even if Redis cannot be reached yet, and joins the cluster when it can. Otherwise
    /// [`Switchboard::bind`] fails.
    pub fn wait_for_redis(mut self, wait: bool) -> Self {
        self.wait_for_redis = wait;
        self
    }

    /// Speaks TLS by this configuration on the port of [`Switchboard::bind`], instead of by
    /// `tls.cert_file` and `tls.key_file`. Its certificates are the program's to renew, by a resolver
    /// of its own; [`Switchboard::reload`] does not touch them. Only HTTP/1.1 is agreed upon,
    /// whatever it says: a websocket needs an upgrade.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, rustls};
    ///
    /// # fn certificates() -> std::sync::Arc<dyn rustls::server::ResolvesServerCert> {
    /// #     std::sync::Arc::new(rustls::server::ResolvesServerCertUsingSni::new())
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    /// let tls = rustls::ServerConfig::builder_with_provider(provider)
    ///     .with_safe_default_protocol_versions()?
    ///     .with_no_client_auth()
    ///     .with_cert_resolver(certificates());
    /// let server = Switchboard::builder().tls(&tls).gateway(Gateway::new("/")).build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tls(mut self, config: &rustls::ServerConfig) -> Self {
        self.tls = Some(Tls::given(config));
        self
    }

    /// Gives the server's spans to this provider, which is the program's own to end;
    /// `traces.endpoint` and `traces.sample_ratio` are not looked at then.
    #[cfg(feature = "otlp")]
    pub fn tracer_provider(
        mut self,
        provider: opentelemetry_sdk::trace::SdkTracerProvider,
    ) -> Self {
        self.tracer_provider = Some(provider);
        self
    }

    /// Builds the server. Nothing listens yet.
    ///
    /// ```
    /// use switchboard::{Switchboard, config::Config, server::BuildError};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut config = Config::default();
    /// config.engine.max_payload = 0;
    /// let Err(BuildError::Config(broken)) = Switchboard::builder().config(config).build() else {
    ///     panic!("clients could send nothing");
    /// };
    /// assert_eq!(broken[0].to_string(), "engine.max_payload: must be more than 0");
    /// # }
    /// ```
    ///
    /// # Errors
    /// Outside of a tokio runtime, if the gateways contradict each other, or if a setting cannot be
    /// used: the rules are those of the configuration file.
    pub fn build(mut self) -> Result<Switchboard, BuildError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        let mut config = self.config;
        let broken = config.broken_for_server();
        if !broken.is_empty() {
            return Err(BuildError::Config(broken));
        }
        config.admin_ui = self.admin_ui.unwrap_or(config.admin_ui);
        let parser = self.parser.unwrap_or(config.engine.parser);
        let node = config.node_id.as_deref().map_or_else(NodeId::random, NodeId::named);
        #[cfg(feature = "otlp")]
        let tracer = match self.tracer_provider {
            Some(provider) => Ok(Tracer::foreign(&provider, &config.traces)),
            None => Tracer::new(&config, &node),
        };
        #[cfg(not(feature = "otlp"))]
        let tracer = Tracer::new(&config, &node);
        let tracer = tracer.map_err(|error| BuildError::Traces(Box::new(error)))?;
        let context = Context::new(node, parser, &config).traced(tracer).with_states(self.states);
        let context = Arc::new(context);
        check_handlers(&context, &self.gateways, |app| {
            self.middlewares.iter().try_for_each(|it| it.check(app))?;
            self.fallback.iter().try_for_each(|it| it.check(app))?;
            self.allow_request.iter().try_for_each(|it| it.check(app))
        })?;
        let presence = self.on_presence.map(|handler| listen_to_presence(&context, handler));
        let adapters = Arc::new(Adapters::default());
        let counted = Arc::downgrade(&adapters);
        let sockets = move || counted.upgrade().map_or(0, |adapters| adapters.socket_count());
        let itself = Itself::new(context.node().clone(), Arc::new(sockets));
        let new = NewClusterParts {
            config: &config,
            itself,
            local: self.local,
            presence,
            adapters: &adapters,
        };
        let ClusterParts { peers, directory, redis, meeting } = ClusterParts::new(new)?;
        adapters.set_peers(peers.clone());
        let admin_ui = admin_ui(&config, &context, &adapters, &peers)?;
        let mut hidden = admin_ui.as_ref().map(AdminUi::gateway);
        let all = self.gateways.iter_mut().chain(&mut hidden);
        let handlers = all.map(|gateway| gateway.take_server_side(&context)).collect();
        let relay =
            peers.as_ref().map(|peers| relay(peers, &adapters, &context, &config, handlers));
        let mut paths = Paths::default();
        self.gateways.iter().for_each(|gateway| paths.add(gateway.path()));
        let paths = Arc::new(paths);
        context.transports().count_unknown_namespaces({
            let (adapters, paths) = (Arc::downgrade(&adapters), paths.clone());
            move |name| {
                paths.has(name)
                    || adapters.upgrade().is_some_and(|adapters| adapters.get(name).is_some())
            }
        });
        let state = State {
            paths,
            context: context.clone(),
            adapters: adapters.clone(),
            peers: peers.clone(),
            farewell: farewell::namespace(),
            hidden: admin_ui.is_some().then(|| config.admin_ui.namespace.as_str().into()),
        };
        let farewell = state.farewell.clone();
        let (service, io) = engine(&config, parser).with_adapter::<Adapter>(state).build_svc();
        farewell::open(&io, &farewell, &context);
        let options = edge_options(&config, &context, meeting.as_ref())?;
        let edge = Edge::new(options, service, context.transports().clone());
        edge.set_starting(peers.is_some());
        if let Some(handler) = self.allow_request {
            edge.set_on_opening(opening::for_edge(&context, handler));
        }

        // Before the namespaces are made, which write their sessions.
        if let Some(recovery) = context.recovery() {
            roam(&config, recovery, &context, &adapters, redis.as_ref().map(|(it, _)| it), &edge);
            context.tasks.spawn(adapters.clone().look_after_recovery(context.clone()));
        }
        let handover = handover(&config, &context, &adapters, peers.as_ref(), edge.hop());
        let around = Surroundings {
            handover: handover.clone(),
            adapters: adapters.clone(),
            directory: directory.clone(),
            context: context.clone(),
            expiry: config.auth.revalidate.then(|| Expiry::start(&context)),
        };
        for gateway in self.gateways {
            let fallback = self.fallback.as_ref();
            let mut gateway = gateway.build(&self.middlewares, &self.interceptors, fallback);
            gateway.measure(context.meters());
            add(&io, Entrance::new(gateway, around.clone()))?;
        }
        if let Some(hidden) = hidden {
            // The namespace is not for users: none of their middlewares and interceptors sees it.
            add(&io, Entrance::new(hidden.build(&[], &[], None), around))?;
        }
        let links = health::Links {
            peers: peers.clone(),
            commands: redis.as_ref().map(|(commands, _)| commands.clone()),
        };
        let health = health::routes(context.clone(), links, directory.clone());
        let routes = health.clone().merge(self.routes.unwrap_or_default());
        let api_keys = ArcSwap::from_pointee(config.admin.api_keys.clone());
        let server = Arc::new(Inner {
            config,
            context,
            adapters,
            directory,
            peers,
            relay,
            redis,
            wait_for_redis: self.wait_for_redis,
            joined: OnceCell::new(),
            admin_ui,
            io,
            edge,
            handover,
            meeting,
            health,
            routes,
            api_keys,
            tls: self.tls.map(OnceLock::from).unwrap_or_default(),
            is_mounted: AtomicBool::new(false),
        });
        server.context.set_server(Arc::downgrade(&server));
        Ok(Switchboard(server))
    }
}

/// Whether every handler finds what it asks for.
fn check_handlers(
    context: &Context,
    gateways: &[Gateway],
    of_all: impl FnOnce(App<'_>) -> Result<(), String>,
) -> Result<(), BuildError> {
    let app = App::new(context);
    of_all(app).map_err(BuildError::State)?;
    let problem = |gateway: &Gateway| {
        let (path, reason) = (gateway.path().to_owned(), gateway.problem(app)?);
        Some(BuildError::Gateway { path, reason })
    };
    gateways.iter().find_map(problem).map_or(Ok(()), Err)
}

fn admin_ui(
    config: &Config,
    context: &Arc<Context>,
    adapters: &Arc<Adapters>,
    peers: &Option<Arc<Peers>>,
) -> Result<Option<AdminUi>, BuildError> {
    if !config.admin_ui.enabled {
        return Ok(None);
    }
    let secrets = secrets(config);
    let new = admin_ui::New { config: &config.admin_ui, secrets, context, adapters, peers };
    AdminUi::new(new).map(Some).map_err(BuildError::AdminUi)
}

/// Sessions are in Redis as well, where the log is.
fn roam(
    config: &Config,
    recovery: &Recovery,
    context: &Arc<Context>,
    adapters: &Arc<Adapters>,
    redis: Option<&Redis>,
    edge: &Edge<Adapter>,
) {
    let Some(redis) = redis.filter(|_| config.redis.protocol == WireProtocol::Streams) else {
        return;
    };
    let (prefix, patience) = (&config.redis.session_prefix, config.redis.request_timeout);
    let sessions = Arc::new(RedisSessions::new(redis.clone(), prefix, patience));
    let (hop, node) = (edge.hop().cloned(), context.node().clone());
    let roaming = Roaming::new(sessions, hop, node, recovery.max_disconnection);
    recovery.set_roaming(roaming.clone());
    if let Some(hop) = edge.hop() {
        adapters.release_for(hop);
    }
    let (weak, stop) = (Arc::downgrade(adapters), context.stop.clone());
    context.tasks.spawn(async move {
        let current = |namespace: &str, pid: &_| weak.upgrade()?.shared(namespace, pid);
        let lost = |namespace: &str, pid: &_| {
            weak.upgrade().into_iter().for_each(|all| all.have_lost(namespace, pid));
        };
        stop.run_until_cancelled(roaming.write_all(current, lost)).await
    });
}

/// Moves sessions between nodes that have no log in common. In a Redis Cluster the messages have no
/// single order, so sessions stay.
fn handover(
    config: &Config,
    context: &Arc<Context>,
    adapters: &Arc<Adapters>,
    peers: Option<&Arc<Peers>>,
    hop: Option<&Hop>,
) -> Option<Arc<Handover>> {
    let (recovery, peers, hop) = (context.recovery()?, peers?, hop?);
    let target = config.redis.url.as_ref().map(|url| Target::parse(url, &config.redis.files()));
    let is_cluster = target.is_some_and(|target| target.is_ok_and(|target| target.is_cluster()));
    if config.redis.protocol == WireProtocol::Streams || is_cluster {
        return None;
    }
    recovery.set_home(context.node().clone(), hop.clone());
    let handover = Handover::start(hop, adapters, peers, context);
    let weak = Arc::downgrade(&handover);
    adapters.tell_marks(move |mark| {
        if let Some(handover) = weak.upgrade() {
            handover.heard(mark);
        }
    });
    Some(handover)
}

fn add(io: &SocketIo<Adapter>, entrance: Entrance) -> Result<(), BuildError> {
    let path = entrance.path().to_owned();
    let refuse = |reason: String| Err(BuildError::Gateway { path: path.clone(), reason });
    if !path.starts_with('/') {
        return refuse("a namespace starts with a slash".into());
    }
    if path.contains('{') {
        return io.dyn_ns(path.clone(), entrance).or_else(|error| refuse(error.to_string()));
    }
    if io.of(&path).is_some() {
        return refuse("there is one already".into());
    }
    io.ns(path, entrance);
    Ok(())
}

fn listen_to_presence(context: &Arc<Context>, handler: OnPresence) -> PresenceSink {
    let sink = PresenceSink::default();
    let (changes, stop) = (sink.clone(), context.stop.clone());
    context.tasks.spawn(async move {
        while let Some(change) = stop.run_until_cancelled(changes.next()).await {
            handler(change).await;
        }
    });
    sink
}
