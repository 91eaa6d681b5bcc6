//! The parts of a node that face the other nodes, assembled and started.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    Switchboard,
    addresses::{Advertised, Listed},
    error::{BuildError, ServeError},
    local_cluster::LocalCluster,
};
use crate::{
    cluster::{
        broker::{
            Broker, Disconnected, Receive,
            redis::{Kind, Pending, RedisBroker, StreamSettings},
        },
        codec::Codec,
        log::{Entry, StreamNames},
        peers::{NewPeers, Peers, Roster, past::Past},
        secrets::Agreement,
        sessions::RedisSessions,
    },
    config::{Config, OnMissed, OverLimit, Subscribe, WireProtocol},
    edge::Addresses,
    link::{
        client::Redis,
        rights::Rights,
        target::{Target, TargetError, Timeouts},
        whereabouts::Channels,
    },
    secret::SecretUrl,
    sockets::{
        adapter::Adapters,
        missed::Missed,
        node::Context,
        relay::{Relay, ServerSideHandlers},
    },
    users::{
        Directory, Here, Itself, MemoryDirectory, PresenceSink, Unknown, UserDirectory, UserLimit,
        UserSocket,
        redis::{RedisDirectory, RedisOptions, tries as directory_tries},
    },
};

/// The parts that a node of a cluster needs.
pub(super) struct ClusterParts {
    pub(super) peers: Option<Arc<Peers>>,
    pub(super) directory: Directory,
    /// The link for commands, and the commands that Redis refuses.
    pub(super) redis: Option<(Redis, Arc<Rights>)>,
    pub(super) meeting: Option<Meeting>,
}

/// How the nodes of a cluster find each other, and come to the same secrets.
pub(super) struct Meeting {
    pub(super) addresses: Arc<dyn Addresses>,
    /// The list from which they come, to be looked at all the time.
    listed: Option<Arc<Listed>>,
    publish: Box<dyn Fn(String) + Send + Sync>,
    /// Towards which the own address is looked for.
    target: Option<Target>,
    /// The secrets without `edge.secrets`: the first signs, all verify.
    pub(super) secrets: Vec<Vec<u8>>,
    /// Until the cluster is joined.
    agreement: Mutex<Option<Agreement>>,
    /// The nodes need not agree: `edge.secrets` are set.
    is_settled: CancellationToken,
}

impl Meeting {
    pub(super) fn end_agreement(&self) {
        self.is_settled.cancel();
    }
}

pub(super) struct NewClusterParts<'a> {
    pub(super) config: &'a Config,
    pub(super) itself: Itself,
    pub(super) local: Option<LocalCluster>,
    pub(super) presence: Option<PresenceSink>,
    pub(super) adapters: &'a Arc<Adapters>,
}

/// The sockets of this node. Empty once the node has ended.
struct OwnSockets(Weak<Adapters>);

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

impl ClusterParts {
    pub(super) fn new(new: NewClusterParts<'_>) -> Result<Self, BuildError> {
        let NewClusterParts { config, itself, local, presence, adapters } = new;
        let here = Arc::new(OwnSockets(Arc::downgrade(adapters)));
        let kind = Kind::from(config.redis.protocol);
        if let Some(local) = local {
            return Ok(Self::in_process(config, kind, itself, &local, presence, here));
        }
        match &config.redis.url {
            Some(url) => Self::on_redis(config, kind, itself, url, presence, here),
            None => {
                let users = &config.users;
                let directory = MemoryDirectory::new(itself, users.offline_after, presence);
                let directory = Directory::shared(limit(config), Arc::new(directory), here);
                Ok(Self { peers: None, directory, redis: None, meeting: None })
            }
        }
    }

