//! Every setting of a server, with its default, its unit and its range.
//!
//! The names and defaults are those of the configuration file: `engine.ping_interval` there is
//! [`Engine::ping_interval`] here. A program that embeds the server changes single settings;
//! the binary calls [`load()`], which merges flags, environment and file. [`Config::check`] holds
//! the rules between settings for both.
//!
//! Later versions may add fields to the types, so a program does not list them. It passes a closure
//! to [`Config::with`], or changes the fields of [`Config::default`]:
//!
//! ```
//! use std::time::Duration;
//! use switchboard::config::{Config, Cookie, SecretUrl, WireProtocol};
//!
//! let config = Config::with(|config| {
//!     config.engine.ping_interval = Duration::from_secs(10);
//!     config.engine.cookie = Some(Cookie::named("io"));
//!     config.redis.url = Some(SecretUrl::new("redis://127.0.0.1:6379"));
//!     config.redis.protocol = WireProtocol::Sharded;
//!     config.auth.hs256_secret = ["a secret of at least thirty-two bytes"].into_iter().collect();
//!     config.rooms.may_join = vec!["public:*".parse().unwrap()];
//!     config.limits.max_connections = 10_000;
//! });
//! assert!(config.check().errors.is_empty());
//! ```
//!
//! In the file a secret may also stand in a file of its own, named by `<key>_file`
//! (`auth.hs256_secret_file`, `edge.secrets_file`, `admin.api_keys_file`, `admin_ui.password_file`,
//! `redis.url_file`, `store.url_file`). Such a file holds one secret a line where the key takes several; blanks
//! around them are ignored.

#[cfg(feature = "config-file")]
mod address;
mod check;
#[cfg(feature = "config-file")]
mod dev;
#[cfg(feature = "config-file")]
mod env;
#[cfg(feature = "config-file")]
mod file;
#[cfg(feature = "config-file")]
mod given;
#[cfg(feature = "config-file")]
mod libpq;
#[cfg(feature = "config-file")]
mod load;
#[cfg(all(test, feature = "config-file"))]
mod page;
#[cfg(feature = "admin-ui")]
pub(crate) mod password;
#[cfg(feature = "config-file")]
mod problem;
pub(crate) mod redis_url;
#[cfg(feature = "config-file")]
mod reload;
#[cfg(all(test, feature = "config-file"))]
mod sample;
#[cfg(feature = "config-file")]
mod schema;
mod sections;
mod serde_with;
#[cfg(feature = "config-file")]
mod tables;
mod units;

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use crate::secret::{Secret, SecretUrl, Secrets};
pub use check::{Check, Finding};
pub(crate) use check::{check_namespace, is_postgres};
#[cfg(feature = "config-file")]
pub use load::{Loaded, Sources, load};
#[cfg(feature = "config-file")]
pub use problem::{ConfigErrors, Origin, Problem};
#[cfg(feature = "config-file")]
pub use reload::Running;
#[cfg(feature = "config-file")]
pub use schema::RELOADED;
pub use sections::{
    Admin, AdminUi, AdminUiMode, Auth, AuthMode, Cookie, Drain, Edge, Engine, Inbox, Legacy,
    Limits, Log, LogFormat, LogLevel, OnMissed, Outbox, OverLimit, Recovery, Redis, RoomHistory,
    Rooms, SameSite, Store, Subscribe, Tls, Traces, Transport, Users, WireProtocol,
};
pub use units::parse_duration;

pub use crate::payload::Parser;

/// The secret of `--dev` when no other is configured. Everybody knows it, so a configuration that
/// names it without `--dev` is refused.
///
/// ```
/// use serde_json::json;
/// use switchboard::{auth::sign_hs256, config::DEV_SECRET};
///
/// // A token for a server that was started with `--dev`.
/// let claims = json!({ "sub": "ada", "exp": 4_102_444_800_u64 });
/// let token = sign_hs256(claims.as_object().expect("an object"), DEV_SECRET.as_bytes());
/// ```
pub const DEV_SECRET: &str = "switchboard-development-secret-do-not-use-in-production";

