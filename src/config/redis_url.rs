//! What the configuration has to know of `redis.url`. A build without Redis refuses it.

use super::{Redis, SecretUrl};
#[cfg(feature = "redis")]
use crate::link::redis::target::Target;

/// The refusal of a build without Redis.
#[cfg(not(feature = "redis"))]
pub(crate) const NEEDS_REDIS: &str =
    "needs the cargo feature `redis`, which this build does not have";

/// Why the URL cannot be used.
#[cfg(feature = "redis")]
pub(super) fn problem(url: &SecretUrl, redis: &Redis) -> Option<String> {
    Target::parse(url, &redis.files()).err().map(|error| error.to_string())
}

#[cfg(not(feature = "redis"))]
pub(super) fn problem(_: &SecretUrl, _: &Redis) -> Option<String> {
    Some(NEEDS_REDIS.to_owned())
}

/// The file with a private key that the URL names.
#[cfg(all(feature = "redis", feature = "config-file"))]
pub(super) use crate::link::redis::target::key_file;

#[cfg(all(not(feature = "redis"), feature = "config-file"))]
pub(super) fn key_file(_: &SecretUrl) -> Option<std::path::PathBuf> {
    None
}
