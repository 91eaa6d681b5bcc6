//! What a server has to do with Redis: its link for commands, and a cluster over it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "admin")]
use super::remembered::{InRedis, Remembered};
use super::{
    addresses::Towards,
    error::BuildError,
    parts::{Meeting, NewParts, Parts, limit, new_peers, roster},
};
use crate::{
    cluster::{
        broker::{
            Carrier,
            redis::{Pending, RedisBroker, StreamSettings},
        },
        kind::Kind,
        log::StreamNames,
        peers::past::{Past, redis::Streams},
        secrets::Agreement,
        sessions::{RedisSessions, Sessions},
    },
    config::{Config, WireProtocol},
    link::{
        Link, LinkError,
        redis::{
            client::Redis,
            rights::Rights,
            target::{Target, TargetError, Timeouts},
            whereabouts::Channels,
        },
    },
    secret::SecretUrl,
    sockets::node::Node,
    users::{
        Directory, NewDirectory,
        redis::{RedisDirectory, RedisOptions, tries as directory_tries},
    },
};

/// The link for commands, and what depends on it.
#[derive(Clone)]
pub(crate) struct RedisLink {
    redis: Redis,
    rights: Arc<Rights>,
    /// Until the cluster is joined, and only without `edge.secrets`.
    agreement: Arc<Mutex<Option<Agreement>>>,
}

impl RedisLink {
    /// # Errors
    /// If it cannot be made at first. With `wait` that is mended.
    pub(super) async fn start(&self, wait: bool) -> Result<(), LinkError> {
        self.redis.start(wait).await
    }

    pub(super) fn stop(&self) {
        self.redis.stop();
    }

    pub(super) fn is_down(&self) -> bool {
        *self.redis.link().borrow() == Link::Down
    }

    /// Why it is down. `None` while it is up.
    pub(super) fn reason(&self) -> Option<String> {
        self.redis.reason()
    }

    /// Looks from now on whether all commands are allowed.
    pub(super) fn watch_rights(&self, config: &Config, node: &Arc<Node>) {
        let (redis, rights) = (self.redis.clone(), self.rights.clone());
        let settings = &config.redis;
        let mut tries = Kind::from(settings.protocol).tries(&settings.key_prefix);
        tries.extend(streams(config, true).iter().flat_map(StreamSettings::tries));
        if node.recovery().is_some_and(|recovery| recovery.roaming().is_some()) {
            tries.extend(RedisSessions::tries(&settings.session_prefix));
        }
        tries.extend(directory_tries(&settings.key_prefix));
        let (stop, patience) = (node.stop.clone(), settings.request_timeout);
        node.tasks.spawn(async move {
            let watching = rights.watch(|| redis.commands(), &tries, patience);
            stop.run_until_cancelled(watching).await
        });
    }

    /// Agrees with the other nodes on the secrets of session ids, before there is any, and keeps
    /// the agreement until it is settled otherwise.
    pub(super) async fn agree(
        &self,
        node: &Node,
        is_settled: &CancellationToken,
        changed: impl Fn(&[Vec<u8>]) + Send + Sync + 'static,
    ) {
        let Some(mut agreement) = self.agreement.lock().take() else { return };
        if agreement.agree(self.redis.commands()).await {
            changed(&agreement.secrets());
        }
        let (redis, stop, settled) = (self.redis.clone(), node.stop.clone(), is_settled.clone());
        node.tasks.spawn(async move {
            let changed = |secrets: Vec<Vec<u8>>| changed(&secrets);
            let keeping = settled.run_until_cancelled(agreement.keep(|| redis.commands(), changed));
            stop.run_until_cancelled(keeping).await
        });
    }

    /// The answers of the admin API that are in Redis.
    #[cfg(feature = "admin")]
    pub(super) fn remembered(&self, config: &Config) -> Remembered {
        let redis = &config.redis;
        let link = self.redis.clone();
        Remembered::InRedis(InRedis::new(link, &redis.key_prefix, redis.request_timeout))
    }

