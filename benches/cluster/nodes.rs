//! A Redis and the nodes on it, each a process of its own.

use std::{net::SocketAddr, time::Duration};

use bench_support::{proc, process::Listening, result::Result, server::Spec};
use test_kit::redis::RedisServer;

pub(crate) struct Nodes {
    // Before Redis, so that no node is left to look for it.
    nodes: Vec<Listening>,
    redis: RedisServer,
}

/// CPU time so far.
pub(crate) struct Cpu {
    pub(crate) nodes: Vec<Duration>,
    pub(crate) redis: Duration,
}

impl Nodes {
    pub(crate) fn start(spec: &Spec, nodes: usize) -> Result<Self> {
        // A node that falls behind in a closed loop is to be seen in the figures, not cut off.
        let unbounded = ["--client-output-buffer-limit", "pubsub 0 0 0"];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let redis = runtime.block_on(RedisServer::with(&unbounded));
        let mut spec = spec.clone();
        spec.variables.push(("REDIS_URL".to_owned(), redis.url()));
        let nodes = (0..nodes).map(|_| spec.start()).collect::<Result<_>>()?;
        Ok(Self { nodes, redis })
    }

    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address()
    }

    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let nodes = self.nodes.iter().map(Listening::cpu).collect::<Result<_>>()?;
        Ok(Cpu { nodes, redis: proc::cpu(&self.redis.id().to_string())? })
    }
}
