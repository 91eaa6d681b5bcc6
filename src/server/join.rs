//! The parts of a node that face the other nodes, assembled and started.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Switchboard,
    addresses::{Advertised, Towards},
    error::{BuildError, ServeError},
    local_cluster::LocalCluster,
    parts::{Meeting, NewParts, OwnSockets, Parts, limit, new_peers, roster},
    redis::{self, RedisLink},
};
use crate::{
    cluster::{
        broker::{Carrier, Receive},
        kind::Kind,
        log::Entry,
        peers::{Peers, Roster},
    },
    config::{Config, OnMissed, WireProtocol},
    sockets::{
        adapter::Adapters,
        missed::Missed,
        node::Node,
        relay::{Relay, ServerSideHandlers},
    },
    users::{Directory, Itself, MemoryDirectory, NewDirectory, PresenceSink},
};

/// The parts of a node, some of which only a cluster has.
pub(super) struct ClusterParts {
    pub(super) peers: Option<Arc<Peers>>,
    pub(super) directory: Directory,
    pub(super) redis: Option<RedisLink>,
    pub(super) meeting: Option<Meeting>,
}

pub(super) struct NewClusterParts<'a> {
    pub(super) config: &'a Config,
    pub(super) itself: Itself,
    pub(super) local: Option<LocalCluster>,
    pub(super) broker: Option<Arc<dyn Carrier>>,
    pub(super) directory: Option<NewDirectory>,
    pub(super) presence: Option<PresenceSink>,
    pub(super) adapters: &'a Arc<Adapters>,
}

impl ClusterParts {
    pub(super) fn new(new: NewClusterParts<'_>) -> Result<Self, BuildError> {
        let NewClusterParts { config, itself, local, broker, directory, presence, adapters } = new;
        let here = Arc::new(OwnSockets(Arc::downgrade(adapters)));
        let new = NewParts { config, itself, presence, here };
        let (parts, redis) = match (local, broker, directory) {
            (Some(local), None, None) => (in_process(new, &local), None),
            (Some(_), ..) => return Err(BuildError::Cluster(TWO_CLUSTERS)),
            (None, Some(_), None) => return Err(BuildError::Cluster(NO_DIRECTORY)),
            (None, Some(broker), Some(directory)) => (brought(new, broker, directory)?, None),
            (None, None, directory) => match &config.redis.url {
                Some(url) => {
                    let (parts, redis) = redis::parts(new, url, directory)?;
                    (parts, Some(redis))
                }
                None => return Ok(Self::alone(new, directory)),
            },
        };
        let Parts { peers, directory, meeting } = parts;
        Ok(Self { peers: Some(peers), directory, redis, meeting: Some(meeting) })
    }

    fn alone(new: NewParts<'_>, directory: Option<NewDirectory>) -> Self {
        let NewParts { config, itself, presence, here } = new;
        let grace = config.users.offline_after;
        let directory = match directory {
            Some(directory) => directory(itself, presence, here.clone(), grace),
            None => Arc::new(MemoryDirectory::new(itself, grace, presence)),
        };
        let directory = Directory::shared(limit(config), directory, here);
        Self { peers: None, directory, redis: None, meeting: None }
    }
}

const TWO_CLUSTERS: &str =
    "a cluster inside one process has a broker and a user directory of its own";

const NO_DIRECTORY: &str = "nodes with a broker of their own need a user directory that all of them \
                            share: `Builder::user_directory`";

const NO_LOG: &str = "`redis.protocol` is `streams`, and a broker of the program's own has no log";

/// A cluster over what the program has brought.
fn brought(
    new: NewParts<'_>,
    broker: Arc<dyn Carrier>,
    directory: NewDirectory,
) -> Result<Parts, BuildError> {
    let NewParts { config, itself, presence, here } = new;
    if config.redis.protocol == WireProtocol::Streams {
        return Err(BuildError::Cluster(NO_LOG));
    }
    let node = itself.incarnation.clone();
    let directory = directory(itself, presence, here.clone(), config.users.offline_after);
    // The one format that needs no prefixes.
    let peers = new_peers(config, Kind::Sharded, node, broker, roster(&directory), None);
    peers.listen_to_nodes();
    let directory = Directory::shared(limit(config), directory, here);
    if config.edge.secrets.is_empty() {
        tracing::warn!(
            "edge.secrets is not set, and the nodes have nothing in which to agree on one: requests \
             for a session are refused by all nodes but its own"
        );
    }
    // Nobody knows where the others are, as seen from here.
    let towards = Towards::Way(Arc::new(|| Box::pin(std::future::ready(None))));
    let meeting = Meeting::listed(&directory, vec![rand::random::<[u8; 32]>().to_vec()], towards);
    Ok(Parts { peers, directory, meeting })
}

fn in_process(new: NewParts<'_>, local: &LocalCluster) -> Parts {
    let NewParts { config, itself, presence, here } = new;
    let kind = Kind::from(config.redis.protocol);
    let mut shared = local.0.lock();
    let (node, id) = (itself.incarnation.clone(), itself.id.clone());
    shared.names.insert(node.clone(), itself.id.clone());
    let broker = shared.hub.join();
    shared.members.insert(itself.id.clone(), broker.id());
    let users = &config.users;
    let directory = shared
        .directory
        .get_or_insert_with(|| {
            Arc::new(MemoryDirectory::new(itself, users.offline_after, presence))
        })
        .clone();
    let names = local.clone();
    let roster: Roster = Arc::new(move || {
        let names = names.0.lock().names.clone();
        Box::pin(std::future::ready(Ok(names)))
    });
    let peers = new_peers(config, kind, node, Arc::new(broker), roster, None);
    peers.listen_to_nodes();
    let directory = Directory::shared(limit(config), directory, here);
    let secret = shared.secret.get_or_insert_with(|| rand::random::<[u8; 32]>().to_vec());
    let (cluster, name) = (local.clone(), id.to_string());
    let publish = move |address: String| {
        cluster.0.lock().addresses.insert(name.clone(), address.into());
    };
    let meeting = Meeting {
        addresses: Arc::new(local.clone()),
        listed: None,
        publish: Box::new(publish),
        towards: Towards::ThisHost,
        secrets: vec![secret.clone()],
        is_settled: CancellationToken::new(),
    };
    Parts { peers, directory, meeting }
}

