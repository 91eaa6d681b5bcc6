//! `[outbox]`: events out of transactions in Postgres.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    config::{serde_with, units},
    secret::SecretUrl,
};

/// `[outbox]`: events that applications emit inside their own transactions in Postgres.
///
/// ```
/// use switchboard::{Config, config::SecretUrl};
///
/// let config = Config::with(|config| {
///     config.store.url = Some(SecretUrl::new("sqlite:messages.db"));
///     config.outbox.enabled = true;
/// });
/// assert_eq!(config.check().errors[0].to_string(), "outbox.enabled: needs a store.url of Postgres");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Outbox {
    /// Whether this node sends what is in the outbox. Default false.
    pub enabled: bool,
    /// Events of one partition are sent in the order of their commits, by one node at a time. Default
    /// 8; 1 to 256.
    pub partitions: u32,
    /// How long a node waits, at most, before it looks for events that nobody has told it of. It looks
    /// at least every 2 s, when it renews its leases. Default 300 ms; more than 0.
    #[serde(with = "units::duration")]
    pub poll: Duration,
    /// The URL for the connection that listens to `NOTIFY`, where `store.url` leads to a pooler of
    /// transactions, such as pgbouncer. Default unset: `store.url`.
    #[serde(with = "serde_with::unset")]
    pub listen_url: Option<SecretUrl>,
    /// For how long the key of a committed event is known. Default 1 day; more than 0.
    #[serde(with = "units::duration")]
    pub key_ttl: Duration,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            enabled: false,
            partitions: 8,
            poll: Duration::from_millis(300),
            listen_url: None,
            key_ttl: Duration::from_secs(24 * 3600),
        }
    }
}
