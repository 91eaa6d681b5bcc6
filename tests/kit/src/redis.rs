//! Real Redis servers: each a process on a free port in a directory of its own, ended when dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::{AsyncConnectionConfig, FromRedisValue, RedisResult, Value};

use crate::{ports::free_port, waiting::until};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// One redis-server, or redis-sentinel.
pub struct RedisServer {
    program: &'static str,
    child: Child,
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    /// Its working directory.
    pub dir: PathBuf,
    args: Vec<String>,
}

impl RedisServer {
    /// An empty one without persistence.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further arguments, such as `["--requirepass", "pw"]`; `{dir}` is its directory.
    pub async fn with(args: &[&str]) -> Self {
        Self::run("redis-server", |port, dir| {
            let port = port.to_string();
            let base = ["--port", &port, "--bind", "127.0.0.1", "--dir", dir];
            let quiet = ["--save", "", "--appendonly", "no", "--loglevel", "warning"];
            let all = base.iter().chain(&quiet).chain(args);
            all.map(|arg| arg.replace("{dir}", dir)).collect()
        })
        .await
    }

    /// A Sentinel that watches `master` under the name `main`.
    pub async fn sentinel(master: &Self) -> Self {
        Self::run("redis-sentinel", |port, dir| {
            let config = format!("{dir}/sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {dir}\n\
                 sentinel monitor main 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
                master.port,
            );
            fs::write(&config, text).expect("a file in a directory of our own");
            vec![config]
        })
        .await
    }

    /// Starts the program with the arguments that `args` gives for a port and a directory. A port that
    /// was free may be taken when the program asks for it: then another one is tried.
    async fn run(program: &'static str, args: impl Fn(u16, &str) -> Vec<String>) -> Self {
        for _ in 0..10 {
            let port = free_port();
            let name = format!("switchboard-{}-{port}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir_all(&dir).expect("a directory for temporary files");
            let args = args(port, &dir.display().to_string());
            let child = spawn(program, &args);
            let mut server = Self { program, child, port, dir, args };
            if server.listens().await {
                return server;
            }
        }
        panic!("{program} ends at once, whatever its port is");
    }

    /// How programs call it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    /// Starts it again at the same place, empty.
    pub async fn restart(&mut self) {
        self.child = spawn(self.program, &self.args);
        assert!(self.listens().await, "{} on port {} ends at once", self.program, self.port);
    }

    /// Stops it as a debugger does: connections stay, and there are no answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Runs one command, without a login.
    ///
    /// # Errors
    /// If Redis does not answer, or answers with one.
    pub async fn command(&self, words: &[&str]) -> RedisResult<Value> {
        let client = redis::Client::open(self.url())?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
    }

    /// What it answers to one command.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let value = self.command(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        redis::from_redis_value(value).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Waits until it accepts connections; false if it has ended.
    async fn listens(&mut self) -> bool {
        let mut ended = false;
        until("Redis listens", async || {
            ended = self.child.try_wait().expect("it is ours").is_some();
            ended || tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        })
        .await;
        // Whoever listens may be another one, on whose port it could not listen.
        !ended && self.child.try_wait().expect("it is ours").is_none()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
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
