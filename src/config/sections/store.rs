//! `[store]`, `[inbox]` and `[[rooms.history]]`: what is kept longer than a connection, and where.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    config::{serde_with, units},
    names::rooms::RoomPattern,
    secret::SecretUrl,
};

/// `[store]`: the database for what outlives connections.
///
/// ```
/// use switchboard::{Config, config::SecretUrl};
///
/// let config = Config::with(|config| {
///     config.store.url = Some(SecretUrl::new("sqlite:messages.db"));
///     config.inbox.enabled = true;
/// });
/// assert!(config.check().errors.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Store {
    /// `sqlite:FILE` for one node (`sqlite::memory:` keeps nothing), or `postgres://…`. Default unset: no
    /// store. The inbox needs one.
    #[serde(with = "serde_with::unset")]
    pub url: Option<SecretUrl>,
    /// Whether a node brings the tables up to date when it starts. Without it,
    /// `switchboard migrate` does. Default true.
    pub migrate: bool,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: None, migrate: true }
    }
}

/// `[inbox]`: messages that are kept for users until each of their devices has acknowledged them.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.inbox.enabled = true);
/// assert_eq!(config.check().errors[0].to_string(), "inbox.enabled: needs store.url");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Inbox {
    /// Default false.
    pub enabled: bool,
    /// For how long a message is kept at most, its id is known, and a device is known after it has
    /// left. Default 30 days; more than 0.
    #[serde(with = "units::duration")]
    pub ttl: Duration,
    /// Messages of one user that not all of its devices have acknowledged. Default 1000; 0: no limit.
    pub max_messages: u64,
    /// Bytes of these messages. Default 1 MB; 0: no limit.
    #[serde(with = "units::size")]
    pub max_bytes: u64,
    /// Messages that are on their way to one device and not acknowledged, in each namespace. Default 32; 1 to 1024.
    pub window: usize,
    /// Whether the sequence number is the last argument of each message. A client may ask for it, too:
    /// `auth.inbox: true` in its CONNECT. Default false.
    pub sequence: bool,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            enabled: false,
            ttl: Duration::from_secs(30 * 24 * 3600),
            max_messages: 1000,
            max_bytes: 1_000_000,
            window: 32,
            sequence: false,
        }
    }
}

/// `[[rooms.history]]`: rooms whose last events are kept. Of several that fit a room, the first holds.
///
/// ```
/// use switchboard::{Config, config::{RoomHistory, SecretUrl}};
///
/// let config = Config::with(|config| {
///     config.store.url = Some(SecretUrl::new("sqlite:messages.db"));
///     let mut lobby = RoomHistory::of("public:lobby".parse().unwrap());
///     lobby.on_join = 20;
///     config.rooms.history = vec![lobby];
/// });
/// assert!(config.check().errors.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RoomHistory {
    /// The rooms: a name, or a prefix followed by `*`.
    pub rooms: RoomPattern,
    /// The events that each of them keeps. Default 100; 1 to 100,000.
    #[serde(default = "RoomHistory::count")]
    pub count: u64,
    /// For how long an event is kept. Default one day; more than 0.
    #[serde(default = "RoomHistory::ttl", with = "units::duration")]
    pub ttl: Duration,
    /// How many of them a socket gets when it joins. Default 0; at most `count`, and 1,000.
    #[serde(default)]
    pub on_join: usize,
}

impl RoomHistory {
    /// The history of these rooms, with the defaults.
    pub fn of(rooms: RoomPattern) -> Self {
        Self { rooms, count: Self::count(), ttl: Self::ttl(), on_join: 0 }
    }

    fn count() -> u64 {
        100
    }

    fn ttl() -> Duration {
        Duration::from_secs(24 * 3600)
    }
}