    /// The sessions that are in Redis. `None`: only with streams are they there.
    pub(super) fn sessions(&self, config: &Config) -> Option<Arc<dyn Sessions>> {
        let redis = &config.redis;
        (redis.protocol == WireProtocol::Streams).then(|| {
            let link = self.redis.clone();
            Arc::new(RedisSessions::new(link, &redis.session_prefix, redis.request_timeout)) as _
        })
    }
}

/// The parts of a node of a cluster over Redis.
///
/// # Errors
/// If the URL, or a file that it names, cannot be used.
pub(super) fn parts(
    new: NewParts<'_>,
    url: &SecretUrl,
    directory: Option<NewDirectory>,
) -> Result<(Parts, RedisLink), BuildError> {
    let NewParts { config, itself, presence, here } = new;
    let kind = Kind::from(config.redis.protocol);
    let target = target(config, kind, url).map_err(|error| BuildError::Redis(Box::new(error)))?;
    let redis = Redis::new(target.clone());
    let place = target.clone();
    let (broker, rights) = broker(target, config, kind, true);
    let node = itself.incarnation.clone();
    let grace = config.users.offline_after;
    let directory = match directory {
        Some(directory) => directory(itself, presence, here.clone(), grace),
        None => {
            let options = RedisOptions {
                itself,
                lease: RedisOptions::LEASE,
                offline_after: grace,
                patience: config.redis.request_timeout,
                rights: Some(rights.clone()),
                presence,
                key_prefix: config.redis.key_prefix.clone(),
                limit: limit(config),
                here: here.clone(),
            };
            Arc::new(RedisDirectory::start(Arc::new(redis.clone()), options))
        }
    };
    let roster = roster(&directory);
    let past = streams(config, true).map(|streams| {
        let (redis, patience) = (redis.clone(), config.redis.request_timeout);
        Arc::new(Streams { redis, names: streams.names, patience }) as Arc<dyn Past>
    });
    let peers = new_peers(config, kind, node, Arc::new(broker), roster, past);
    peers.listen_to_nodes();
    let directory = Directory::shared(limit(config), directory, here);
    let agreement = Agreement::new(&config.redis.key_prefix, config.redis.request_timeout);
    let towards = Towards::Way(Arc::new(move || {
        let place = place.clone();
        Box::pin(async move { place.local_address().await })
    }));
    let meeting = Meeting::listed(&directory, agreement.secrets(), towards);
    let agreement = Mutex::new(config.edge.secrets.is_empty().then_some(agreement));
    let link = RedisLink { redis, rights, agreement: Arc::new(agreement) };
    Ok((Parts { peers, directory, meeting }, link))
}

/// A broker of somebody who only speaks.
///
/// # Errors
/// If the URL, or a file that it names, cannot be used.
pub(super) fn speaking(config: &Config, url: &SecretUrl) -> Result<Arc<dyn Carrier>, String> {
    let kind = Kind::from(config.redis.protocol);
    let target = target(config, kind, url).map_err(|error| error.to_string())?;
    Ok(Arc::new(broker(target, config, kind, false).0))
}

/// Whether `redis.url` names a Redis Cluster.
pub(super) fn is_cluster(config: &Config) -> bool {
    let target = config.redis.url.as_ref().map(|url| Target::parse(url, &config.redis.files()));
    target.is_some_and(|target| target.is_ok_and(|target| target.is_cluster()))
}

/// The faults of the files that the section names, each with the key to blame.
pub(super) fn file_problems(config: &Config) -> Vec<(&'static str, String)> {
    let Some(url) = &config.redis.url else { return Vec::new() };
    let Ok(target) = Target::parse(url, &config.redis.files()) else { return Vec::new() };
    let blame = |path| match &config.redis {
        redis if redis.ca_file.as_deref() == Some(path) => "redis.ca_file",
        redis if redis.cert_file.as_deref() == Some(path) => "redis.cert_file",
        redis if redis.key_file.as_deref() == Some(path) => "redis.key_file",
        _ => "redis.url",
    };
    target.problems().iter().map(|error| (blame(error.path()), error.to_string())).collect()
}

/// The Redis of a configuration, and its expected kind.
fn target(config: &Config, kind: Kind, url: &SecretUrl) -> Result<Target, TargetError> {
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
fn broker(target: Target, config: &Config, kind: Kind, reads: bool) -> (RedisBroker, Arc<Rights>) {
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
