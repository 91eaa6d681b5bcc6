//! A real Redis for a test: its own process, on a free port, without persistence.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use super::until;

pub struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    pub async fn start() -> Self {
        // The port is free now and may be taken when Redis asks for it: then another one is tried.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut redis = Self { process: spawn(port), port };
            let mut running = true;
            until("Redis answers", async || {
                running = redis.process.try_wait().unwrap().is_none();
                !running || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            })
            .await;
            if running {
                return redis;
            }
        }
        panic!("no free port for Redis");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again at the same place, empty.
    pub fn restart(&mut self) {
        self.process = spawn(self.port);
    }

    /// Stops it in the middle of whatever it does, or lets it go on.
    pub fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn spawn(port: u16) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"])
        .args(["--bind", "127.0.0.1", "--dir", &std::env::temp_dir().display().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed (make test does it)")
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