/// Takes what comes from the other nodes. Weak, because the relay holds the owner of the broker.
struct ToRelay(Weak<Relay>);

impl Receive for ToRelay {
    fn frame(&self, channel: &str, frame: &Bytes) {
        if let Some(relay) = self.0.upgrade() {
            relay.receive(channel, frame);
        }
    }

    fn entry(&self, entry: &Entry) {
        if let Some(relay) = self.0.upgrade() {
            relay.receive_entry(entry);
        }
    }
}

/// Makes the handler for messages of other nodes. The server keeps it.
pub(super) fn relay(
    peers: &Arc<Peers>,
    adapters: &Arc<Adapters>,
    node: &Arc<Node>,
    config: &Config,
    handlers: Vec<(String, ServerSideHandlers)>,
) -> Arc<Relay> {
    let mut router = matchit::Router::new();
    for (path, handlers) in handlers {
        // Adding the gateway refuses a path that does not parse.
        let _ = router.insert(path, handlers);
    }
    let (adapters, peers, node) = (adapters.clone(), peers.clone(), node.clone());
    let is_ignored = config.redis.missed == OnMissed::Ignore;
    let missed = Missed::new(adapters.clone(), peers.clone(), node.clone(), is_ignored);
    Arc::new(Relay::new(adapters, peers, node, missed, router))
}

impl Switchboard {
    /// Makes the link to the other nodes, once. After a failure it may be tried again.
    pub(super) async fn join_cluster(&self) -> Result<(), ServeError> {
        let inner = &*self.0;
        if let Some(stores) = &inner.stores {
            stores.prepare().await.map_err(ServeError::Store)?;
        }
        if let (Some(peers), Some(relay)) = (&inner.peers, &inner.relay) {
            inner.joined.get_or_try_init(|| self.make_link(peers, relay)).await.copied()?;
            inner.edge.set_starting(false);
        }
        // What is sent before the others can hear it would be sent twice.
        #[cfg(feature = "postgres")]
        if let Some(outbox) = &inner.outbox {
            outbox.start();
        }
        Ok(())
    }

    async fn make_link(&self, peers: &Arc<Peers>, relay: &Arc<Relay>) -> Result<(), ServeError> {
        let inner = &*self.0;
        let node = &inner.node;
        let missed = relay.missed().clone();
        let relay = Arc::downgrade(relay);
        let inbound = Arc::new(ToRelay(relay));
        // This comes first. If the second start fails and both are tried again, this one changes
        // nothing.
        peers.broker().start(inbound, inner.wait_for_redis).await?;
        if let Some(redis) = &inner.redis {
            redis.start(inner.wait_for_redis).await?;
            redis.watch_rights(&inner.config, node);
        }
        self.meet().await;
        let interest = inner.adapters.clone().look_after_interest(node.clone());
        node.tasks.spawn(interest);
        let (stop, members) = (node.stop.clone(), peers.clone().keep_members());
        node.tasks.spawn(async move { stop.run_until_cancelled(members).await });
        let (stop, gaps) = (node.stop.clone(), missed.clone().look_after_gaps());
        node.tasks.spawn(async move { stop.run_until_cancelled(gaps).await });
        let (stop, told) = (node.stop.clone(), missed.look_after_what_is_told());
        node.tasks.spawn(async move { stop.run_until_cancelled(told).await });
        Ok(())
    }

    /// Looks for the other nodes from now on. Agrees with them on the secrets of session ids, before
    /// there is any, and keeps the agreement.
    async fn meet(&self) {
        let inner = &*self.0;
        let Some(meeting) = &inner.meeting else { return };
        if let Some(listed) = meeting.listed.clone() {
            let stop = inner.node.stop.clone();
            inner.node.tasks.spawn(async move { stop.run_until_cancelled(listed.keep()).await });
        }
        let Some(redis) = &inner.redis else { return };
        let edge = Arc::downgrade(&inner.edge);
        let changed = move |secrets: &[Vec<u8>]| {
            if let Some(edge) = edge.upgrade() {
                edge.set_secrets(secrets);
            }
        };
        redis.agree(&inner.node, &meeting.is_settled, changed).await;
    }

    /// Publishes the address by which other nodes reach this one. Ends when that is done.
    pub(super) async fn publish_address(&self, listens: SocketAddr, tls: bool) {
        let inner = &*self.0;
        let (Some(meeting), Some(hop)) = (&inner.meeting, inner.edge.hop()) else { return };
        let advertised = Advertised {
            given: inner.config.edge.advertise.clone(),
            listens,
            tls,
            towards: meeting.towards.clone(),
        };
        advertised.publish(hop, &meeting.publish).await;
    }

    /// Leaves the cluster: the node is no longer counted or listed.
    pub(super) async fn leave_cluster(&self) {
        #[cfg(feature = "postgres")]
        if let Some(outbox) = &self.0.outbox {
            outbox.end().await;
        }
        if let Some(peers) = &self.0.peers {
            peers.broker().stop().await;
        }
        self.0.directory.close().await;
        if let Some(redis) = &self.0.redis {
            redis.stop();
        }
    }
}
