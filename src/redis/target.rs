//! Where Redis is, read from `redis.url`, and how a connection to it is opened.

mod error;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use rand::seq::SliceRandom as _;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult,
    TlsCertificates, aio::MultiplexedConnection, cluster::ClusterClientBuilder,
    io::tcp::TcpSettings,
};

pub(crate) use self::error::TargetError;
use super::{
    commands::Commands,
    greeting, probe,
    refusal::is_hang_up,
    tls::{Tls, TlsFiles},
    url::Url,
    view::Address,
    whereabouts::{Channels, Wanted, Whereabouts},
};
use crate::{config::SecretUrl, pem::TlsError};

/// How long Redis is waited for.
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

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// How often the driver tries a command again in a Redis Cluster, some milliseconds apart, before it
/// says why it cannot be done. By itself it would take minutes.
const RETRIES: u32 = 8;

/// Where Redis is. Opens connections there; keeps none.
#[derive(Clone)]
pub(crate) struct Target {
    place: Place,
    settings: RedisConnectionInfo,
    tls: Option<Arc<Tls>>,
    timeouts: Timeouts,
    /// Shared by all connections.
    whereabouts: Arc<Whereabouts>,
    channels: Option<Channels>,
}

#[derive(Clone)]
enum Place {
    Single(ConnectionAddr),
    Cluster(Vec<ConnectionAddr>),
    Sentinel { sentinels: Vec<ConnectionAddr>, master: String },
}

impl Target {
    /// Understands
    /// - `redis://[user:password@]host[:port][/database]`, `rediss://…` with TLS,
    /// - `unix:/path`, `redis+unix://[user:password@]/path`, with `?db=1`,
    /// - a Redis Cluster: several hosts or several such URLs, separated by commas, or one with
    ///   `?cluster=true` whose node knows the others,
    /// - `redis+sentinel://[user:password@]host[:port],…/master[/database]`, `rediss+sentinel://…`;
    ///   the login is for Redis, and for Sentinels that ask for one.
    ///
    /// In user and password `/`, `@`, `,`, `#`, `?` and `%` are best written `%2F` and so on.
    /// TLS trusts the authorities of the system, or those in the PEM file of `?ca=/path`, and shows
    /// the certificate of `?cert=/path` with `?key=/path`; or those of `files`.
    ///
    /// The files are not looked at; [`problems`](Self::problems) does that.
    ///
    /// # Errors
    /// If it is none of these. The error does not repeat the URL.
    pub(crate) fn parse(url: &SecretUrl, files: &TlsFiles) -> Result<Self, TargetError> {
        let urls = Url::all(url.expose())?;
        let target = match urls[0].scheme {
            "redis" | "rediss" => Self::network(&urls, files),
            _ if urls.len() > 1 => Err(TargetError::ManySeeds),
            "unix" | "redis+unix" => Self::unix(&urls[0]),
            "redis+sentinel" | "rediss+sentinel" => Self::sentinel(&urls[0], files),
            _ => Err(TargetError::Scheme),
        }?;
        match target.tls.is_none() && !files.is_empty() {
            true => Err(TargetError::FilesWithoutTls),
            false => Ok(target),
        }
    }

    /// What is wrong with the files of TLS.
    pub(crate) fn problems(&self) -> Vec<TlsError> {
        self.tls.as_ref().map(|tls| tls.problems()).unwrap_or_default()
    }