/// The whole configuration. See the [module](self).
///
/// ```
/// use std::time::Duration;
/// use switchboard::Config;
///
/// let mut config = Config::default();
/// config.engine.ping_interval = Duration::from_secs(10);
/// config.limits.events_per_second = 100;
/// assert!(config.check().errors.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Address of Socket.IO, `/healthz` and `/readyz`. Default `0.0.0.0:3000`; port 0 lets the
    /// system choose one.
    pub listen: SocketAddr,
    /// Address of `/metrics` and `/api/v1`. Default `127.0.0.1:3001`; anything but loopback needs
    /// [`Admin::api_keys`]. Unset (`""` in the file): neither is served.
    #[serde(with = "serde_with::unset")]
    pub admin_listen: Option<SocketAddr>,
    /// Path of the Socket.IO endpoint. Default `/socket.io/`; starts with `/`.
    pub path: String,
    /// Name of this node in the cluster: 1 to 32 characters of `A-Z a-z 0-9 _ -`. Default unset:
    /// random, new at each start.
    #[serde(with = "serde_with::unset")]
    pub node_id: Option<String>,
    /// Threads that serve connections, at most 1024. Default 0: everything runs on one thread. With
    /// N, connections are spread over N more threads.
    pub workers: usize,
    /// Importance and shape of the log lines.
    pub log: Log,
    /// The transport, as in Socket.IO.
    pub engine: Engine,
    /// Who may connect.
    pub auth: Auth,
    /// The link to the other nodes.
    pub redis: Redis,
    /// Protections between the client and Socket.IO: session ids, proxies, slow clients.
    pub edge: Edge,
    /// Connection state recovery.
    pub recovery: Recovery,
    /// Users and their presence.
    pub users: Users,
    /// Rooms of the built-in gateway.
    pub rooms: Rooms,
    /// The most that clients may use.
    pub limits: Limits,
    /// The database for what outlives connections.
    pub store: Store,
    /// Messages that wait for users.
    pub inbox: Inbox,
    /// Events out of transactions.
    pub outbox: Outbox,
    /// How a node stops.
    pub drain: Drain,
    /// The administration API.
    pub admin: Admin,
    /// The official Socket.IO Admin UI.
    pub admin_ui: AdminUi,
    /// TLS on the public port.
    pub tls: Tls,
    /// The export of spans.
    pub traces: Traces,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3000)),
            admin_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 3001))),
            path: "/socket.io/".into(),
            node_id: None,
            workers: 0,
            log: Log::default(),
            engine: Engine::default(),
            auth: Auth::default(),
            redis: Redis::default(),
            edge: Edge::default(),
            recovery: Recovery::default(),
            users: Users::default(),
            rooms: Rooms::default(),
            limits: Limits::default(),
            store: Store::default(),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            drain: Drain::default(),
            admin: Admin::default(),
            admin_ui: AdminUi::default(),
            tls: Tls::default(),
            traces: Traces::default(),
        }
    }
}

impl Config {
    /// The defaults after a change; the [module](self) has an example.
    ///
    /// ```
    /// use switchboard::Config;
    ///
    /// let config = Config::with(|config| config.workers = 2);
    /// assert_eq!(config.path, Config::default().path);
    /// ```
    pub fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut config = Self::default();
        change(&mut config);
        config
    }
}

#[cfg(feature = "config-file")]
impl Config {
    /// The configuration as a TOML file, secrets masked. [`load()`] understands it, but refuses a
    /// masked secret: the mask must not become the secret.
    ///
    /// ```
    /// use switchboard::{Config, config::SecretUrl};
    ///
    /// let mut config = Config::default();
    /// config.redis.url = Some(SecretUrl::new("redis://app:hunter2@10.0.0.9"));
    /// assert!(config.to_masked_toml().contains("redis://app:***@10.0.0.9"));
    /// ```
    pub fn to_masked_toml(&self) -> String {
        // TOML can express all of it: every value is a string, a number, a boolean or a list of
        // strings, and no table comes before a plain key.
        toml::to_string(self).expect("a configuration is always valid TOML")
    }
}
