//! The keys of the directory: under `redis.key_prefix`, so that several clusters can share a Redis.
//!
//! Users are spread over a fixed number of buckets. A bucket has two keys with one hash tag, so a
//! script may touch both:
//!
//! * `switchboard:PREFIX:{uN}:sockets`, a sorted set (by name) of three kinds of members, told apart
//!   by the first letter:
//!   * `s` and an entry, so a user's sockets are a range of it;
//!   * `h`, an incarnation, a zero byte and an entry, so those of a node are a range of it;
//!   * `m` and an incarnation: the mark of a node that has listed all it has in this bucket;
//! * `switchboard:PREFIX:{uN}:leaving`, a sorted set: users without sockets that are not offline
//!   yet, by the time at which they will be, in ms.
//!
//! A full Redis may evict single keys. So data that belongs together is in one key, and is lost
//! with the marks that vouch for it: a reader of a bucket sees whose marks are missing.
//!
//! The nodes have two keys:
//!
//! * `switchboard:PREFIX:{nodes}:alive`, a hash: incarnation to "deadline beat description", and one
//!   field that starts with a zero byte: the epoch, another one after a loss of the data;
//! * `switchboard:PREFIX:{nodes}:dying`, a set of incarnations whose sockets are being removed.

use super::entry::BUCKETS;
use crate::link::redis::keys::own_key;

/// The keys of one cluster.
#[derive(Debug)]
pub(super) struct Keys {
    buckets: Vec<[String; 2]>,
    nodes: [String; 2],
    /// The key for trials that leave nothing behind.
    probe: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let key = |tag: &str, name: &str| own_key(prefix, tag, name);
        let of = |n: usize| ["sockets", "leaving"].map(|name| key(&format!("u{n}"), name));
        Self {
            buckets: (0..BUCKETS).map(of).collect(),
            nodes: ["alive", "dying"].map(|name| key("nodes", name)),
            probe: key("nodes", "rights"),
        }
    }

    /// The keys of a bucket: sockets and leaving.
    pub(super) fn bucket(&self, bucket: usize) -> &[String; 2] {
        &self.buckets[bucket]
    }

    /// The keys of the nodes: alive and dying.
    pub(super) fn nodes(&self) -> &[String; 2] {
        &self.nodes
    }

    pub(super) fn probe(&self) -> &str {
        &self.probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hashed part of a key, by the specification of Redis Cluster.
    fn hashed(key: &str) -> &str {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        tag.map_or(key, |(tag, _)| if tag.is_empty() { key } else { tag })
    }

    #[test]
    fn the_hash_tag_is_ours_whatever_the_prefix() {
        for prefix in ["socket.io", "{}", "{app}", "a{b", "a}b", "{", "%7B", "{u1}:", "ä ☎"] {
            let keys = Keys::new(prefix);
            for key in keys.bucket(63) {
                assert_eq!(hashed(key), "u63", "{key}");
            }
            for key in keys.nodes() {
                assert_eq!(hashed(key), "nodes", "{key}");
            }
        }
        let keys = Keys::new("socket.io");
        assert_eq!(keys.bucket(0)[0], "switchboard:socket.io:{u0}:sockets");
    }

    #[test]
    fn two_prefixes_have_no_key_in_common() {
        let prefixes = ["a", "a:", "a:{u1}", "a:%7Bu1}", "a%", "a%25", "A", ""];
        let all = prefixes.iter().flat_map(|prefix| {
            let keys = Keys::new(prefix);
            let buckets = keys.buckets.clone().into_iter().flatten();
            buckets.chain(keys.nodes.clone()).chain([keys.probe]).collect::<Vec<_>>()
        });
        let all: Vec<String> = all.collect();
        let different: std::collections::HashSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
