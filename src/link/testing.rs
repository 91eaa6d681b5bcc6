//! Real Redis servers for tests: started on a free port in a directory of their own, ended when
//! dropped.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::{mpsc, watch},
};

use super::{
    commands::Commands,
    target::{Target, Timeouts},
    tls::TlsFiles,
};
use crate::secret::SecretUrl;

/// Longest wait of a test for an expected state.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// One redis-server, or redis-sentinel.
pub(crate) struct Server {
    program: &'static str,
    child: Child,
    pub(crate) port: u16,
    pub(crate) dir: PathBuf,
    args: Vec<String>,
}

impl Server {
    /// An empty one without persistence.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further arguments, such as `["--requirepass", "pw"]`; `{dir}` is its directory.
    pub(crate) async fn with(args: &[&str]) -> Self {
        let port = free_port();
        let dir = temp_dir(port);
        let port_text = port.to_string();
        let dir_text = dir.display().to_string();
        let base = [
            "--port",
            &port_text,
            "--bind",
            "127.0.0.1",
            "--dir",
            &dir_text,
            "--save",
            "",
            "--loglevel",
            "warning",
        ];
        let args =
            base.iter().chain(args).map(|arg| arg.replace("{dir}", &dir_text)).collect::<Vec<_>>();
        Self::run("redis-server", port, dir, args).await
    }

    /// A Sentinel that watches `master` under the name `main`.
    pub(crate) async fn sentinel(master: &Self) -> Self {
        let port = free_port();
        let dir = temp_dir(port);
        let config = dir.join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {dir}\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
            master.port,
            dir = dir.display()
        );
        fs::write(&config, text).unwrap();
        Self::run("redis-sentinel", port, dir, vec![config.display().to_string()]).await
    }

    async fn run(program: &'static str, port: u16, dir: PathBuf, args: Vec<String>) -> Self {
        let child = spawn(program, &args);
        let mut server = Self { program, child, port, dir, args };
        server.answers().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn target(&self) -> Target {
        target(&self.url())
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.program, &self.args);
        self.answers().await;
    }

    /// Stops it as a debugger does: connections stay, and there are no answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// A new connection, once it answers.
    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let start = Instant::now();
        loop {
            match self.connect().await {
                Ok(connection) => return connection,
                Err(error) => assert!(start.elapsed() < DEADLINE, "Redis does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A connection, whatever kind of server it is.
    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let target = self.target();
        target.connect_node("127.0.0.1", self.port, &target.config()).await
    }

    /// A new connection for commands with an answer.
    pub(crate) async fn commands(&self) -> Commands {
        Commands::single(self.connection().await)
    }

    /// Runs one command, without a login.
    pub(crate) async fn command(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let mut connection = self.connect().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query_async(&mut connection).await
    }

    /// Waits until it answers, and checks that this very process does.
    async fn answers(&mut self) {
        until("Redis listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        })
        .await;
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{} on port {} has ended: {ended:?}", self.program, self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The network between a node and Redis, which can be slow and stand still.
pub(crate) struct Network {
    pub(crate) port: u16,
    state: watch::Sender<Way>,
}

#[derive(Clone, Copy, Default)]
struct Way {
    to: u16,
    delay: Duration,
    stalled: bool,
}

impl Network {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(Way { to: port, ..Way::default() });
        let way = state.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = way.borrow().to;
                let Ok(server) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await else {
                    continue;
                };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, to_server, way.clone()));
                tokio::spawn(carry(from_server, to_client, way.clone()));
            }
        });
        Self { port: own, state }
    }

    /// New connections go to this port from now on. Open ones stay where they are.
    pub(crate) fn point_to(&self, port: u16) {
        self.state.send_modify(|way| way.to = port);
    }

    /// A round trip takes this long from now on.
    pub(crate) fn delay(&self, round_trip: Duration) {
        self.state.send_modify(|way| way.delay = round_trip / 2);
    }

    /// Carries nothing any more, without closing connections.
    pub(crate) fn stall(&self) {
        self.state.send_modify(|way| way.stalled = true);
    }

    /// Carries again, the held-back bytes first.
    pub(crate) fn flow(&self) {
        self.state.send_modify(|way| way.stalled = false);
    }
}

