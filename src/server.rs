//! The server: gateways and their surroundings, built once and then served.

mod addresses;
mod builder;
mod drain;
mod error;
mod extract;
mod files;
mod health;
mod history;
mod join;
mod listen;
mod local_cluster;
pub(crate) mod metrics;
mod mount;
#[cfg(not(feature = "admin-ui"))]
mod no_admin_ui;
#[cfg(not(feature = "redis"))]
mod no_redis;
mod observe;
mod parts;
mod publisher;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "admin")]
pub(crate) mod remembered;
mod roaming;
mod settings;
mod store;
mod workers;

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use arc_swap::ArcSwap;
use socketioxide::SocketIo;
use tokio::sync::OnceCell;

pub use builder::Builder;
pub use error::{BuildError, ServeError};
pub use files::check_files;
pub use listen::Bound;
pub use local_cluster::LocalCluster;
pub use mount::{Mount, Mounted};
#[cfg(not(feature = "admin-ui"))]
use no_admin_ui::AdminUi;
#[cfg(not(feature = "redis"))]
use no_redis as redis;
use parts::Meeting;
pub use publisher::{PublishError, Publisher};
use redis::RedisLink;
pub use store::migrate;

pub use crate::{
    edge::{KillReason, RefuseReason, TransportCounts},
    link::LinkError,
};

#[cfg(feature = "admin-ui")]
use crate::admin_ui::AdminUi;
#[cfg(feature = "postgres")]
use crate::outbox::Outbox;
use crate::{
    cluster::peers::Peers,
    config::{Config, Secrets},
    edge::{Edge, Tls},
    fault::Fault,
    history::History,
    id::{NodeId, UserId},
    inbox::Inbox,
    sockets::{
        adapter::{Adapter, Adapters},
        emitter::Emitter,
        handover::Handover,
        node::Node,
        relay::Relay,
    },
    store::Stores,
    users::{Directory, NodeInfo, UserPage, UserSocket},
};

/// A server. Cheap to clone: all clones are the same server.
///
/// ```no_run
/// use switchboard::{Authenticate, Data, Gateway, Jwt, Reply, Switchboard, gateway::interceptor::Propagate};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// Switchboard::builder()
///     .global_middleware(Authenticate::optional(Jwt::hs256("a secret of at least 32 bytes, please")))
///     .global_interceptor(Propagate)
///     .gateway(Gateway::new("/").on("note", async |Data(text): Data<String>| {
///         (Reply::event("note", &text), Reply::ack(&true))
///     }))
///     .build()?
///     .bind("0.0.0.0:3000")
///     .await?
///     .serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Switchboard(Arc<Inner>);

struct Inner {
    config: Config,
    node: Arc<Node>,
    adapters: Arc<Adapters>,
    directory: Directory,
    peers: Option<Arc<Peers>>,
    /// Handles the messages of other nodes. `None` if there are no others.
    relay: Option<Arc<Relay>>,
    redis: Option<RedisLink>,
    wait_for_redis: bool,
    /// Set once the link to the other nodes was made, or is being mended.
    joined: OnceCell<()>,
    /// `None` if it is not enabled.
    admin_ui: Option<AdminUi>,
    io: SocketIo<Adapter>,
    edge: Arc<Edge<Adapter>>,
    /// `None`: sessions do not move to other nodes.
    handover: Option<Arc<Handover>>,
    /// `None`: no room has one.
    history: Option<Arc<History>>,
    inbox: Option<Inbox>,
    stores: Option<Stores>,
    #[cfg(feature = "postgres")]
    outbox: Option<Arc<Outbox>>,
    /// How this node and the others find each other. `None` for a node that stands alone.
    meeting: Option<Meeting>,
    health: axum::Router,
    /// Those of the program, and `health`.
    routes: axum::Router,
    /// The keys that open the admin API.
    api_keys: ArcSwap<Secrets>,
    /// The answers to requests of the admin API that carry a key.
    #[cfg(feature = "admin")]
    remembered: remembered::Remembered,
    /// The certificate: that of the program, or that of the configuration once a port is bound.
    tls: OnceLock<Tls>,
    /// It answers requests that it has not read itself, and joins its cluster for that.
    is_mounted: AtomicBool,
}