    fn in_process(
        config: &Config,
        kind: Kind,
        itself: Itself,
        local: &LocalCluster,
        presence: Option<PresenceSink>,
        here: Arc<dyn Here>,
    ) -> Self {
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
        let peers = new_peers(config, kind, node, Arc::new(broker), roster, None, None);
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
            target: None,
            secrets: vec![secret.clone()],
            agreement: Mutex::default(),
            is_settled: CancellationToken::new(),
        };
        Self { peers: Some(peers), directory, redis: None, meeting: Some(meeting) }
    }

    fn on_redis(
        config: &Config,
        kind: Kind,
        itself: Itself,
        url: &SecretUrl,
        presence: Option<PresenceSink>,
        here: Arc<dyn Here>,
    ) -> Result<Self, BuildError> {
        let target =
            target(config, kind, url).map_err(|error| BuildError::Redis(Box::new(error)))?;
        let redis = Redis::new(target.clone());
        let place = target.clone();
        let (broker, rights) = redis_broker(target, config, kind, true);
        let node = itself.incarnation.clone();
        let options = RedisOptions {
            itself,
            lease: RedisOptions::LEASE,
            offline_after: config.users.offline_after,
            patience: config.redis.request_timeout,
            rights: Some(rights.clone()),
            presence,
            key_prefix: config.redis.key_prefix.clone(),
            limit: limit(config),
            here: here.clone(),
        };
        let directory: Arc<dyn UserDirectory> =
            Arc::new(RedisDirectory::start(Arc::new(redis.clone()), options));
        let nodes = directory.clone();
        let roster: Roster = Arc::new(move || {
            let nodes = nodes.clone();
            Box::pin(async move {
                let nodes = nodes.nodes().await.map_err(|Unknown| Disconnected)?;
                Ok(nodes.into_iter().map(|node| (wire_id(&node.incarnation), node.id)).collect())
            })
        });
        let past = streams(config, true).map(|streams| Past {
            redis: redis.clone(),
            names: streams.names,
            patience: config.redis.request_timeout,
        });
        let (broker, allowed) = (Arc::new(broker), Some(rights.clone()));
        let peers = new_peers(config, kind, node, broker, roster, allowed, past);
        peers.listen_to_nodes();
        let directory = Directory::shared(limit(config), directory, here);
        let agreement = Agreement::new(&config.redis.key_prefix, config.redis.request_timeout);
        let listed = Arc::new(Listed::new(directory.clone()));
        let published = directory.clone();
        let meeting = Meeting {
            addresses: listed.clone(),
            listed: Some(listed),
            publish: Box::new(move |address| published.publish(address)),
            target: Some(place),
            secrets: agreement.secrets(),
            agreement: Mutex::new(config.edge.secrets.is_empty().then_some(agreement)),
            is_settled: CancellationToken::new(),
        };
        let (redis, meeting) = (Some((redis, rights)), Some(meeting));
        Ok(Self { peers: Some(peers), directory, redis, meeting })
    }
}

/// The Redis of a configuration, and its expected kind.
pub(super) fn target(config: &Config, kind: Kind, url: &SecretUrl) -> Result<Target, TargetError> {
    let redis = &config.redis;
    let timeouts = Timeouts { request: redis.request_timeout, silence: redis.silence_timeout };
    let sharded = kind == Kind::Sharded;
    let channels = Channels { prefix: redis.key_prefix.clone(), sharded };
    let target = Target::parse(url, &redis.files())?;
    match target.problems().into_iter().next() {
        Some(problem) => Err(problem.into()),
        None => Ok(target.with_timeouts(timeouts).with_channels(channels)),
    }
}

/// `reads`: whether the broker hears others. An emitter does not.
pub(super) fn redis_broker(
    target: Target,
    config: &Config,
    kind: Kind,
    reads: bool,
) -> (RedisBroker, Arc<Rights>) {
    let rights = Arc::new(Rights::new(target.user(), target.address()));
    let max = usize::try_from(config.redis.pending_max).unwrap_or(usize::MAX);
    let pending = Pending { max, age: config.redis.pending_age };
    let streams = streams(config, reads);
    (RedisBroker::new(target, kind, rights.clone(), pending, streams), rights)
}

/// The streams of a configuration, if its protocol has them.
fn streams(config: &Config, reads: bool) -> Option<StreamSettings> {
    let redis = &config.redis;
    (redis.protocol == WireProtocol::Streams).then(|| StreamSettings {
        names: StreamNames::new(&redis.stream_name, redis.stream_count),
        max_len: redis.stream_max_len,
        ordered: reads && config.recovery.enabled,
        reads,
    })
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

/// A node's name in messages. A node that was taken for dead gets a new incarnation from the
/// directory, marked by a tilde. Its name in messages stays the same.
fn wire_id(incarnation: &str) -> String {
    incarnation.split('~').next().unwrap_or_default().to_owned()
}

fn limit(config: &Config) -> UserLimit {
    UserLimit {
        max_sockets: config.users.max_sockets,
        disconnect_oldest: config.users.over_limit == OverLimit::DisconnectOldest,
    }
}

pub(super) fn new_peers(
    config: &Config,
    kind: Kind,
    node: String,
    broker: Arc<dyn Broker>,
    roster: Roster,
    rights: Option<Arc<Rights>>,
    past: Option<Past>,
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
        rights,
        past,
    }))
}

/// Makes the handler for messages of other nodes. The server keeps it.
pub(super) fn relay(
    peers: &Arc<Peers>,
    adapters: &Arc<Adapters>,
    context: &Arc<Context>,
    config: &Config,
    handlers: Vec<(String, ServerSideHandlers)>,
) -> Arc<Relay> {
    let mut router = matchit::Router::new();
    for (path, handlers) in handlers {
        // Adding the gateway refuses a path that does not parse.
        let _ = router.insert(path, handlers);
    }
    let (adapters, peers, context) = (adapters.clone(), peers.clone(), context.clone());
    let is_ignored = config.redis.missed == OnMissed::Ignore;
    let missed = Missed::new(adapters.clone(), peers.clone(), context.clone(), is_ignored);
    Arc::new(Relay::new(adapters, peers, context, missed, router))
}

