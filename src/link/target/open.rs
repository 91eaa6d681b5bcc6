//! Opens connections.

use rand::seq::SliceRandom as _;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, ProtocolVersion, RedisError, RedisResult, TlsCertificates,
    aio::MultiplexedConnection, cluster::ClusterClientBuilder, io::tcp::TcpSettings,
};

use super::{Place, Target, node};
use crate::link::{commands::Commands, greeting, probe, refusal::is_hang_up};

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
                let mut connection = self.connect_to(node, config).await?;
                match probe::hello(&mut connection).await?.is_replica() {
                    false => Ok(connection),
                    true => Err(probe::replica_of(&mut connection).await),
                }
            }
            Place::Cluster(_) => {
                let seeds = self.seeds().unwrap_or_default();
                let (mut nodes, mut last) = match self.whereabouts.view(self, &seeds).await {
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
                let mut connection = self.connect_to(&master, config).await?;
                // a Sentinel may not have noticed yet
                match probe::hello(&mut connection).await?.is_replica() {
                    false => Ok(connection),
                    true => Err(probe::replica()),
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
        self.connect_to(&node(host, port, self.tls.is_some()), config).await
    }

    /// Opens a connection for commands with an answer.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub(crate) async fn commands(&self, config: &AsyncConnectionConfig) -> RedisResult<Commands> {
        let Some(seeds) = self.seeds() else {
            return self.connect(config).await.map(Commands::single);
        };
        self.ensure_crypto();
        // The driver believes the first node that answers, and returns to these seeds when it knows
        // no node.
        let view = self.whereabouts.view(self, &seeds).await?;
        let masters = view.masters.iter().map(|master| &master.address);
        let masters = masters
            .map(|(host, port)| self.info(&node(host, *port, self.tls.is_some())))
            .collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClientBuilder::new(masters)
            .retries(RETRIES)
            .min_retry_wait(10)
            .max_retry_wait(200)
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(self.timeouts.request)
            .response_timeout(self.timeouts.request)
            .tcp_settings(tcp());
        if let Some(certificates) = self.certificates()? {
            builder = builder.certs(certificates);
        }
        builder.build()?.get_async_connection().await.map(Commands::cluster)
    }

    async fn connect_to(
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
        match self.certificates()? {
            Some(certificates) => {
                let client = Client::build_with_tls(info, certificates)?;
                Ok(client.get_connection_info().clone())
            }
            None => Ok(info),
        }
    }

    fn certificates(&self) -> RedisResult<Option<TlsCertificates>> {
        self.tls.as_ref().map_or(Ok(None), |tls| tls.certificates())
    }

    /// Sets rustls' default provider of the process, unless the program has set one. Without any,
    /// the driver would panic where another crate's features compile two in.
    pub(super) fn ensure_crypto(&self) {
        if self.tls.is_some() {
            drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        }
    }
}

fn tcp() -> TcpSettings {
    // small frames must not wait for the acknowledgement of the one before
    TcpSettings::default().set_nodelay(true)
}

pub(super) fn no_node() -> RedisError {
    (ErrorKind::Io, "no node answers").into()
}