    fn network(urls: &[Url<'_>], files: &TlsFiles) -> Result<Self, TargetError> {
        let first = &urls[0];
        let [db, cluster, ca, cert, key] = first.query(["db", "cluster", "ca", "cert", "key"])?;
        let tls = tls(first.scheme == "rediss", files, [ca, cert, key])?;
        let mut nodes = Vec::new();
        for url in urls {
            let same_login = (&url.user, &url.password) == (&first.user, &first.password)
                || (&url.user, &url.password) == (&None, &None);
            if url.scheme != first.scheme || !same_login {
                return Err(TargetError::SeedsDiffer);
            }
            nodes.extend(hosts(url.hosts, PORT, tls.is_some())?);
        }
        let db = match first.path.trim_matches('/') {
            "" => db,
            path => Some(path.to_owned()),
        };
        let settings = settings(first, db.as_deref())?;
        let place = match nodes.as_slice() {
            [one] if cluster.as_deref() != Some("true") => Place::Single(one.clone()),
            _ if settings.db() != 0 => return Err(TargetError::ClusterDatabase),
            _ => Place::Cluster(nodes),
        };
        Ok(Self::new(place, settings, tls))
    }

    fn new(place: Place, settings: RedisConnectionInfo, tls: Option<Arc<Tls>>) -> Self {
        let (timeouts, whereabouts) = (Timeouts::default(), Arc::default());
        Self { place, settings, tls, timeouts, whereabouts, channels: None }
    }

    fn unix(url: &Url<'_>) -> Result<Self, TargetError> {
        let [db] = url.query(["db"])?;
        if url.path.len() < 2 || !url.hosts.is_empty() {
            return Err(TargetError::NoPath);
        }
        let place = Place::Single(ConnectionAddr::Unix(url.path.into()));
        Ok(Self::new(place, settings(url, db.as_deref())?, None))
    }

    fn sentinel(url: &Url<'_>, files: &TlsFiles) -> Result<Self, TargetError> {
        let [db, ca, cert, key] = url.query(["db", "ca", "cert", "key"])?;
        let tls = tls(url.scheme.starts_with("rediss"), files, [ca, cert, key])?;
        let sentinels = hosts(url.hosts, SENTINEL_PORT, tls.is_some())?;
        let path = url.path.trim_matches('/');
        let (master, db) = match path.split_once('/') {
            Some((master, db)) => (master, Some(db.to_owned())),
            None => (path, db),
        };
        if master.is_empty() {
            return Err(TargetError::MasterName);
        }
        let place = Place::Sentinel { sentinels, master: master.to_owned() };
        Ok(Self::new(place, settings(url, db.as_deref())?, tls))
    }

    /// The same, waited for in another way.
    pub(crate) fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// The same, for a user who may listen to these channels.
    pub(crate) fn with_channels(self, channels: Channels) -> Self {
        Self { channels: Some(channels), ..self }
    }

    pub(super) fn channels(&self) -> Option<&Channels> {
        self.channels.as_ref()
    }

    pub(super) fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// For a connection with these timeouts.
    pub(crate) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.request))
            .set_response_timeout(Some(self.timeouts.request))
    }

    /// As whom Redis knows us.
    pub(crate) fn user(&self) -> &str {
        self.settings.username().unwrap_or("default")
    }

    /// Whether it is reached by TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Where, for logs: hosts, ports and paths, nothing secret.
    pub(crate) fn address(&self) -> String {
        let list = |nodes: &[ConnectionAddr]| {
            nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        match &self.place {
            Place::Single(node) => node.to_string(),
            Place::Cluster(nodes) => list(nodes),
            Place::Sentinel { sentinels, master } => format!("{}/{master}", list(sentinels)),
        }
    }

    /// Whether there is one address only.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.place, Place::Single(_))
    }

    /// Whether it is a Redis Cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// What the server of a connection has to be and to remain: we write, so a replica is of no
    /// use, and all nodes have to be at one server, or in one cluster.
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted::of(self.clone())
    }

    /// The nodes of a Redis Cluster that the configuration names, in any order; none for others.
    pub(super) fn seeds(&self) -> Option<Vec<Address>> {
        let Place::Cluster(seeds) = &self.place else { return None };
        let mut seeds: Vec<_> = seeds
            .iter()
            .filter_map(|seed| match seed {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                    Some((host.clone(), *port))
                }
                _ => None,
            })
            .collect();
        seeds.shuffle(&mut rand::rng());
        Some(seeds)
    }

    /// Ends when a Redis Cluster has other masters than these, or files of TLS have changed, of which
    /// the driver would use the old ones for each node that comes back.
    pub(super) async fn until_cluster_changes(&self, masters: Option<Vec<String>>) {
        for second in 1_u64.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.whereabouts.refresh(self);
            let changed = self.masters().is_some_and(|now| masters.as_ref() != Some(&now));
            let look = second.is_multiple_of(10);
            if changed || look && self.tls.as_ref().is_some_and(|tls| tls.changed()) {
                return;
            }
        }
    }

    /// The masters of a Redis Cluster, as far as they are known.
    pub(super) fn masters(&self) -> Option<Vec<String>> {
        self.whereabouts.last_view().map(|view| view.keys())
    }

    /// Opens a connection: to the node, to the current master behind the Sentinels, or to any
    /// living master of the cluster. It speaks RESP3, so `config` may have a push sender.
    ///
    /// # Errors
    /// If nobody answers, or refuses us, or there is no master.
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
                    // Somebody who is no cluster at all is told so by what comes next.
                    Err(error) => (seeds, error),
                };
                // not all nodes of ours at one node of theirs
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

    /// Opens a connection to one node of the cluster, with the same login and TLS. Without a host
    /// it is the one of the first seed: a node that does not announce its own means "as you came".
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
        // The driver believes the first who answers, and goes back to these when it knows nobody.
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

    /// Asks one Sentinel after the other who the master is.
    async fn find_master(
        &self,
        sentinels: &[ConnectionAddr],
        name: &str,
    ) -> RedisResult<ConnectionAddr> {
        self.ensure_crypto();
        let mut last = no_node();
        for sentinel in sentinels {
            match self.ask_sentinel(sentinel, name).await {
                Ok(Some((host, port))) => return Ok(node(&host, port, self.tls.is_some())),
                Ok(None) => last = unknown_master(),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(
        &self,
        sentinel: &ConnectionAddr,
        name: &str,
    ) -> RedisResult<Option<(String, u16)>> {
        // First without a login: one is refused by a Sentinel that has no password. RESP2, since
        // `HELLO 3` would be refused by one that has.
        let plain = RedisConnectionInfo::default();
        let login = self.settings.clone().set_db(0).set_protocol(ProtocolVersion::RESP2);
        match self.ask_sentinel_as(sentinel, plain, name).await {
            Err(error) if error.code() == Some("NOAUTH") && login.password().is_some() => {
                self.ask_sentinel_as(sentinel, login, name).await
            }
            answer => answer,
        }
    }

    async fn ask_sentinel_as(
        &self,
        sentinel: &ConnectionAddr,
        login: RedisConnectionInfo,
        name: &str,
    ) -> RedisResult<Option<(String, u16)>> {
        let info = self.info(sentinel)?.set_redis_settings(login);
        let client = Client::open(info)?;
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&self.config()).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        question.query_async(&mut connection).await
    }

    fn info(&self, node: &ConnectionAddr) -> RedisResult<ConnectionInfo> {
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

    /// The driver takes rustls' default provider of the process; without one, and with two compiled
    /// in by somebody else's features, it would panic. Whoever has set one keeps it.
    fn ensure_crypto(&self) {
        if self.tls.is_some() {
            drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        }
    }
}

/// The file with a private key that the URL names.
pub(crate) fn key_file(url: &SecretUrl) -> Option<PathBuf> {
    let urls = Url::all(url.expose()).ok()?;
    let [_, _, _, _, key] = urls.first()?.query(["db", "cluster", "ca", "cert", "key"]).ok()?;
    key.map(PathBuf::from)
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.address()).finish()
    }
}

