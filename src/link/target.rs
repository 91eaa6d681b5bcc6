//! The place of Redis: `parse` reads it from `redis.url`, and `open` opens connections to it, after
//! `sentinel` has asked for the master.

mod error;
mod open;
mod parse;
mod sentinel;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use rand::seq::SliceRandom as _;
use redis::{AsyncConnectionConfig, ConnectionAddr, RedisConnectionInfo};

pub(crate) use self::error::TargetError;
#[cfg(feature = "server")]
pub(crate) use self::parse::key_file;
use super::{
    ranges::Address,
    tls::Tls,
    whereabouts::{Channels, Wanted, Whereabouts},
};
use crate::pem::TlsError;

/// The longest waits for Redis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// To connect, TLS and login included, and for the answer to a command.
    pub(crate) request: Duration,
    /// For a sign of life, before a connection is given up.
    pub(crate) silence: Duration,
}

impl Default for Timeouts {
    /// As `redis.request_timeout` and `redis.silence_timeout`.
    fn default() -> Self {
        Self { request: Duration::from_secs(5), silence: Duration::from_secs(10) }
    }
}

/// The place of Redis. Opens connections to it and keeps none.
#[derive(Clone)]
pub(crate) struct Target {
    place: Place,
    settings: RedisConnectionInfo,
    tls: Option<Arc<Tls>>,
    timeouts: Timeouts,
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
        self.tls.as_ref().map(|tls| tls.problems()).unwrap_or_default()
    }

    /// The same target with other timeouts.
    pub(crate) fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
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

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// For a connection with these timeouts.
    pub(crate) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.request))
            .set_response_timeout(Some(self.timeouts.request))
    }

    /// The user that we log in as.
    pub(crate) fn user(&self) -> &str {
        self.settings.username().unwrap_or("default")
    }

    /// Whether connections use TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
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

    /// The requirements on the server of a connection. We write, so a replica is of no use. All
    /// nodes must use one server, or one cluster.
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted::of(self.clone())
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

    /// Ends when a Redis Cluster has other masters than these, or when TLS files have changed: the
    /// driver would use the old files for each node that comes back.
    pub(super) async fn until_cluster_changes(&self, masters: Option<Vec<String>>) {
        for second in 1_u64.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.whereabouts.refresh(self);
            let changed = self.masters().is_some_and(|now| masters.as_ref() != Some(&now));
            let look = second.is_multiple_of(10);
            if changed || look && self.tls.as_ref().is_some_and(|tls| tls.changed()) {
                return;
            }
        }
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

fn node(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    let host = host.to_owned();
    match tls {
        false => ConnectionAddr::Tcp(host, port),
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    }
}
