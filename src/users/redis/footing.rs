//! Whether Redis can be told anything, and the log lines about it.

use std::time::Duration;

use redis::RedisError;
use tokio::time::Instant;

use super::{Counters, bucket::PAUSE, scripts::Access, worker::Worker};
use crate::link::redis::condition::in_words;

/// Pause between two warnings about lost data.
const WARN_AGAIN: Duration = Duration::from_secs(60);

/// Whether Redis can be told anything.
pub(super) enum Footing {
    Firm(Access),
    /// After the answer to the beat under way.
    Soon,
    No,
}

impl Worker {
    pub(super) fn footing(&mut self) -> Footing {
        let Some(access) = self.any_access() else {
            // The link itself reports that it is down. Before the first link nothing has failed.
            Counters::add(&self.shared.counters.failures, usize::from(self.was_linked));
            return Footing::No;
        };
        self.was_linked = true;
        // Otherwise sockets might be listed after they were swept.
        if self.alive && !self.unsure && self.last_beat.elapsed() <= self.lease / 2 {
            return Footing::Firm(access);
        }
        let is_new = !self.alive && !self.unheard;
        if !self.beating && (is_new || Instant::now() >= self.next_beat) {
            self.beat();
        }
        match self.beating && !self.unheard {
            true => Footing::Soon,
            false => Footing::No, // it has just been tried
        }
    }

    /// A connection, if Redis can be asked and this node's lease holds.
    pub(super) fn access(&mut self) -> Option<Access> {
        match self.footing() {
            Footing::Firm(access) => Some(access),
            Footing::Soon | Footing::No => None,
        }
    }

    /// A connection, whatever the lease.
    pub(super) fn any_access(&self) -> Option<Access> {
        self.source.commands().map(|commands| self.shared.access(commands))
    }

    /// A command failed. The next beat tells whether one bucket or all of Redis is affected.
    pub(super) fn failed(&mut self, error: &RedisError) {
        Counters::add(&self.shared.counters.failures, 1);
        if !self.unheard && self.last_beat.elapsed() > PAUSE {
            self.next_beat = self.next_beat.min(Instant::now());
        }
        if !std::mem::replace(&mut self.logged.failure, true) {
            tracing::warn!(
                error = in_words(error),
                "the user directory in Redis does not work; this node decides alone for now"
            );
        }
    }

    /// A beat was answered.
    pub(super) fn succeeded(&mut self) {
        self.unheard = false;
        let is_whole = self.buckets.iter().all(|bucket| !bucket.is_dirty());
        if is_whole && std::mem::take(&mut self.logged.failure) {
            tracing::info!("the user directory in Redis works again");
        }
    }

    /// Notes why Redis cannot be told about a bucket. `None`: it can.
    pub(super) fn bucket_is(&self, bucket: usize, error: Option<&RedisError>) {
        self.shared.standing.lock().bucket_is(bucket, error.map(in_words));
    }

    /// Redis has lost some or all entries of the bucket.
    pub(super) fn torn(&mut self, bucket: usize) {
        if self.buckets[bucket].is_dirty() {
            return;
        }
        Counters::add(&self.shared.counters.lost, 1);
        if self.logged.loss.is_none_or(|at| at.elapsed() > WARN_AGAIN) {
            self.logged.loss = Some(Instant::now());
            tracing::warn!(
                "Redis has lost part of the user directory, which is listed again; does it evict \
                 keys (maxmemory-policy)?"
            );
        }
        self.buckets[bucket].spoil_now(Instant::now());
        self.note_behind();
        self.go_on_with(bucket);
    }

    /// Warns if a full Redis would evict the keys of the directory.
    pub(super) fn evicts(&mut self, policy: Option<String>) {
        if let Some(policy) = policy.as_ref().filter(|_| policy != self.logged.policy) {
            tracing::warn!(
                redis.maxmemory_policy = policy,
                "Redis evicts keys without an expiry when it is full: those of the user directory, \
                 too, and then this node does not know who is connected to the others; set \
                 maxmemory-policy noeviction"
            );
        }
        self.logged.policy = policy;
    }
}

/// The policy by which Redis evicts keys without an expiry. `None` if it evicts none, or does not
/// say.
pub(super) async fn evicting_policy(access: Access) -> Option<String> {
    let mut info = redis::cmd("INFO");
    info.arg("memory");
    let mut texts = Vec::new();
    read_texts(access.run_one(info).await.ok()?, &mut texts);
    texts.iter().find_map(|text| evicting(text)).map(str::to_owned)
}

/// Collects the texts of an answer. A Redis Cluster answers for each node.
fn read_texts(value: redis::Value, texts: &mut Vec<String>) {
    match value {
        redis::Value::Map(pairs) => {
            pairs.into_iter().for_each(|(_, value)| read_texts(value, texts));
        }
        redis::Value::Array(values) => {
            values.into_iter().for_each(|value| read_texts(value, texts));
        }
        value => texts.extend(redis::from_redis_value::<String>(value)),
    }
}

fn evicting(info: &str) -> Option<&str> {
    let field = |name| info.lines().find_map(|line| line.trim().strip_prefix(name));
    let has_limit = field("maxmemory:").is_some_and(|limit| limit != "0");
    field("maxmemory_policy:").filter(|policy| has_limit && policy.starts_with("allkeys"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_policy_that_can_take_our_keys_is_one_to_warn_of() {
        let info = |limit, policy| {
            format!("# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n")
        };
        assert_eq!(evicting(&info(9, "allkeys-lru")), Some("allkeys-lru"));
        assert_eq!(evicting(&info(0, "allkeys-lru")), None);
        assert_eq!(evicting(&info(9, "volatile-lru")), None);
        assert_eq!(evicting(&info(9, "noeviction")), None);
        assert_eq!(evicting(""), None);
    }
}
