//! The commands of publish and subscribe for each kind of Redis, on one connection.

use std::collections::HashMap;

use futures_util::future::{join_all, try_join_all};
use redis::{
    Cmd, FromRedisValue, Pipeline, RedisFuture, RedisResult, Value,
    aio::{AsyncPushSender, ConnectionLike},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
};

use super::{
    super::{Channel, LinkError, Topic},
    queue::Outgoing,
};
use crate::redis::{
    commands::Commands,
    target::{Target, connection_config},
};

/// A connection that publishes or listens.
#[derive(Clone)]
pub(super) struct Driver {
    connection: Commands,
    sharded: bool,
    /// All nodes of a Redis Cluster that is used without shards: each counts its own listeners.
    everywhere: Option<ClusterConnection>,
}

/// Whether shards can be used at all; Redis has them since version 7.
pub(super) async fn unfit_for_shards(target: &Target) -> Option<LinkError> {
    let mut connection = target.connect(&connection_config()).await.ok()?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await.ok()?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"))?.trim();
    let major: u32 = version.split('.').next()?.parse().ok()?;
    (major < 7).then(|| LinkError::Unfit {
        address: target.address(),
        reason: format!("redis.protocol = \"sharded\" needs Redis 7, it is {version}"),
    })
}

impl Driver {
    pub(super) async fn connect(
        target: &Target,
        push: impl AsyncPushSender,
        sharded: bool,
    ) -> RedisResult<Self> {
        // Without shards a cluster passes every message to every node by itself, and one order is
        // kept only by one connection to one node.
        if !(sharded && target.is_cluster()) {
            let connection =
                Commands::Single(target.connect(&connection_config().set_push_sender(push)).await?);
            let everywhere = match target.is_cluster() {
                true => match target.commands(&connection_config()).await? {
                    Commands::Cluster(all) => Some(all),
                    Commands::Single(_) => None,
                },
                false => None,
            };
            return Ok(Self { connection, sharded, everywhere });
        }
        let connection = Commands::Cluster(target.connect_cluster(push).await?);
        Ok(Self { connection, sharded, everywhere: None })
    }

    /// Publishes frames in their order, in one round trip.
    pub(super) async fn publish(&self, frames: Vec<Outgoing>) -> RedisResult<()> {
        let command = |(channel, frame): &Outgoing| {
            let mut command = redis::cmd(if self.sharded { "SPUBLISH" } else { "PUBLISH" });
            command.arg(&**channel).arg(frame.as_ref());
            command
        };
        match &self.connection {
            Commands::Single(connection) => {
                let mut connection = connection.clone();
                if let [frame] = frames.as_slice() {
                    return command(frame).query_async::<()>(&mut connection).await;
                }
                let mut pipeline = Pipeline::with_capacity(frames.len());
                for frame in &frames {
                    pipeline.add_command(command(frame)).ignore();
                }
                pipeline.query_async(&mut connection).await
            }
            Commands::Cluster(connection) => {
                // The channels are on different nodes, and the driver keeps no order between
                // commands: those of a channel go in one piece.
                let mut pieces: HashMap<&str, Pipeline> = HashMap::new();
                for frame in &frames {
                    let piece = pieces.entry(&*frame.0).or_default();
                    piece.add_command(command(frame)).ignore();
                }
                let asked = pieces.into_values().map(|piece| {
                    let mut connection = connection.clone();
                    async move { piece.query_async::<()>(&mut connection).await }
                });
                join_all(asked).await.into_iter().collect()
            }
        }
    }

