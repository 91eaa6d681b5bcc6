//! Redis servers of tests, reached as the link reaches them.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use test_kit::{redis::RedisServer, waiting::DEADLINE};

use super::{
    commands::Commands,
    target::{Target, Timeouts},
    tls_files::TlsFiles,
};
use crate::secret::SecretUrl;

/// What a test asks of a [`RedisServer`].
pub(crate) trait Reached {
    fn target(&self) -> Target;

    /// A new connection, once it answers.
    async fn connection(&self) -> MultiplexedConnection;

    /// A new connection for commands with an answer.
    async fn commands(&self) -> Commands;
}

impl Reached for RedisServer {
    fn target(&self) -> Target {
        target(&self.url())
    }

    async fn connection(&self) -> MultiplexedConnection {
        let (start, target) = (Instant::now(), self.target());
        loop {
            match target.connect_node("127.0.0.1", self.port, &target.config()).await {
                Ok(connection) => return connection,
                Err(error) => assert!(start.elapsed() < DEADLINE, "Redis does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn commands(&self) -> Commands {
        Commands::single(self.connection().await)
    }
}

pub(crate) fn target(url: &str) -> Target {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts { request: second * 2, silence: second * 2 };
    Target::parse(&SecretUrl::new(url), &TlsFiles::default()).unwrap().with_timeouts(timeouts)
}
