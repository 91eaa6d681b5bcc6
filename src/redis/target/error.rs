//! What can be wrong with `redis.url`.

use std::path::PathBuf;

/// Why a URL is not understood. None shows any part that may be secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("must start with redis://, rediss://, unix:, redis+unix:// or redis+sentinel://")]
    Scheme,
    #[error("must not contain '#' (in a password it is written %23)")]
    Fragment,
    #[error("knows no such parameter after '?' (known are db, ca and cluster, where they apply)")]
    Query,
    #[error("is not UTF-8 after decoding")]
    NotText,
    #[error("names a host that is missing or not understood (in a password '/' is written %2F)")]
    Host,
    #[error("the database must be a number from 0 on")]
    Database,
    #[error("a Redis Cluster has database 0 only")]
    ClusterDatabase,
    #[error("all seeds of a Redis Cluster need the same scheme, user, password and parameters")]
    SeedsDiffer,
    #[error("several seeds can only be redis:// or rediss://")]
    ManySeeds,
    #[error("needs the name of the master: redis+sentinel://host:port,host:port/name")]
    MasterName,
    #[error("names no socket file")]
    NoPath,
    #[error("the file with the certificates of authorities, {}, cannot be used: {source}", .path.display())]
    Ca {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
