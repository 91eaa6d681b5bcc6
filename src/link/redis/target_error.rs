//! The faults of a `redis.url`.

/// Why a URL is not understood. No variant holds a part that may be secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("must start with redis://, rediss://, unix:, redis+unix:// or redis+sentinel://")]
    Scheme,
    #[error("must not contain '#' (in a password it is written %23)")]
    Fragment,
    #[error(
        "knows no such parameter after '?' (known are db, cluster, ca, cert and key, where they apply)"
    )]
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
    #[error("names another file by ?{0}= than redis.{0}_file does")]
    TwoFiles(&'static str),
    #[error("a certificate for Redis needs its key, and the key its certificate")]
    HalfPair,
    #[error("files of TLS need a URL that starts with rediss:// or rediss+sentinel://")]
    FilesWithoutTls,
    #[cfg(not(feature = "tls"))]
    #[error("needs, with TLS, the cargo feature `tls`, which this build does not have")]
    NeedsTls,
    #[error(transparent)]
    File(#[from] super::tls::TlsError),
}
