//! This node's numbers for the Admin UI, as differences between two moments. Gathered only while an
//! admin is connected. No clock: the time is an argument.

use std::time::{Instant, SystemTime};

use super::protocol::{AggregatedEvent, NamespaceDetails, ServerStats};
use crate::millis::since_epoch;
use crate::{
    edge::Traffic,
    sockets::{adapter::Adapters, node::Node},
};

/// The numbers of a node.
pub(super) struct Stats {
    server_id: Box<str>,
    hostname: Box<str>,
    started: Instant,
    /// The traffic up to the last call.
    seen: Traffic,
}

impl Stats {
    pub(super) fn new(server_id: &str) -> Self {
        Self {
            server_id: server_id.into(),
            hostname: hostname().into(),
            started: Instant::now(),
            seen: Traffic::default(),
        }
    }

    /// No admin is connected: the traffic up to now will not be reported.
    pub(super) fn pass(&mut self, node: &Node) {
        self.seen = node.transports().traffic();
    }

    /// The node as it is now, and its traffic since the last call.
    pub(super) fn take(
        &mut self,
        node: &Node,
        adapters: &Adapters,
        now: SystemTime,
    ) -> ServerStats<'_> {
        let transports = node.transports();
        let counts = transports.counts();
        let traffic = transports.traffic();
        let before = std::mem::replace(&mut self.seen, traffic);
        ServerStats {
            server_id: &self.server_id,
            hostname: &self.hostname,
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs_f64(),
            clients_count: counts.polling + counts.websocket,
            polling_clients_count: counts.polling,
            aggregated_events: aggregated(before, traffic, now),
            namespaces: namespaces(adapters),
        }
    }
}

/// The charts take whole seconds.
fn aggregated(before: Traffic, after: Traffic, now: SystemTime) -> Vec<AggregatedEvent> {
    let timestamp = since_epoch(now) / 1000 * 1000;
    [
        ("rawConnection", before.opened, after.opened),
        ("rawDisconnection", before.closed, after.closed),
        ("bytesIn", before.bytes_in, after.bytes_in),
        ("bytesOut", before.bytes_out, after.bytes_out),
    ]
    .into_iter()
    .map(|(kind, before, after)| (kind, after.saturating_sub(before)))
    .filter(|(_, count)| *count > 0)
    .map(|(kind, count)| AggregatedEvent { timestamp, kind, count })
    .collect()
}

fn namespaces(adapters: &Adapters) -> Vec<NamespaceDetails> {
    let all = adapters.all();
    let shown = all.iter().filter(|adapter| !adapter.is_hidden());
    let mut namespaces: Vec<_> = shown
        .map(|adapter| NamespaceDetails {
            name: adapter.namespace().to_string(),
            sockets_count: adapter.len(),
        })
        .collect();
    namespaces.sort_by(|one, other| one.name.cmp(&other.name));
    namespaces
}

fn hostname() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "unknown".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_has_happened_since_is_told_with_its_second() {
        let before = Traffic { opened: 1, closed: 1, bytes_in: 10, bytes_out: 0 };
        let after = Traffic { opened: 4, closed: 1, bytes_in: 10, bytes_out: 99 };
        let now = UNIX_EPOCH + Duration::from_millis(7_999);
        let event = |kind, count| AggregatedEvent { timestamp: 7_000, kind, count };
        let told = aggregated(before, after, now);
        assert_eq!(told, [event("rawConnection", 3), event("bytesOut", 99)]);
        assert_eq!(aggregated(after, after, now), []);
    }
}
