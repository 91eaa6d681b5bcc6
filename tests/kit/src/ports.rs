//! Ports for servers that cannot choose one themselves.

use std::{
    hash::{BuildHasher, RandomState},
    net::TcpListener,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// A port of this machine that is free now, and so is the one 10,000 above it, which a node of a Redis
/// Cluster needs, too. Both are below those that the system gives to outgoing connections.
pub fn free_port() -> u16 {
    /// Two tests that looked at the same moment would find the same port free.
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new(RandomState::new().hash_one(0) as u16));
    loop {
        let port = 15_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 7_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}
