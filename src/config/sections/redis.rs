//! `[redis]`: how the nodes of a cluster speak to each other.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

#[cfg(feature = "redis")]
use crate::link::redis::tls_files::TlsFiles;
use crate::{
    config::{serde_with, units},
    secret::SecretUrl,
};

/// `[redis]`: the link to the other nodes.
///
/// ```
/// use switchboard::{Config, config::{SecretUrl, WireProtocol}};
///
/// let config = Config::with(|config| {
///     config.redis.url = Some(SecretUrl::new("redis://:password@10.0.0.5"));
///     config.redis.protocol = WireProtocol::Sharded;
/// });
/// assert!(config.check().errors.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Redis {
    /// `redis://`, `rediss://`, `unix:` or `redis+sentinel://`; several seeds, separated by
    /// commas, are a Redis Cluster. Default unset: one node, in memory.
    #[serde(with = "serde_with::unset")]
    pub url: Option<SecretUrl>,
    /// The wire format, named after the Node.js adapter that speaks it. Default `classic`.
    pub protocol: WireProtocol,
    /// Start of every channel, as `key` of the Node.js adapters. Default `socket.io`.
    pub key_prefix: String,
    /// The stream, as `streamName` of the Node.js adapter; `protocol = "streams"` alone has one.
    /// Default `socket.io`.
    pub stream_name: String,
    /// Number of streams, as `streamCount` of the Node.js adapter; the namespace selects one. Default 1;
    /// 1 to 100.
    pub stream_count: u32,
    /// Entries that a stream keeps at least, as `maxLen` of the Node.js adapter. Default 10000; more than 0.
    pub stream_max_len: u64,
    /// Start of the keys of sessions, as `sessionKeyPrefix` of the Node.js adapter. Default `sio:session:`.
    pub session_prefix: String,
    /// Longest wait for an answer of Redis or of other nodes. Default 5 s; more than 0.
    #[serde(with = "units::duration")]
    pub request_timeout: Duration,
    /// Longest silence of Redis before the link is made anew. Default 10 s; more than 0.
    #[serde(with = "units::duration")]
    pub silence_timeout: Duration,
    /// Bytes of messages and channels kept for other nodes while the link to Redis is down. Beyond
    /// it the oldest are dropped and counted. Default 16 MiB; 0 keeps nothing.
    #[serde(with = "units::size")]
    pub pending_max: u64,
    /// How long such a message is kept. Default 10 s; 0 keeps nothing.
    #[serde(with = "units::duration")]
    pub pending_age: Duration,
    /// PEM file with the authorities that TLS trusts. Default unset: those of the system.
    #[serde(with = "serde_with::unset")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate shown to Redis. Default unset: none.
    #[serde(with = "serde_with::unset")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with its private key. Default unset: none.
    #[serde(with = "serde_with::unset")]
    pub key_file: Option<PathBuf>,
    /// The channels to listen to. Default `interest`.
    pub subscribe: Subscribe,
    /// The fate of clients that may have missed messages of other nodes while the link was down.
    /// Default `disconnect`.
    pub missed: OnMissed,
}

#[cfg(feature = "redis")]
impl Redis {
    pub(crate) fn files(&self) -> TlsFiles {
        let Self { ca_file, cert_file, key_file, .. } = self;
        TlsFiles { ca: ca_file.clone(), cert: cert_file.clone(), key: key_file.clone() }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            protocol: WireProtocol::Classic,
            key_prefix: "socket.io".into(),
            stream_name: "socket.io".into(),
            stream_count: 1,
            stream_max_len: 10_000,
            session_prefix: "sio:session:".into(),
            request_timeout: Duration::from_secs(5),
            silence_timeout: Duration::from_secs(10),
            pending_max: 16 << 20,
            pending_age: Duration::from_secs(10),
            ca_file: None,
            cert_file: None,
            key_file: None,
            subscribe: Subscribe::Interest,
            missed: OnMissed::Disconnect,
        }
    }
}

/// A wire format of the Node.js Redis adapters.
///
/// ```
/// use switchboard::{Config, config::WireProtocol};
///
/// // What the Node.js servers of the cluster speak: here `@socket.io/redis-streams-adapter`.
/// let config = Config::with(|config| config.redis.protocol = WireProtocol::Streams);
/// assert_eq!(Config::default().redis.protocol, WireProtocol::Classic);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireProtocol {
    /// Publish and subscribe.
    Classic,
    /// Sharded publish and subscribe (Redis 7).
    Sharded,
    /// Redis streams.
    Streams,
}

/// The channels that a node listens to.
///
/// ```
/// use switchboard::{Config, config::Subscribe};
///
/// let config = Config::with(|config| config.redis.subscribe = Subscribe::All);
/// assert_eq!(Config::default().redis.subscribe, Subscribe::Interest);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subscribe {
    /// The channels of rooms with local members.
    Interest,
    /// All of them.
    All,
}

/// The fate of clients that may have missed messages of other nodes.
///
/// ```
/// use switchboard::{Config, config::OnMissed};
///
/// // For clients that ask for the current state themselves again and again.
/// let config = Config::with(|config| config.redis.missed = OnMissed::Ignore);
/// assert_eq!(Config::default().redis.missed, OnMissed::Disconnect);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissed {
    /// Their connections are closed, so that they notice and reconnect.
    Disconnect,
    /// They stay and are not told.
    Ignore,
}
