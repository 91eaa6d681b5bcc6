//! The sections of the configuration. No logic beyond defaults; the rules are in `check`.

mod admin_ui;
mod auth;
mod cookie;
mod engine;
mod outbox;
mod redis;
mod store;
mod traces;

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{serde_with, units};
use crate::secret::Secrets;
use crate::{names::rooms::RoomPattern, payload::Parser};

pub use admin_ui::{AdminUi, AdminUiMode};
pub use auth::{Auth, AuthMode};
pub use cookie::{Cookie, SameSite};
pub use engine::Legacy;
pub use outbox::Outbox;
pub use redis::{OnMissed, Redis, Subscribe, WireProtocol};
pub use store::{Inbox, RoomHistory, Store};
pub use traces::Traces;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `[log]`: what is logged, and how.
///
/// ```
/// use switchboard::{Config, config::LogFormat};
///
/// let config = Config::with(|config| config.log.format = LogFormat::Json);
/// assert_eq!(config.log.level.as_str(), "info");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Log {
    /// The least important level that is still written. Default `info`; the variable `RUST_LOG`
    /// wins.
    pub level: LogLevel,
    /// Default `text`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

/// The importance of a log line.
///
/// ```
/// use switchboard::{Config, config::LogLevel};
///
/// let config = Config::with(|config| config.log.level = LogLevel::Debug);
/// assert_eq!(config.log.level.as_str(), "debug");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the names say it
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The name, as in the configuration and in `RUST_LOG`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The shape of a log line.
///
/// ```
/// use switchboard::{Config, config::LogFormat};
///
/// let config = Config::with(|config| config.log.format = LogFormat::Json);
/// assert_eq!(Config::default().log.format, LogFormat::Text);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[engine]`: the transport, with the names and defaults of Socket.IO.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.engine.cors_origins = vec!["https://app.example.com".into()]);
/// assert_eq!(config.engine.ping_interval.as_secs(), 25);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Engine {
    /// Time between two pings of the server. Default 25 s; more than 0.
    #[serde(with = "units::duration")]
    pub ping_interval: Duration,
    /// Silence after a ping that closes a connection. Default 20 s; more than 0.
    #[serde(with = "units::duration")]
    pub ping_timeout: Duration,
    /// Time for a client to join its first namespace. Default 45 s; more than 0.
    #[serde(with = "units::duration")]
    pub connect_timeout: Duration,
    /// Largest message of a client, in bytes. Default 1 MB (1 000 000); more than 0.
    #[serde(with = "units::size")]
    pub max_payload: u64,
    /// Packets that may wait for one socket before its client counts as a slow consumer and is
    /// closed. Default 8192; at least 1.
    pub max_buffered_packets: usize,
    /// Bytes that may wait for one socket before its client counts as a slow consumer and is
    /// closed; twice `max_payload` if that is more. Default 64 MB.
    #[serde(with = "units::size")]
    pub max_buffered_bytes: u64,
    /// The transports on offer. Default both; at least one.
    pub transports: Vec<Transport>,
    /// How clients of Engine.IO 3 (Socket.IO 1 and 2) may connect. Default by websocket only.
    /// `legacy_polling`, as it was called before, is understood: true is `all`.
    #[serde(alias = "legacy_polling", deserialize_with = "Legacy::deserialize_former")]
    pub legacy: Legacy,
    /// The packet format that the clients use. Default `json`.
    pub parser: Parser,
    /// Origins that browsers may connect from, such as `https://app.example.com`. Default none:
    /// the same origin only. `["*"]`: any, without credentials. One that ends in `:*` stands for
    /// all its ports.
    pub cors_origins: Vec<String>,
    /// Whether answers to polls of 1 kB and more are compressed, if the client takes gzip or
    /// deflate. Default true.
    pub http_compression: bool,
    /// The JavaScript file of a client, served as `socket.io.js` below [`path`](super::Config::path);
    /// a source map is looked for beside it. Read at the start. Default unset: none is served.
    #[serde(with = "serde_with::unset")]
    pub client_file: Option<PathBuf>,
    /// The session id as a cookie. Default unset: none. In the file a name, or a table.
    #[serde(with = "cookie::setting")]
    pub cookie: Option<Cookie>,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            ping_interval: secs(25),
            ping_timeout: secs(20),
            connect_timeout: secs(45),
            max_payload: 1_000_000,
            max_buffered_packets: 8192,
            max_buffered_bytes: 64_000_000,
            transports: vec![Transport::Polling, Transport::Websocket],
            legacy: Legacy::Websocket,
            parser: Parser::Json,
            cors_origins: Vec::new(),
            http_compression: true,
            client_file: None,
            cookie: None,
        }
    }
}

