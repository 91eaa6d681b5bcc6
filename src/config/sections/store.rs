//! `[store]` and `[inbox]`: what is kept longer than a connection, and where.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    config::{serde_with, units},
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
