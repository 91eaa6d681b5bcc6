//! How sessions get to other nodes: by Redis where the log is there, and from node to node otherwise.

use std::sync::Arc;

use super::redis::{self, RedisLink};
use crate::{
    cluster::peers::Peers,
    config::{Config, WireProtocol},
    edge::{Edge, Hop},
    sockets::{
        adapter::{Adapter, Adapters},
        handover::Handover,
        node::{Node, Recovery},
        roaming::Roaming,
    },
};

/// Sessions are in Redis as well, where the log is.
pub(super) fn roam(
    config: &Config,
    recovery: &Recovery,
    node: &Arc<Node>,
    adapters: &Arc<Adapters>,
    redis: Option<&RedisLink>,
    edge: &Edge<Adapter>,
) {
    let Some(sessions) = redis.and_then(|redis| redis.sessions(config)) else { return };
    let (hop, id) = (edge.hop().cloned(), node.id().clone());
    let roaming = Roaming::new(sessions, hop, id, recovery.max_disconnection);
    recovery.set_roaming(roaming.clone());
    if let Some(hop) = edge.hop() {
        adapters.release_for(hop);
    }
    let (weak, stop) = (Arc::downgrade(adapters), node.stop.clone());
    node.tasks.spawn(async move {
        let current = |namespace: &str, pid: &_| weak.upgrade()?.shared(namespace, pid);
        let lost = |namespace: &str, pid: &_| {
            weak.upgrade().into_iter().for_each(|all| all.have_lost(namespace, pid));
        };
        stop.run_until_cancelled(roaming.write_all(current, lost)).await
    });
}

/// Moves sessions between nodes that have no log in common. In a Redis Cluster, and over a broker of
/// the program's own, the messages have no single order, so sessions stay.
pub(super) fn handover(
    config: &Config,
    node: &Arc<Node>,
    adapters: &Arc<Adapters>,
    peers: Option<&Arc<Peers>>,
    hop: Option<&Hop>,
) -> Option<Arc<Handover>> {
    let (recovery, peers, hop) = (node.recovery()?, peers?, hop?);
    let has_log = config.redis.protocol == WireProtocol::Streams;
    if has_log || redis::is_cluster(config) || !peers.broker().is_in_one_order() {
        return None;
    }
    recovery.set_home(node.id().clone(), hop.clone());
    let handover = Handover::start(hop, adapters, peers, node);
    let weak = Arc::downgrade(&handover);
    adapters.tell_marks(move |mark| {
        if let Some(handover) = weak.upgrade() {
            handover.heard(mark);
        }
    });
    Some(handover)
}
