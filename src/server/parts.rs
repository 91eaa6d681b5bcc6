//! The parts of a node that face the other nodes, whatever carries their messages.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use tokio_util::sync::CancellationToken;

use super::addresses::{Listed, Towards};
use crate::{
    cluster::{
        broker::{Carrier, Disconnected},
        codec::Codec,
        kind::Kind,
        peers::{NewPeers, Peers, Roster, past::Past},
    },
    config::{Config, OverLimit, Subscribe},
    edge::Addresses,
    id::NodeId,
    sockets::adapter::Adapters,
    users::{
        Directory, DirectoryBackend, Here, Itself, PresenceSink, Unknown, UserLimit, UserSocket,
    },
};

/// The parts of a node that has others beside it.
pub(super) struct Parts {
    pub(super) peers: Arc<Peers>,
    pub(super) directory: Directory,
    pub(super) meeting: Meeting,
}

/// What the parts of a node are made from.
pub(super) struct NewParts<'a> {
    pub(super) config: &'a Config,
    pub(super) itself: Itself,
    pub(super) presence: Option<PresenceSink>,
    pub(super) here: Arc<dyn Here>,
}

/// How the nodes of a cluster find each other, and come to the same secrets.
pub(super) struct Meeting {
    pub(super) addresses: Arc<dyn Addresses>,
    /// The list from which they come, to be looked at all the time.
    pub(super) listed: Option<Arc<Listed>>,
    pub(super) publish: Box<dyn Fn(String) + Send + Sync>,
    pub(super) towards: Towards,
    /// The secrets without `edge.secrets`: the first signs, all verify.
    pub(super) secrets: Vec<Vec<u8>>,
    /// The nodes need not agree: `edge.secrets` are set.
    pub(super) is_settled: CancellationToken,
}

impl Meeting {
    /// Of nodes that are listed in a directory.
    pub(super) fn listed(directory: &Directory, secrets: Vec<Vec<u8>>, towards: Towards) -> Self {
        let listed = Arc::new(Listed::new(directory.clone()));
        let published = directory.clone();
        Self {
            addresses: listed.clone(),
            listed: Some(listed),
            publish: Box::new(move |address| published.publish(address)),
            towards,
            secrets,
            is_settled: CancellationToken::new(),
        }
    }

    pub(super) fn end_agreement(&self) {
        self.is_settled.cancel();
    }
}

/// The sockets of this node. Empty once the node has ended.
pub(super) struct OwnSockets(pub(super) Weak<Adapters>);

impl Here for OwnSockets {
    fn disconnect(&self, socket: &UserSocket) {
        if let Some(adapters) = self.0.upgrade() {
            adapters.disconnect(&socket.namespace, socket.id);
        }
    }

    fn transport(&self, socket: &UserSocket) -> Option<&'static str> {
        self.0.upgrade()?.transport(&socket.namespace, socket.id)
    }
}

/// The nodes, as a directory lists them.
pub(super) fn roster(directory: &Arc<dyn DirectoryBackend>) -> Roster {
    let nodes = directory.clone();
    Arc::new(move || {
        let nodes = nodes.clone();
        Box::pin(async move {
            let nodes = nodes.nodes().await.map_err(|Unknown| Disconnected)?;
            let names = nodes.into_iter().map(|node| (wire_id(&node.incarnation), node.id));
            Ok(names.collect::<HashMap<String, NodeId>>())
        })
    })
}

/// A node's name in messages. A node that was taken for dead gets a new incarnation from the
/// directory, marked by a tilde. Its name in messages stays the same.
fn wire_id(incarnation: &str) -> String {
    incarnation.split('~').next().unwrap_or_default().to_owned()
}

pub(super) fn limit(config: &Config) -> UserLimit {
    UserLimit {
        max_sockets: config.users.max_sockets,
        disconnect_oldest: config.users.over_limit == OverLimit::DisconnectOldest,
    }
}

pub(super) fn new_peers(
    config: &Config,
    kind: Kind,
    node: String,
    broker: Arc<dyn Carrier>,
    roster: Roster,
    past: Option<Arc<dyn Past>>,
) -> Arc<Peers> {
    let redis = &config.redis;
    let by_room = redis.subscribe == Subscribe::Interest;
    let hears_all = match kind {
        Kind::Classic => !by_room,
        // There are no patterns: a node always hears the common channel and those of its rooms.
        // `all` only says where its own broadcasts go.
        Kind::Sharded => false,
        // Rooms have no channels.
        Kind::Streams => true,
    };
    Arc::new(Peers::new(NewPeers {
        codec: Codec::new(kind, &redis.key_prefix, &node, by_room),
        node,
        broker,
        roster,
        hears_all,
        timeout: redis.request_timeout,
        past,
    }))
}
