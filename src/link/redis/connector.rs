//! Opens connections to single servers, with one login, one set of TLS files and one patience.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisResult, aio::MultiplexedConnection, io::tcp::TcpSettings,
};

use super::{
    greeting::{self, is_hang_up},
    tls::Tls,
};

/// The longest waits for Redis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// To connect, TLS and login included, and for the answer to a command.
    pub(crate) request: Duration,
    /// For a sign of life, before a connection is given up.
    pub(crate) silence: Duration,
}

impl Default for Timeouts {
    /// As `redis.request_timeout` and `redis.silence_timeout`.
    fn default() -> Self {
        Self { request: Duration::from_secs(5), silence: Duration::from_secs(10) }
    }
}

/// The login, the TLS files and the timeouts of all connections of a target.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) settings: RedisConnectionInfo,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) timeouts: Timeouts,
}

impl Connector {
    /// For a connection with these timeouts.
    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.request))
            .set_response_timeout(Some(self.timeouts.request))
    }

    /// The server at this host and port.
    pub(super) fn node(&self, host: &str, port: u16) -> ConnectionAddr {
        node(host, port, self.tls.is_some())
    }

    /// Opens a connection. It speaks RESP3, so `config` may have a push sender.
    ///
    /// # Errors
    /// If the server does not answer, or refuses us.
    pub(super) async fn open(
        &self,
        node: &ConnectionAddr,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        self.ensure_crypto();
        let client = Client::open(self.info(node)?)?;
        match client.get_multiplexed_async_connection_with_config(config).await {
            Err(error) if is_hang_up(&error) => Err(greeting::refusal(node).await.unwrap_or(error)),
            made => made,
        }
    }

    pub(super) fn info(&self, node: &ConnectionAddr) -> RedisResult<ConnectionInfo> {
        let info = node.clone().into_connection_info()?;
        let info = info.set_redis_settings(self.settings.clone()).set_tcp_settings(tcp());
        match &self.tls {
            Some(tls) => tls.certify(info),
            None => Ok(info),
        }
    }

    pub(super) fn ensure_crypto(&self) {
        self.tls.iter().for_each(|tls| tls.ensure_crypto());
    }
}

pub(super) fn tcp() -> TcpSettings {
    // small frames must not wait for the acknowledgement of the one before
    TcpSettings::default().set_nodelay(true)
}

pub(super) fn node(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    let host = host.to_owned();
    match tls {
        false => ConnectionAddr::Tcp(host, port),
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    }
}
