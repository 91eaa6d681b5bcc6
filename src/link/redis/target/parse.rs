//! Reads `redis.url`.

use std::sync::Arc;

use redis::{ConnectionAddr, ProtocolVersion, RedisConnectionInfo};

use super::{Place, Target, TargetError, Timeouts};
use crate::{
    link::redis::{
        connector::{Connector, node},
        tls::Tls,
        tls_files::TlsFiles,
        url::Url,
    },
    secret::SecretUrl,
};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

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
    /// The files are not read; [`problems`](Self::problems) does that.
    ///
    /// # Errors
    /// If the URL is none of these. The error does not repeat it.
    pub(crate) fn parse(url: &SecretUrl, files: &TlsFiles) -> Result<Self, TargetError> {
        let urls = Url::all(url.expose())?;
        let target = match urls[0].scheme {
            "redis" | "rediss" => Self::network(&urls, files),
            _ if urls.len() > 1 => Err(TargetError::ManySeeds),
            "unix" | "redis+unix" => Self::unix(&urls[0]),
            "redis+sentinel" | "rediss+sentinel" => Self::sentinel(&urls[0], files),
            _ => Err(TargetError::Scheme),
        }?;
        match target.connector.tls.is_none() && !files.is_empty() {
            true => Err(TargetError::FilesWithoutTls),
            false => Ok(target),
        }
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
        let connector = Connector { settings, tls, timeouts: Timeouts::default() };
        Self { place, connector, whereabouts: Arc::default(), channels: None }
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
}

/// The file with a private key that the URL names.
#[cfg(feature = "config-file")]
pub(crate) fn key_file(url: &SecretUrl) -> Option<std::path::PathBuf> {
    let urls = Url::all(url.expose()).ok()?;
    let [_, _, _, _, key] = urls.first()?.query(["db", "cluster", "ca", "cert", "key"]).ok()?;
    key.map(std::path::PathBuf::from)
}

fn settings(url: &Url<'_>, db: Option<&str>) -> Result<RedisConnectionInfo, TargetError> {
    let db = match db.map(str::parse::<u32>) {
        None => 0,
        Some(Ok(db)) => db,
        Some(Err(_)) => return Err(TargetError::Database),
    };
    // Names our connections in `CLIENT LIST`, from Redis 7.2 on.
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
        true => Ok(Some(Arc::new(Tls::new(files.with(url)?)?))),
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
