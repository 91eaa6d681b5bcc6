//! What `--dev` changes: a server of a developer, for this machine alone, that shows everything at once.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{Config, DEV_SECRET, SecretUrl, given::Given};

/// The origins that may connect in development.
const PAGES_OF_THIS_MACHINE: [&str; 6] = [
    "http://localhost:*",
    "https://localhost:*",
    "http://127.0.0.1:*",
    "https://127.0.0.1:*",
    "http://[::1]:*",
    "https://[::1]:*",
];

/// Changes a configuration for development. What is given stays as it is, except for addresses.
pub(super) fn adapt(config: &mut Config, given: &Given) {
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, config.listen.port()));
    if let Some(admin) = &mut config.admin_listen {
        admin.set_ip(Ipv4Addr::LOCALHOST.into());
        // A public port equal to the default port of administration moves administration away.
        if admin.port() == config.listen.port() && !given.contains("admin_listen") {
            admin.set_port(0);
        }
    }
    // No balancer stands in front of a development server.
    if !given.contains("drain.grace") {
        config.drain.grace = Duration::ZERO;
    }
    // No other node has to take over its clients little by little.
    if !given.contains("drain.spread") {
        config.drain.spread = Duration::ZERO;
    }
    if !given.contains("engine.cors_origins") {
        config.engine.cors_origins = PAGES_OF_THIS_MACHINE.map(str::to_owned).to_vec();
    }
    if config.auth.hs256_secret.is_empty() {
        config.auth.hs256_secret = [DEV_SECRET].into_iter().collect();
    }
    // The memory of one node is no store for a cluster.
    if cfg!(feature = "sqlite") && config.store.url.is_none() && config.redis.url.is_none() {
        config.store.url = Some(SecretUrl::new("sqlite::memory:"));
        if !given.contains("inbox.enabled") {
            config.inbox.enabled = true;
        }
    }
}
