//! A Redis and the nodes on it, each a process of its own.

use std::{net::SocketAddr, process::Command, time::Duration};

use bench_support::{process::Listening, result::Result, server::Spec};

pub(crate) struct Nodes {
    // Before Redis, so that no node is left to look for it.
    nodes: Vec<Listening>,
    redis: Listening,
}

/// CPU time so far.
pub(crate) struct Cpu {
    pub(crate) nodes: Vec<Duration>,
    pub(crate) redis: Duration,
}

impl Nodes {
    pub(crate) fn start(spec: &Spec, nodes: usize) -> Result<Self> {
        let redis = Listening::start("redis-server", redis)?;
        let mut spec = spec.clone();
        spec.variables.push(("REDIS_URL".to_owned(), format!("redis://{}", redis.address())));
        let nodes = (0..nodes).map(|_| spec.start()).collect::<Result<_>>()?;
        Ok(Self { nodes, redis })
    }

    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address()
    }

    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let nodes = self.nodes.iter().map(Listening::cpu).collect::<Result<_>>()?;
        Ok(Cpu { nodes, redis: self.redis.cpu()? })
    }
}

fn redis(address: SocketAddr) -> Command {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        // A node that falls behind in a closed loop is to be seen in the figures, not cut off.
        .args(["--client-output-buffer-limit", "pubsub 0 0 0"])
        .current_dir(std::env::temp_dir());
    command
}
