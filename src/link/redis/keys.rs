//! The names of our own keys in Redis: `switchboard:PREFIX:{TAG}:NAME`.

/// The name of a key. `prefix` is `redis.key_prefix`, so that several clusters can share a Redis.
/// Keys of one tag are in one slot of a Redis Cluster.
pub(crate) fn own_key(prefix: &str, tag: &str, name: &str) -> String {
    // Redis Cluster takes the first braces for the hash tag. These have to be ours.
    let prefix = prefix.replace('%', "%25").replace('{', "%7B");
    format!("switchboard:{prefix}:{{{tag}}}:{name}")
}
