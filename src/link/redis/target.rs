//! The place of Redis: `parse` reads it from `redis.url`, and `open` opens connections to it, after
//! `sentinel` has asked for the master.

mod local;
mod open;
mod parse;
mod sentinel;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use rand::seq::SliceRandom as _;
use redis::{AsyncConnectionConfig, ConnectionAddr};

#[cfg(feature = "config-file")]
pub(crate) use self::parse::key_file;
use super::{
    connector::Connector,
    ranges::Address,
    tls::TlsError,
    whereabouts::{Channels, Whereabouts},
};
pub(crate) use super::{connector::Timeouts, target_error::TargetError};

/// The place of Redis. Opens connections to it and keeps none.
#[derive(Clone)]
pub(crate) struct Target {
    place: Place,
    connector: Connector,
    /// Shared by all connections.
    whereabouts: Arc<Whereabouts>,
    channels: Option<Channels>,
}

#[derive(Clone)]
enum Place {
    Single(ConnectionAddr),
    Cluster(Vec<ConnectionAddr>),
    Sentinel { sentinels: Vec<ConnectionAddr>, master: String },
}

impl Target {
    /// The faults of the TLS files.
    pub(crate) fn problems(&self) -> Vec<TlsError> {
        self.connector.tls.as_ref().map(|tls| tls.problems()).unwrap_or_default()
    }

    /// The same target with other timeouts.
    pub(crate) fn with_timeouts(self, timeouts: Timeouts) -> Self {
        let connector = Connector { timeouts, ..self.connector };
        Self { connector, ..self }
    }

    /// The same target, for a user who may listen to these channels.
    pub(crate) fn with_channels(self, channels: Channels) -> Self {
        Self { channels: Some(channels), ..self }
    }

    pub(super) fn channels(&self) -> Option<&Channels> {
        self.channels.as_ref()
    }

    pub(super) fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.connector.timeouts
    }

    /// For a connection with these timeouts.
    pub(crate) fn config(&self) -> AsyncConnectionConfig {
        self.connector.config()
    }

    /// The user that we log in as.
    pub(crate) fn user(&self) -> &str {
        self.connector.settings.username().unwrap_or("default")
    }

    /// Whether connections use TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.connector.tls.is_some()
    }

    /// Whether the TLS files hold something else now than they did for the connection before.
    pub(super) fn tls_changed(&self) -> bool {
        self.connector.tls.as_ref().is_some_and(|tls| tls.changed())
    }

    /// The address for logs: hosts, ports and paths, no secrets.
    pub(crate) fn address(&self) -> String {
        let list = |nodes: &[ConnectionAddr]| {
            nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        match &self.place {
            Place::Single(node) => node.to_string(),
            Place::Cluster(nodes) => list(nodes),
            Place::Sentinel { sentinels, master } => format!("{}/{master}", list(sentinels)),
        }
    }

    /// Whether there is one address only.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.place, Place::Single(_))
    }

    /// Whether it is a Redis Cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// The nodes of a Redis Cluster that the configuration names, in any order. `None` for other
    /// kinds.
    pub(super) fn seeds(&self) -> Option<Vec<Address>> {
        let Place::Cluster(seeds) = &self.place else { return None };
        let mut seeds: Vec<_> = seeds
            .iter()
            .filter_map(|seed| match seed {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                    Some((host.clone(), *port))
                }
                _ => None,
            })
            .collect();
        seeds.shuffle(&mut rand::rng());
        Some(seeds)
    }

    /// The masters of a Redis Cluster, as far as they are known.
    pub(super) fn masters(&self) -> Option<Vec<String>> {
        self.whereabouts.last_view().map(|view| view.keys())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.address()).finish()
    }
}