    pub(super) async fn listen(&self, topics: &[Topic]) -> RedisResult<()> {
        let (channels, patterns) = split(topics);
        match &self.connection {
            Commands::Single(connection) => {
                let mut connection = connection.clone();
                if !channels.is_empty() && self.sharded {
                    one_by_one("SSUBSCRIBE", &channels).exec_async(&mut connection).await?;
                } else if !channels.is_empty() {
                    connection.subscribe(&channels).await?;
                }
                if !patterns.is_empty() {
                    connection.psubscribe(&patterns).await?;
                }
            }
            Commands::Cluster(connection) => {
                let asked = channels.into_iter().map(|channel| {
                    let mut connection = connection.clone();
                    async move { connection.ssubscribe(channel).await }
                });
                try_join_all(asked).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn unlisten(&self, topics: &[Topic]) -> RedisResult<()> {
        let (channels, patterns) = split(topics);
        match &self.connection {
            Commands::Single(connection) => {
                let mut connection = connection.clone();
                if !channels.is_empty() && self.sharded {
                    one_by_one("SUNSUBSCRIBE", &channels).exec_async(&mut connection).await?;
                } else if !channels.is_empty() {
                    connection.unsubscribe(&channels).await?;
                }
                if !patterns.is_empty() {
                    connection.punsubscribe(&patterns).await?;
                }
            }
            Commands::Cluster(connection) => {
                let asked = channels.into_iter().map(|channel| {
                    let mut connection = connection.clone();
                    async move { connection.sunsubscribe(channel).await }
                });
                try_join_all(asked).await?;
            }
        }
        Ok(())
    }

    /// How many connections listen to each channel by name.
    pub(super) async fn listeners(&self, channels: &[Channel]) -> RedisResult<Vec<usize>> {
        let mut command = redis::cmd("PUBSUB");
        command.arg(if self.sharded { "SHARDNUMSUB" } else { "NUMSUB" });
        channels.iter().for_each(|channel| _ = command.arg(&**channel));
        let everywhere = match (&self.everywhere, &self.connection) {
            (Some(all), _) | (None, Commands::Cluster(all)) => Some(all),
            (None, Commands::Single(_)) => None,
        };
        let Some(all) = everywhere else {
            let Commands::Single(connection) = &self.connection else { return Ok(Vec::new()) };
            let reply: Value = command.query_async(&mut connection.clone()).await?;
            return counts(&reply, channels.len());
        };
        let nodes = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllNodes, None));
        let replies = all.clone().route_command(command, nodes).await?;
        let mut sums = vec![0; channels.len()];
        for reply in each_node(&replies) {
            for (sum, count) in sums.iter_mut().zip(counts(reply, channels.len())?) {
                *sum += count;
            }
        }
        Ok(sums)
    }
}

/// A command for each channel, in one round trip: the connection of a single Redis knows how many
/// answers to expect of the sharded commands only if each names one.
fn one_by_one(command: &str, channels: &[&str]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(channels.len());
    for channel in channels {
        pipeline.cmd(command).arg(channel).ignore();
    }
    pipeline
}

/// The names of channels, and the patterns of prefixes.
fn split(topics: &[Topic]) -> (Vec<&str>, Vec<String>) {
    let (mut channels, mut patterns) = (Vec::new(), Vec::new());
    for topic in topics {
        match topic {
            Topic::Channel(channel) => channels.push(&**channel),
            Topic::Prefix(prefix) => patterns.push(format!("{}*", escaped(prefix))),
        }
    }
    (channels, patterns)
}

/// A name in a pattern that means itself (pitfall 16 of the wire specification).
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The reply is flat: a channel, its count, the next channel, its count.
fn counts(reply: &Value, channels: usize) -> RedisResult<Vec<usize>> {
    let flat: Vec<Value> = match reply {
        Value::Map(pairs) => pairs.iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect(),
        other => Vec::from_redis_value_ref(other)?,
    };
    let counts: Vec<usize> = flat
        .chunks_exact(2)
        .map(|pair| usize::from_redis_value_ref(&pair[1]))
        .collect::<Result<_, _>>()?;
    match counts.len() == channels {
        true => Ok(counts),
        false => Err((redis::ErrorKind::Client, "an unexpected answer to PUBSUB").into()),
    }
}

/// What a question to all nodes gave: one reply for each address.
fn each_node(replies: &Value) -> Vec<&Value> {
    match replies {
        Value::Map(pairs) => pairs.iter().map(|(_, reply)| reply).collect(),
        Value::Array(replies) => replies
            .iter()
            .map(|reply| match reply {
                Value::Array(pair) if pair.len() == 2 && matches!(pair[1], Value::Array(_)) => {
                    &pair[1]
                }
                other => other,
            })
            .collect(),
        _ => Vec::new(),
    }
}

// For the probe, which asks whether the connection is alive.
impl ConnectionLike for Driver {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.connection {
            Commands::Single(connection) => connection.req_packed_command(cmd),
            Commands::Cluster(connection) => Box::pin(async move {
                let any = cluster_any();
                connection.route_command(cmd.clone(), any).await
            }),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.connection {
            Commands::Single(connection) => connection.req_packed_commands(cmd, offset, count),
            Commands::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.connection {
            Commands::Single(connection) => connection.get_db(),
            Commands::Cluster(connection) => connection.get_db(),
        }
    }
}

fn cluster_any() -> RoutingInfo {
    RoutingInfo::SingleNode(redis::cluster_routing::SingleNodeRoutingInfo::Random)
}
