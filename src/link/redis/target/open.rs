//! Opens connections.

use rand::seq::SliceRandom as _;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ErrorKind, ProtocolVersion, RedisError, RedisResult,
    aio::MultiplexedConnection, cluster::ClusterClientBuilder,
};

use super::{Place, Target};
use crate::link::redis::{
    commands::Commands,
    connector::tcp,
    hello::{hello, replica, replica_of},
};

/// How often the driver repeats a command in a Redis Cluster, some milliseconds apart, before it
/// reports the failure. Its default would take minutes.
const RETRIES: u32 = 8;

impl Target {
    /// Opens a connection: to the node, to the current master behind the Sentinels, or to any
    /// living master of the cluster. It speaks RESP3, so `config` may have a push sender.
    ///
    /// # Errors
    /// If no server answers, it refuses us, or there is no master.
    pub(crate) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        match &self.place {
            Place::Single(node) => {
                let mut connection = self.connector.open(node, config).await?;
                match hello(&mut connection).await?.is_replica() {
                    false => Ok(connection),
                    true => Err(replica_of(&mut connection).await),
                }
            }
            Place::Cluster(_) => {
                let seeds = self.seeds().unwrap_or_default();
                let (mut nodes, mut last) =
                    match self.whereabouts.view(&self.connector, &seeds).await {
                        Ok(view) => {
                            let masters = view.masters.into_iter().map(|master| master.address);
                            (masters.collect(), no_node())
                        }
                        // If the server is no cluster at all, the next step says so.
                        Err(error) => (seeds, error),
                    };
                // so that our nodes do not all use one node of the cluster
                nodes.shuffle(&mut rand::rng());
                for (host, port) in nodes {
                    match self.connect_node(&host, port, config).await {
                        Ok(connection) => return Ok(connection),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Place::Sentinel { sentinels, master } => {
                let master = self.find_master(sentinels, master).await?;
                let mut connection = self.connector.open(&master, config).await?;
                // a Sentinel may not have noticed yet
                match hello(&mut connection).await?.is_replica() {
                    false => Ok(connection),
                    true => Err(replica()),
                }
            }
        }
    }

    /// Opens a connection to one node of the cluster, with the same login and TLS. An empty host
    /// means the host of the first seed: a node that announces no host means "the one that you
    /// used".
    ///
    /// # Errors
    /// If it does not answer, or refuses us.
    pub(crate) async fn connect_node(
        &self,
        host: &str,
        port: u16,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let host = match (&self.place, host) {
            (Place::Cluster(seeds), "") => match &seeds[0] {
                ConnectionAddr::Tcp(seed, _) | ConnectionAddr::TcpTls { host: seed, .. } => seed,
                _ => host,
            },
            _ => host,
        };
        self.connector.open(&self.connector.node(host, port), config).await
    }

    /// Opens a connection for commands with an answer.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub(crate) async fn commands(&self, config: &AsyncConnectionConfig) -> RedisResult<Commands> {
        let Some(seeds) = self.seeds() else {
            return self.connect(config).await.map(Commands::single);
        };
        self.connector.ensure_crypto();
        // The driver believes the first node that answers, and returns to these seeds when it knows
        // no node.
        let view = self.whereabouts.view(&self.connector, &seeds).await?;
        let masters = view.masters.iter().map(|master| &master.address);
        let masters = masters
            .map(|(host, port)| self.connector.info(&self.connector.node(host, *port)))
            .collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClientBuilder::new(masters)
            .retries(RETRIES)
            .min_retry_wait(10)
            .max_retry_wait(200)
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(self.connector.timeouts.request)
            .response_timeout(self.connector.timeouts.request)
            .tcp_settings(tcp());
        if let Some(tls) = &self.connector.tls {
            builder = tls.certify_all(builder)?;
        }
        builder.build()?.get_async_connection().await.map(Commands::cluster)
    }
}

pub(super) fn no_node() -> RedisError {
    (ErrorKind::Io, "no node answers").into()
}
