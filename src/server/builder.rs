//! Describes a server: everything that a program says before it is built.

mod assembly;
mod handlers;

use std::sync::Arc;

use super::local_cluster::LocalCluster;
use crate::{
    cluster::broker::{Broker, Brought, Carrier},
    config::{self, Config},
    edge::Tls,
    gateway::{
        Gateway, Handshake, handler::Handler, interceptor::Interceptor, lifecycle::PresenceChange,
        opening::Opening,
    },
    payload::Parser,
    state::States,
    users::{NewDirectory, UserDirectory, brought},
};

/// Describes a server; see [`Switchboard::builder`](super::Switchboard::builder).
///
/// ```
/// use switchboard::{Authenticate, Gateway, Jwt, Switchboard, gateway::interceptor::Logging};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder()
///     .global_middleware(Authenticate::required(Jwt::hs256("a secret of at least 32 bytes, please")))
///     .global_interceptor(Logging)
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
    on_presence: Option<Arc<dyn Handler<PresenceChange>>>,
    routes: Option<axum::Router>,
    admin_ui: Option<config::AdminUi>,
    local: Option<LocalCluster>,
    broker: Option<Arc<dyn Carrier>>,
    user_directory: Option<NewDirectory>,
    wait_for_redis: bool,
    /// Why it cannot be built, if it cannot.
    problem: Option<String>,
    tls: Option<Tls>,
    secure: bool,
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
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, payload::Parser};
    ///
    /// let builder = Switchboard::builder().parser(Parser::MsgPack).gateway(Gateway::new("/"));
    /// ```
    pub fn parser(mut self, parser: Parser) -> Self {
        self.parser = Some(parser);
        self
    }

    /// Adds a gateway.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// let builder = Switchboard::builder().gateway(Gateway::new("/")).gateway(Gateway::new("/chat/{room}"));
    /// ```
    pub fn gateway(mut self, gateway: Gateway) -> Self {
        self.gateways.push(gateway);
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
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, config::{AdminUi, AdminUiMode}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut admin_ui = AdminUi::new("ops", "a long password");
    /// admin_ui.mode = AdminUiMode::Development;
    /// let server = Switchboard::builder().admin_ui(admin_ui).gateway(Gateway::new("/")).build()?;
    /// # _ = server;
    /// # Ok(())
    /// # }
    /// ```
    pub fn admin_ui(mut self, admin_ui: config::AdminUi) -> Self {
        self.admin_ui = Some(admin_ui);
        self
    }

    /// Makes the server a node of a cluster inside this process; `redis.url` is not looked at then.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, server::LocalCluster};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = LocalCluster::default();
    /// let one = Switchboard::builder().cluster(&cluster).gateway(Gateway::new("/")).build()?;
    /// let two = Switchboard::builder().cluster(&cluster).gateway(Gateway::new("/")).build()?;
    /// assert_ne!(one.node(), two.node());
    /// # Ok(())
    /// # }
    /// ```
    pub fn cluster(mut self, cluster: &LocalCluster) -> Self {
        self.local = Some(cluster.clone());
        self
    }

    /// Speaks to the other nodes by this broker, instead of by Redis; `redis.url` is not looked at then.
    /// All nodes need [`user_directory`](Self::user_directory) as well, and should have the same
    /// `edge.secrets`: without, no node takes requests for the sessions of another one. A node that
    /// listens on all addresses needs `edge.advertise`. docs/seams.md has more.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, cluster::Broker, server::BuildError, users::UserDirectory};
    ///
    /// fn node(broker: impl Broker, directory: impl UserDirectory) -> Result<Switchboard, BuildError> {
    ///     let builder = Switchboard::builder().broker(broker).user_directory(directory);
    ///     builder.gateway(Gateway::new("/")).build()
    /// }
    /// ```
    pub fn broker(mut self, broker: impl Broker) -> Self {
        self.broker = Some(Arc::new(Brought::new(broker)));
        self
    }

    /// Keeps the users and their sockets in this directory, instead of in Redis or in memory. It
    /// joins when the server is built.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, server::BuildError, users::UserDirectory};
    ///
    /// fn node(directory: impl UserDirectory) -> Result<Switchboard, BuildError> {
    ///     Switchboard::builder().user_directory(directory).gateway(Gateway::new("/")).build()
    /// }
    /// ```
    pub fn user_directory(mut self, directory: impl UserDirectory) -> Self {
        self.user_directory = Some(brought(directory));
        self
    }

    /// Starts even if Redis, or the own [`broker`](Self::broker), cannot be reached yet, and joins the cluster when it can. Otherwise
    /// [`Switchboard::bind`](super::Switchboard::bind) fails.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// let builder = Switchboard::builder().wait_for_redis(true).gateway(Gateway::new("/"));
    /// ```
    pub fn wait_for_redis(mut self, wait: bool) -> Self {
        self.wait_for_redis = wait;
        self
    }

    /// Speaks TLS by this configuration on the port of
    /// [`Switchboard::bind`](super::Switchboard::bind), instead of by `tls.cert_file` and
    /// `tls.key_file`. Its certificates are the program's to renew, by a resolver of its own;
    /// [`Switchboard::reload`](super::Switchboard::reload) does not touch them. Only HTTP/1.1 is
    /// agreed upon, whatever it says: a websocket needs an upgrade.
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
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: &rustls::ServerConfig) -> Self {
        self.tls = Some(Tls::given(config));
        self
    }

    /// Says that clients reach this server over TLS that others speak: the program's own server, or a
    /// proxy before it. [`Handshake::is_secure`](crate::Handshake::is_secure) is true then. A server
    /// that speaks TLS itself, by `tls.*` or [`tls`](Self::tls), knows it.
    ///
    /// ```
    /// use switchboard::{Gateway, Handshake, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let gateway = Gateway::new("/").on("secure", async |handshake: Handshake| handshake.is_secure());
    /// let server = Switchboard::builder().secure(true).gateway(gateway).build()?;
    /// let behind_tls_of_the_program = server.into_service();
    /// # _ = behind_tls_of_the_program;
    /// # Ok(())
    /// # }
    /// ```
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Gives the server's spans to this provider, which is the program's own to end;
    /// `traces.endpoint` and `traces.sample_ratio` are not looked at then.
    ///
    /// ```
    /// use opentelemetry_sdk::trace::SdkTracerProvider;
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // With the exporter and the resource that the program's other spans have.
    /// let provider = SdkTracerProvider::builder().build();
    /// let builder = Switchboard::builder().tracer_provider(provider.clone());
    /// let server = builder.gateway(Gateway::new("/")).build()?;
    /// # _ = server;
    /// provider.shutdown()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "otlp")]
    pub fn tracer_provider(
        mut self,
        provider: opentelemetry_sdk::trace::SdkTracerProvider,
    ) -> Self {
        self.tracer_provider = Some(provider);
        self
    }
}