/// Carries one direction: each piece arrives its delay later, in order.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let (sender, mut pieces) = mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(1024);
    let read_way = way.clone();
    let reading = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let due = tokio::time::Instant::now() + read_way.borrow().delay;
            if sender.send((due, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if way.wait_for(|way| !way.stalled).await.is_err()
                || to.write_all(&piece).await.is_err()
            {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

/// Three masters that share the slots.
pub(crate) async fn cluster() -> [Server; 3] {
    let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let nodes = [Server::with(&args).await, Server::with(&args).await, Server::with(&args).await];
    for (node, epoch) in nodes.iter().zip(["1", "2", "3"]) {
        // As `redis-cli --cluster create` does: masters of one epoch would settle later which is above.
        node.command(&["CLUSTER", "SET-CONFIG-EPOCH", epoch]).await.unwrap();
    }
    for (node, (first, last)) in nodes.iter().zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
        let range = [first.to_string(), last.to_string()];
        node.command(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]).await.unwrap();
        let port = nodes[0].port.to_string();
        node.command(&["CLUSTER", "MEET", "127.0.0.1", &port]).await.unwrap();
    }
    for node in &nodes {
        until("the cluster is whole", async || {
            let info = node.command(&["CLUSTER", "INFO"]).await.unwrap();
            let info: String = redis::from_redis_value(info).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
        .await;
    }
    nodes
}

/// Moves a slot from the last of [`cluster`]'s nodes to the first, as `redis-cli --cluster reshard`
/// does. A pause lies before each node that is told.
///
/// The first node imports the slot, so that its epoch rises when it takes it. Otherwise a word of
/// the last one, which is not told yet, could take it back for good.
pub(crate) async fn move_slot([first, second, last]: &[Server; 3], slot: &str, pause: Duration) {
    let new = my_id(first).await;
    let old = my_id(last).await;
    first.command(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &old]).await.unwrap();
    last.command(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &new]).await.unwrap();
    for node in [first, last, second] {
        tokio::time::sleep(pause).await;
        node.command(&["CLUSTER", "SETSLOT", slot, "NODE", &new]).await.unwrap();
    }
}

/// What the other nodes of its cluster call it.
async fn my_id(node: &Server) -> String {
    let id = node.command(&["CLUSTER", "MYID"]).await.unwrap();
    redis::from_redis_value(id).unwrap()
}

pub(crate) fn target(url: &str) -> Target {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts { request: second * 2, silence: second * 2 };
    Target::parse(&SecretUrl::new(url), &TlsFiles::default()).unwrap().with_timeouts(timeouts)
}

/// Takes the last of [`cluster`]'s nodes out of it, as `redis-cli --cluster` does by `reshard` and
/// `del-node`. The node itself goes on.
pub(crate) async fn remove_last([first, second, last]: &[Server; 3]) {
    last.command(&["CLUSTER", "DELSLOTSRANGE", "10923", "16383"]).await.unwrap();
    for node in [first, second] {
        let _ = node.command(&["CLUSTER", "DELSLOTSRANGE", "10923", "16383"]).await;
    }
    first.command(&["CLUSTER", "ADDSLOTSRANGE", "10923", "16383"]).await.unwrap();
    let id = my_id(last).await;
    for node in [first, second] {
        node.command(&["CLUSTER", "FORGET", &id]).await.unwrap();
    }
    // the directory's keys would have been moved
    last.command(&["FLUSHALL"]).await.unwrap();
    last.command(&["CLUSTER", "RESET"]).await.unwrap();
}

/// Waits until `condition` holds; panics after [`DEADLINE`].
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn free_port() -> u16 {
    /// Two tests that looked at the same moment would find the same port free.
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new(rand::RngExt::random(&mut rand::rng())));
    // below the ephemeral ports a cluster node needs port + 10000, too
    loop {
        let port = 15_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 7_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}

fn temp_dir(port: u16) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("switchboard-{}-{port}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn spawn(program: &str, args: &[String]) -> Child {
    let path = Path::new("/usr/bin").join(program);
    let command = if path.exists() { path } else { program.into() };
    Command::new(command)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed; `make test` installs it")
}
