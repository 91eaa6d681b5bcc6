//! Real Redis servers for tests: each on a free port, with a directory of its own, gone when dropped.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use redis::{Client, aio::MultiplexedConnection, cluster::ClusterClientBuilder};

use crate::{
    directory::conformance::{DEADLINE, until},
    redis::commands::Commands,
};

/// A `redis-server`.
pub(super) struct RedisServer {
    process: Child,
    directory: PathBuf,
    pub(super) port: u16,
    is_cluster: bool,
}

fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        // A node of a Redis Cluster needs the port 10000 above, too.
        if port < 50_000 {
            return port;
        }
        drop(listener);
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl RedisServer {
    /// Starts one and waits until it answers.
    pub(super) async fn start() -> Self {
        Self::start_with(false).await
    }

    async fn start_with(is_cluster: bool) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("switchboard-redis-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let port = free_port();
        let process = spawn(port, &directory, is_cluster);
        let server = Self { process, directory, port, is_cluster };
        server.connection().await;
        server
    }

    /// Kills it and starts an empty one in its place.
    pub(super) async fn restart(&mut self) {
        self.kill();
        self.process = spawn(self.port, &self.directory, self.is_cluster);
        self.connection().await;
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// A new connection.
    pub(super) async fn connection(&self) -> MultiplexedConnection {
        let client = Client::open(("127.0.0.1", self.port)).expect("an address");
        let start = Instant::now();
        loop {
            if let Ok(connection) = client.get_multiplexed_async_connection().await {
                return connection;
            }
            assert!(start.elapsed() < DEADLINE, "redis-server does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn commands(&self) -> Commands {
        Commands::Single(self.connection().await)
    }
}

fn spawn(port: u16, directory: &PathBuf, is_cluster: bool) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "no", "--daemonize", "no"]);
    if is_cluster {
        command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
    }
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("redis-server is installed")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A Redis Cluster of three masters.
pub(super) struct RedisCluster(pub(super) Vec<RedisServer>);

impl RedisCluster {
    /// Starts it and waits until it serves all slots.
    pub(super) async fn start() -> Self {
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(RedisServer::start_with(true).await);
        }
        let mut connections = Vec::new();
        for server in &servers {
            connections.push(server.connection().await);
        }
        for (at, connection) in connections.iter_mut().enumerate() {
            let (from, to) = (at * 16384 / 3, (at + 1) * 16384 / 3 - 1);
            let mut slots = redis::cmd("CLUSTER");
            slots.arg("ADDSLOTSRANGE").arg(from).arg(to);
            slots.query_async::<()>(connection).await.expect("slots");
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(servers[0].port);
            meet.query_async::<()>(connection).await.expect("a meeting");
        }
        for connection in &mut connections {
            until("the cluster serves", async || {
                let mut info = redis::cmd("CLUSTER");
                let info: String =
                    info.arg("INFO").query_async(connection).await.expect("an answer");
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
            .await;
        }
        Self(servers)
    }

    pub(super) async fn commands(&self) -> Commands {
        let seeds = self.0.iter().map(|server| format!("redis://127.0.0.1:{}", server.port));
        let client = ClusterClientBuilder::new(seeds).build().expect("addresses");
        Commands::Cluster(client.get_async_connection().await.expect("a connection"))
    }
}