/// A transport of Engine.IO.
///
/// ```
/// use switchboard::{Config, config::Transport};
///
/// let config = Config::with(|config| config.engine.transports = vec![Transport::Websocket]);
/// assert!(config.check().errors.is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// HTTP long polling.
    Polling,
    /// WebSocket.
    Websocket,
}

/// `[edge]`: between the client and Socket.IO.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.edge.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()]);
/// assert!(config.check().errors.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Edge {
    /// Address at which other nodes reach this one, such as `10.0.0.5:3000`. Default unset: it is
    /// found out, and tried.
    #[serde(with = "serde_with::unset")]
    pub advertise: Option<String>,
    /// Secrets that sign session ids, and what nodes say to each other directly: the first signs,
    /// all verify. Default none: one is made at the start, and shared through Redis; each should
    /// have at least 32 bytes.
    pub secrets: Secrets,
    /// Networks of proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8`; a plain
    /// address is a network of one. Default none.
    #[serde(deserialize_with = "serde_with::networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Time for a client to send its request. Default 10 s; more than 0.
    #[serde(with = "units::duration")]
    pub handshake_timeout: Duration,
    /// How long a client may take nothing of what is sent to it. Default 30 s; more than 0.
    #[serde(with = "units::duration")]
    pub stall_timeout: Duration,
    /// Bytes per second that a client has to take while data waits for it, on the average of
    /// `stall_timeout`. Default 1 kB (1000); 0: any byte will do.
    #[serde(with = "units::size")]
    pub min_read_rate: u64,
    /// Bytes that request bodies may take together while they are read. One body of
    /// [`Engine::max_payload`] is always allowed. Default 256 MiB; 0: no limit.
    #[serde(with = "units::size")]
    pub max_bodies: u64,
    /// The same for the clients of one address. Without trusted proxies all clients behind one
    /// proxy share its address. Default 64 MiB; 0: no limit.
    #[serde(with = "units::size")]
    pub max_bodies_per_address: u64,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            advertise: None,
            secrets: Secrets::default(),
            trusted_proxies: Vec::new(),
            handshake_timeout: secs(10),
            stall_timeout: secs(30),
            min_read_rate: 1000,
            max_bodies: 256 << 20,
            max_bodies_per_address: 64 << 20,
        }
    }
}

/// `[recovery]`: connection state recovery, as in Socket.IO 4.6.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.recovery.enabled = true);
/// assert!(config.check().errors.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Recovery {
    /// Default false.
    pub enabled: bool,
    /// How long a socket's state is kept after it was cut. Default 2 m; more than 0.
    #[serde(with = "units::duration")]
    pub max_disconnection: Duration,
    /// Events that are kept for each namespace, in memory. Default 10,000; 0 means no limit.
    pub max_packets: usize,
    /// Memory for the kept events of all namespaces, and as much again for the kept states of
    /// sockets. Default 64 MiB; 0 means no limit.
    #[serde(with = "units::size")]
    pub max_bytes: u64,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            enabled: false,
            max_disconnection: secs(120),
            max_packets: 10_000,
            max_bytes: 64 << 20,
        }
    }
}

/// `[users]`: users and their presence.
///
/// ```
/// use switchboard::{Config, config::OverLimit};
///
/// let config = Config::with(|config| {
///     config.users.max_sockets = 5;
///     config.users.over_limit = OverLimit::DisconnectOldest;
/// });
/// assert!(config.check().errors.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Users {
    /// Start of the room that all sockets of a user are in. Default `user:`; not empty.
    pub room_prefix: String,
    /// How long a user without sockets still counts as online. Default 5 s; 0 is allowed.
    #[serde(with = "units::duration")]
    pub offline_after: Duration,
    /// Sockets that a user may have in the whole cluster. Default 0: no limit.
    pub max_sockets: usize,
    /// The fate of a socket over the limit. Default `reject`.
    pub over_limit: OverLimit,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            room_prefix: "user:".into(),
            offline_after: secs(5),
            max_sockets: 0,
            over_limit: OverLimit::Reject,
        }
    }
}