fn tcp() -> TcpSettings {
    // small frames must not wait for the acknowledgement of the one before
    TcpSettings::default().set_nodelay(true)
}

fn settings(url: &Url<'_>, db: Option<&str>) -> Result<RedisConnectionInfo, TargetError> {
    let db = match db.map(str::parse::<u32>) {
        None => 0,
        Some(Ok(db)) => db,
        Some(Err(_)) => return Err(TargetError::Database),
    };
    // So that `CLIENT LIST` tells whose connection it is, from Redis 7.2 on.
    let mut settings = RedisConnectionInfo::default()
        .set_db(db.into())
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    if let Some(user) = &url.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &url.password {
        settings = settings.set_password(password);
    }
    Ok(settings)
}

fn tls(
    is_tls: bool,
    files: &TlsFiles,
    url: [Option<String>; 3],
) -> Result<Option<Arc<Tls>>, TargetError> {
    match is_tls {
        true => Ok(Some(Arc::new(Tls::new(files.with(url)?)))),
        false if url.iter().any(Option::is_some) => Err(TargetError::FilesWithoutTls),
        false => Ok(None),
    }
}

fn hosts(list: &str, port: u16, tls: bool) -> Result<Vec<ConnectionAddr>, TargetError> {
    list.split(',')
        .map(|host| {
            let host = host.trim();
            // an address of version 6 stands in brackets
            let (name, rest) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some(parts) => parts,
                None => host.split_at(host.find(':').unwrap_or(host.len())),
            };
            let port = match rest.strip_prefix(':') {
                Some(port) => port.parse().map_err(|_| TargetError::Host)?,
                None if rest.is_empty() => port,
                None => return Err(TargetError::Host),
            };
            match name.is_empty() || name.contains(char::is_whitespace) {
                true => Err(TargetError::Host),
                false => Ok(node(name, port, tls)),
            }
        })
        .collect()
}

fn node(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    let host = host.to_owned();
    match tls {
        false => ConnectionAddr::Tcp(host, port),
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    }
}

fn no_node() -> RedisError {
    (ErrorKind::Io, "no node answers").into()
}

fn unknown_master() -> RedisError {
    (ErrorKind::Client, "the Sentinels know no master of this name").into()
}
