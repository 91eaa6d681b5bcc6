//! The listeners at the other nodes of a Redis Cluster. Some listen at a replica: the driver
//! `ioredis` takes any node, and a master may have become one.

use std::collections::HashMap;

use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{RedisResult, aio::MultiplexedConnection};
use tracing::debug;

use super::{super::Channel, slots::Slots};
use crate::link::redis::{ranges::Address, target::Target};

/// The nodes that we do not publish through, connected when they are asked. A silent node is
/// skipped, since its listeners do not hear us either.
pub(super) struct OtherNodes {
    target: Target,
    own: Address,
    connections: Mutex<HashMap<Address, MultiplexedConnection>>,
}

impl OtherNodes {
    pub(super) fn new(target: Target, own: Address) -> Self {
        Self { target, own, connections: Mutex::default() }
    }

    /// The counts of each node. The nodes come and go, so they are listed each time.
    pub(super) async fn count(
        &self,
        own: &MultiplexedConnection,
        channels: &[Channel],
    ) -> RedisResult<Vec<Vec<usize>>> {
        let mut nodes = Slots::read(&mut own.clone()).await?.nodes;
        nodes.retain(|node| *node != self.own);
        self.connections.lock().retain(|address, _| nodes.contains(address));
        let answers = join_all(nodes.iter().map(|node| self.ask(node, channels))).await;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn ask(&self, node: &Address, channels: &[Channel]) -> Option<Vec<usize>> {
        let known = self.connections.lock().get(node).cloned();
        if let Some(connection) = known
            && let Ok(counts) = count(connection, "NUMSUB", channels).await
        {
            return Some(counts);
        }
        let fresh = async {
            let (host, port) = node;
            let connection = self.target.connect_node(host, *port, &self.target.config()).await?;
            let counts = count(connection.clone(), "NUMSUB", channels).await?;
            self.connections.lock().insert(node.clone(), connection);
            RedisResult::Ok(counts)
        };
        fresh.await.inspect_err(|error| debug!(%error, "a node of the cluster is silent")).ok()
    }
}

/// Asks one node.
pub(super) async fn count(
    mut connection: MultiplexedConnection,
    question: &str,
    channels: &[Channel],
) -> RedisResult<Vec<usize>> {
    let mut command = redis::cmd("PUBSUB");
    command.arg(question);
    for channel in channels {
        command.arg(&**channel);
    }
    let counts: Vec<(Vec<u8>, usize)> = command.query_async(&mut connection).await?;
    Ok(counts.into_iter().map(|(_, count)| count).collect())
}