impl Switchboard {
    /// Makes the link to the other nodes, once. After a failure it may be tried again.
    pub(super) async fn join_cluster(&self) -> Result<(), ServeError> {
        let inner = &*self.0;
        let (Some(peers), Some(relay)) = (&inner.peers, &inner.relay) else { return Ok(()) };
        inner.joined.get_or_try_init(|| self.make_link(peers, relay)).await.copied()?;
        inner.edge.set_starting(false);
        Ok(())
    }

    async fn make_link(&self, peers: &Arc<Peers>, relay: &Arc<Relay>) -> Result<(), ServeError> {
        let inner = &*self.0;
        let context = &inner.context;
        let missed = relay.missed().clone();
        let relay = Arc::downgrade(relay);
        let inbound = Arc::new(ToRelay(relay));
        // This comes first. If the second start fails and both are tried again, this one changes
        // nothing.
        peers.broker().start(inbound, inner.wait_for_redis).await?;
        if let Some((redis, rights)) = &inner.redis {
            redis.start(inner.wait_for_redis).await?;
            let (redis, rights) = (redis.clone(), rights.clone());
            let settings = &inner.config.redis;
            let mut tries = Kind::from(settings.protocol).tries(&settings.key_prefix);
            tries.extend(streams(&inner.config, true).iter().flat_map(StreamSettings::tries));
            if context.recovery().is_some_and(|recovery| recovery.roaming().is_some()) {
                tries.extend(RedisSessions::tries(&settings.session_prefix));
            }
            tries.extend(directory_tries(&inner.config.redis.key_prefix));
            let (stop, patience) = (context.stop.clone(), inner.config.redis.request_timeout);
            context.tasks.spawn(async move {
                let watching = rights.watch(|| redis.commands(), &tries, patience);
                stop.run_until_cancelled(watching).await
            });
        }
        self.meet().await;
        let interest = inner.adapters.clone().look_after_interest(context.clone());
        context.tasks.spawn(interest);
        let (stop, members) = (context.stop.clone(), peers.clone().keep_members());
        context.tasks.spawn(async move { stop.run_until_cancelled(members).await });
        let (stop, gaps) = (context.stop.clone(), missed.clone().look_after_gaps());
        context.tasks.spawn(async move { stop.run_until_cancelled(gaps).await });
        let (stop, told) = (context.stop.clone(), missed.look_after_what_is_told());
        context.tasks.spawn(async move { stop.run_until_cancelled(told).await });
        Ok(())
    }

    /// Looks for the other nodes from now on. Agrees with them on the secrets of session ids, before
    /// there is any, and keeps the agreement.
    async fn meet(&self) {
        let inner = &*self.0;
        let (Some(meeting), Some((redis, _))) = (&inner.meeting, &inner.redis) else { return };
        if let Some(listed) = meeting.listed.clone() {
            let stop = inner.context.stop.clone();
            inner.context.tasks.spawn(async move { stop.run_until_cancelled(listed.keep()).await });
        }
        let Some(mut agreement) = meeting.agreement.lock().take() else { return };
        if agreement.agree(redis.commands()).await {
            inner.edge.set_secrets(&agreement.secrets());
        }
        let (redis, stop, settled) =
            (redis.clone(), inner.context.stop.clone(), meeting.is_settled.clone());
        let edge = Arc::downgrade(&inner.edge);
        inner.context.tasks.spawn(async move {
            let changed = |secrets: Vec<Vec<u8>>| {
                if let Some(edge) = edge.upgrade() {
                    edge.set_secrets(&secrets);
                }
            };
            let keeping = settled.run_until_cancelled(agreement.keep(|| redis.commands(), changed));
            stop.run_until_cancelled(keeping).await
        });
    }

    /// Publishes the address by which other nodes reach this one. Ends when that is done.
    pub(super) async fn publish_address(&self, listens: SocketAddr, tls: bool) {
        let inner = &*self.0;
        let (Some(meeting), Some(hop)) = (&inner.meeting, inner.edge.hop()) else { return };
        let advertised = Advertised {
            given: inner.config.edge.advertise.clone(),
            listens,
            tls,
            redis: meeting.target.clone(),
        };
        advertised.publish(hop, &meeting.publish).await;
    }

    /// Leaves the cluster: the node is no longer counted or listed.
    pub(super) async fn leave_cluster(&self) {
        if let Some(peers) = &self.0.peers {
            peers.broker().stop().await;
        }
        self.0.directory.close().await;
        if let Some((redis, _)) = &self.0.redis {
            redis.stop();
        }
    }
}