impl std::fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switchboard").field("node", self.node()).finish_non_exhaustive()
    }
}

impl Switchboard {
    /// Starts to describe a server.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// assert_eq!(server.socket_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The name of this node in the cluster.
    ///
    /// ```
    /// use switchboard::{Config, Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = Config::with(|config| config.node_id = Some("web-1".into()));
    /// let server = Switchboard::builder().config(config).gateway(Gateway::new("/")).build()?;
    /// assert_eq!(server.node().as_str(), "web-1");
    /// # Ok(())
    /// # }
    /// ```
    pub fn node(&self) -> &NodeId {
        self.0.node.id()
    }

    /// Emits to the sockets of a namespace: `io.of("/chat")` of Socket.IO. Without a target the
    /// emit is for everybody in it.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/chat")).build()?;
    /// server.of("/chat").to("lobby").emit("said", "hello")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn of(&self, namespace: &str) -> Emitter {
        let inner = &*self.0;
        Emitter::of(&inner.adapters, &inner.node, inner.peers.as_ref(), namespace)
    }

    /// The sockets of a user in all namespaces, oldest first.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// assert!(server.sockets_of("ada").await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `unavailable` while it is not known what the other nodes hold; so for the next ones, too.
    pub async fn sockets_of(&self, user: &str) -> Result<Vec<UserSocket>, Fault> {
        Ok(self.0.directory.sockets(user).await?)
    }

    /// For each of these users whether it is online: it has a socket, or lost its last one less
    /// than `users.offline_after` ago.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// assert_eq!(server.online(&["ada", "bob"]).await?, [false, false]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`sockets_of`](Self::sockets_of).
    pub async fn online(&self, users: &[&str]) -> Result<Vec<bool>, Fault> {
        let users = users.iter().map(|user| UserId::from(*user)).collect();
        Ok(self.0.directory.online(users).await?)
    }

    /// Users who have a socket, in the order of their ids: at most `limit` from `cursor` on.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let mut cursor = None;
    /// loop {
    ///     let page = server.users(cursor.as_deref(), 100).await?;
    ///     for (user, sockets) in page.users {
    ///         println!("{user} has {sockets}");
    ///     }
    ///     cursor = page.next;
    ///     if cursor.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`sockets_of`](Self::sockets_of).
    pub async fn users(&self, cursor: Option<&str>, limit: usize) -> Result<UserPage, Fault> {
        Ok(self.0.directory.users(cursor.map(Into::into), limit).await?)
    }

    /// Disconnects all sockets of a user from their namespaces, on every node, and returns how many
    /// they were. The clients see `io server disconnect` and do not come back by themselves.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// assert_eq!(server.disconnect_user("ada").await?, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `unavailable` if it is not known that all of them were reached: those that could be are
    /// disconnected all the same.
    pub async fn disconnect_user(&self, user: &str) -> Result<usize, Fault> {
        let sockets = self.sockets_of(user).await;
        let mut namespaces: HashSet<String> =
            sockets.iter().flatten().map(|socket| socket.namespace.to_string()).collect();
        if sockets.is_err() || self.0.node.recovery().is_some() {
            // All namespaces of this node: the user may be in any of them, or may come back to one.
            let adapters = self.0.adapters.all();
            namespaces.extend(adapters.iter().map(|adapter| adapter.namespace().to_string()));
        }
        self.reaching_all(|| {
            for namespace in namespaces {
                self.of(&namespace).to_user(user).disconnect(false);
            }
        })
        .await?;
        Ok(sockets?.len())
    }

    /// Messages that are kept for users. `None`: `inbox.enabled` is not set.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// assert!(server.inbox().is_none(), "it needs a store");
    /// # Ok(())
    /// # }
    /// ```
    pub fn inbox(&self) -> Option<&Inbox> {
        self.0.inbox.as_ref()
    }

    /// The nodes of the cluster that live, this one among them. Node.js nodes are not listed: they
    /// keep no lease.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let nodes = server.nodes().await?;
    /// assert_eq!(&nodes[0].id, server.node());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`sockets_of`](Self::sockets_of).
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, Fault> {
        Ok(self.0.directory.nodes().await?)
    }

    /// How many sockets are connected to this node, a client in two namespaces counted twice.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, testing::Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = Server::start(Switchboard::builder().gateway(Gateway::new("/"))).await;
    /// assert_eq!(server.socket_count(), 0);
    /// let _client = server.connect().await.expect("everybody may enter");
    /// assert_eq!(server.socket_count(), 1);
    /// # }
    /// ```
    pub fn socket_count(&self) -> usize {
        self.0.adapters.socket_count()
    }

    /// How the clients of this node are connected right now, and what was cut or refused since the
    /// start. Looks at every connection.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, testing::Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = Server::start(Switchboard::builder().gateway(Gateway::new("/"))).await;
    /// let _client = server.connect().await.expect("everybody may enter");
    /// let counts = server.transports();
    /// assert_eq!((counts.websocket, counts.polling), (1, 0));
    /// # }
    /// ```
    pub fn transports(&self) -> TransportCounts {
        self.0.node.transports().counts()
    }

    /// Takes the limits, the session secrets, the keys of the admin API and the certificate files of
    /// this configuration from now on. Everything else of it needs a new start.
    ///
    /// ```
    /// use switchboard::{Config, Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = Config::default();
    /// let server = Switchboard::builder().config(config.clone()).gateway(Gateway::new("/")).build()?;
    /// config.limits.events_per_second = 50;
    /// server.reload(&config)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the certificate cannot be used; the one in use stays, everything else is changed.
    pub fn reload(&self, config: &Config) -> Result<(), ServeError> {
        self.0.node.set_limits(config.limits.clone());
        self.0.edge.set_limits(settings::admission(&config.limits));
        self.0.api_keys.store(Arc::new(config.admin.api_keys.clone()));
        if !config.edge.secrets.is_empty() {
            // From now on these are the secrets, and not those on which the nodes agree.
            self.0.meeting.iter().for_each(Meeting::end_agreement);
            self.0.edge.set_secrets(&settings::secrets(config));
        }
        match self.0.tls.get() {
            Some(tls) => tls.reload().map_err(|error| ServeError::Tls(Box::new(error))),
            None => Ok(()),
        }
    }

    /// The `SocketIo` of socketioxide.
    ///
    /// What is done through it is not seen by Switchboard: see [`Socket::raw`](crate::Socket::raw).
    /// A namespace declared through it has no middleware of this server, so nobody is authenticated
    /// there.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/chat")).build()?;
    /// assert!(server.raw().of("/chat").is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn raw(&self) -> &SocketIo<Adapter> {
        &self.0.io
    }

    /// The keys of the admin API, as of now.
    pub(crate) fn api_keys(&self) -> Arc<Secrets> {
        self.0.api_keys.load_full()
    }

    /// The history of rooms, if any has one.
    #[cfg(feature = "admin")]
    pub(crate) fn history(&self) -> Option<&Arc<History>> {
        self.0.history.as_ref()
    }

    /// The answers to requests that carry a key.
    #[cfg(feature = "admin")]
    pub(crate) fn remembered(&self) -> &remembered::Remembered {
        &self.0.remembered
    }

    pub(crate) fn this_node(&self) -> &Node {
        &self.0.node
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Calls `say`, which speaks to the other nodes, and waits until Redis has all of it.
    ///
    /// # Errors
    /// `unavailable` if Redis does not confirm in time or refuses, or if the link is down. The
    /// effect on this node holds all the same.
    pub(crate) async fn reaching_all<T>(&self, say: impl FnOnce() -> T) -> Result<T, Fault> {
        let Some(peers) = &self.0.peers else { return Ok(say()) };
        let reaching = peers.reaching();
        let said = say();
        reaching.all().await?;
        Ok(said)
    }
}