/// The fate of a socket over the limit.
///
/// ```
/// use switchboard::{Config, config::OverLimit};
///
/// // One open tab a user: a new one takes the place of the old one.
/// let config = Config::with(|config| {
///     config.users.max_sockets = 1;
///     config.users.over_limit = OverLimit::DisconnectOldest;
/// });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverLimit {
    /// The new socket is refused.
    Reject,
    /// The user's oldest socket makes room.
    DisconnectOldest,
}

/// `[rooms]`: rooms of the built-in gateway.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.rooms.may_join = vec!["lobby".parse().unwrap(), "public:*".parse().unwrap()]);
/// assert!(config.rooms.may_join[1].matches("public:games"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Rooms {
    /// Rooms that any client may join: names, or a prefix followed by `*`. A token may add more.
    /// Default `public:*`.
    pub may_join: Vec<RoomPattern>,
    /// Rooms whose last events are kept. Default: none. They need a store.
    pub history: Vec<RoomHistory>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { may_join: vec![RoomPattern::starting_with("public:")], history: Vec::new() }
    }
}

/// `[limits]`: the most that one client, or all together, may use.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.limits.events_per_second = 50);
/// assert_eq!(config.limits.max_connections, 0, "no limit");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Connections of this node. Default 0: no limit.
    pub max_connections: usize,
    /// New connections of this node in a second. Default 0: no limit.
    pub connections_per_second: u32,
    /// Connections of this node from one client address. Default 0: no limit.
    pub connections_per_address: usize,
    /// Events of one socket in a second; twice as many in a burst. Default 0: no limit.
    pub events_per_second: u32,
    /// Rooms that one socket may be in, its own and its user's not counted. Default 128; 0: no
    /// limit.
    pub max_rooms_per_socket: usize,
    /// Namespaces of patterns such as `/chat/{room}` that this node may have at the same time.
    /// Default 10000; 0: no limit.
    pub max_namespaces: usize,
    /// Longest name of an event, in bytes. Default 128; 0: no limit.
    pub max_event_name: usize,
    /// Bytes that may wait on this node, for clients and from them. Over it, the clients for which
    /// the most waits are closed as slow consumers. Default 1 GB; 0: no limit.
    #[serde(with = "units::size")]
    pub max_buffered_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 0,
            connections_per_second: 0,
            connections_per_address: 0,
            events_per_second: 0,
            max_rooms_per_socket: 128,
            max_namespaces: 10_000,
            max_event_name: 128,
            max_buffered_bytes: 1_000_000_000,
        }
    }
}

/// `[drain]`: how a node stops.
///
/// ```
/// use std::time::Duration;
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.drain.spread = Duration::from_secs(60));
/// let problem = &config.check().errors[0];
/// assert_eq!(problem.keys[0], "drain.spread", "the timeout has to be longer, too");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Drain {
    /// Time from the signal to the end of the process, at most. Default 30 s; more than 0.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Time in which `/readyz` already answers 503 and everything else goes on, so that load
    /// balancers notice before anybody is turned away. Default 2 s; 0 with `--dev`.
    #[serde(with = "units::duration")]
    pub grace: Duration,
    /// Time over which the sockets are closed, after the grace. Default 10 s; together with
    /// [`grace`](Self::grace) at most [`timeout`](Self::timeout).
    #[serde(with = "units::duration")]
    pub spread: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: secs(30), grace: secs(2), spread: secs(10) }
    }
}

/// `[admin]`: the administration API.
///
/// ```
/// use switchboard::{Config, config::Secrets};
///
/// let config = Config::with(|config| config.admin.api_keys = Secrets::from_iter(["a key for the back end"]));
/// assert_eq!(config.admin.api_keys.len(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Admin {
    /// Keys of which a request for `/api/v1` must show one as its bearer token; each should have
    /// at least 16 bytes. Default none: open, and then on loopback only.
    pub api_keys: Secrets,
}

/// `[tls]`: TLS on the public port; both files or neither.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.tls.cert_file = Some("cert.pem".into()));
/// assert_eq!(config.check().errors[0].to_string(), "tls.cert_file: needs tls.key_file");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// PEM file with the certificate chain, the server's own first. Default unset: no TLS.
    #[serde(with = "serde_with::unset")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the private key. Default unset: no TLS.
    #[serde(with = "serde_with::unset")]
    pub key_file: Option<PathBuf>,
}
