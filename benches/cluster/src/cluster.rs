//! A Redis and the nodes on it, each a process of its own.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Result,
    process::{self, Server, Spec},
};

pub(crate) struct Cluster {
    // Before Redis, so that no node is left to look for it.
    nodes: Vec<Server>,
    redis: Redis,
}

/// CPU time so far.
#[derive(Clone)]
pub(crate) struct Cpu {
    pub(crate) nodes: Vec<Duration>,
    pub(crate) redis: Duration,
}

impl Cluster {
    pub(crate) fn start(spec: &Spec, nodes: usize) -> Result<Self> {
        let redis = Redis::start()?;
        let mut spec = spec.clone();
        spec.variables.push(("REDIS_URL".to_owned(), format!("redis://{}", redis.address)));
        let nodes = (0..nodes).map(|_| Server::start(&spec)).collect::<Result<_>>()?;
        Ok(Self { nodes, redis })
    }

    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address
    }

    pub(crate) fn cpu(&self) -> Result<Cpu> {
        Ok(Cpu {
            nodes: self.nodes.iter().map(Server::cpu).collect::<Result<_>>()?,
            redis: process::cpu(&self.redis.child.id().to_string())?,
        })
    }
}

struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Redis {
    fn start() -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            // A node that falls behind in a closed loop is to be seen in the figures, not cut off.
            .args(["--client-output-buffer-limit", "pubsub 0 0 0"])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start redis-server: {error}"))?;
        let mut redis = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = redis.child.try_wait()? {
                return Err(format!("redis-server ended at once: {status}").into());
            }
            if Instant::now() > deadline {
                return Err("redis-server does not listen".into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
