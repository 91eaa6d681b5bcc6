//! Real Postgres servers: each on a free port in a directory of its own, ended and removed when dropped,
//! and when the test's process ends, however that happens.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::ports::free_port;

/// One Postgres server.
pub struct PostgresServer {
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    guardian: Mutex<Guardian>,
}

/// `postgres.sh`, which does the work, and cleans up when nobody holds its standard input any more.
struct Guardian {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl PostgresServer {
    /// An empty one, for a test that ends or restarts it. All others share [one](Self::shared).
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With settings, such as `["max_connections=10"]`. `tls=FOLDER` makes it speak TLS with `cert.pem`
    /// and `key.pem` of that folder.
    pub fn with(settings: &[&str]) -> Self {
        Self::run("start", settings)
    }

    /// A standby of another one, which replicates it.
    pub fn standby_of(primary: &Self) -> Self {
        Self::run(&format!("follow {}", primary.port), &[])
    }

    /// The one of this process, for tests that leave it alone. Each takes a
    /// [database](Self::database) of its own.
    pub fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<PostgresServer>> =
            LazyLock::new(|| Arc::new(PostgresServer::start()));
        SHARED.clone()
    }

    fn run(first: &str, settings: &[&str]) -> Self {
        let mut said = String::new();
        // A port that was free may be taken when Postgres asks for it.
        for _ in 0..5 {
            let port = free_port();
            let name = format!("switchboard-pg-{}-{port}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres.sh");
            let mut process = Command::new(script)
                .arg(dir)
                .arg(port.to_string())
                .args(settings)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("the script is there");
            let commands = process.stdin.take();
            let answers = BufReader::new(process.stdout.take().expect("it is piped"));
            let server = Self { port, guardian: Guardian { process, commands, answers }.into() };
            match server.try_tell(first) {
                Ok(()) => return server,
                Err(why) => said = why,
            }
        }
        panic!("Postgres does not start; `make test` installs it: {said}");
    }

    /// The URL of its first database, as the superuser.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of a new, empty database.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let made = self.psql(&self.url(), &format!("CREATE DATABASE {name} STRATEGY file_copy"));
        made.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.url_of(&name)
    }

    /// What `psql` prints for some SQL, without a frame: a line for each row.
    ///
    /// # Errors
    /// What it complains of.
    pub fn psql(&self, url: &str, sql: &str) -> Result<String, String> {
        let ended = Command::new("psql")
            .args(["-XqtAc", sql, url])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("psql: {error}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if ended.status.success() { Ok(text(ended.stdout)) } else { Err(text(ended.stderr)) }
    }

    /// Ends it as a crash does. What was committed stays.
    pub fn kill(&self) {
        self.tell("stop");
    }

    /// Starts it again at the same place.
    pub fn restart(&self) {
        self.tell("start");
    }

    /// Makes a primary of a standby.
    pub fn promote(&self) {
        self.tell("promote");
    }

    /// Stops it as a debugger does: connections stay, and there are no answers.
    pub fn freeze(&self) {
        self.tell("freeze");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.tell("thaw");
    }

    fn tell(&self, command: &str) {
        self.try_tell(command).unwrap_or_else(|said| panic!("{command}: {said}"));
    }

    fn try_tell(&self, command: &str) -> Result<(), String> {
        let mut guardian = self.guardian.lock().unwrap_or_else(PoisonError::into_inner);
        let Guardian { commands, answers, .. } = &mut *guardian;
        let commands = commands.as_mut().expect("open until it is dropped");
        writeln!(commands, "{command}").map_err(|error| error.to_string())?;
        let mut answer = String::new();
        answers.read_line(&mut answer).map_err(|error| error.to_string())?;
        match answer.trim_end() {
            "ok" => Ok(()),
            other => Err(other.to_owned()),
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.process.wait();
    }
}
