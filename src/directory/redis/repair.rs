//! Making Redis list what this node holds.

use std::collections::HashSet;

use redis::{Cmd, RedisResult, Value};
use tokio::time::Instant;

use super::{
    Counters,
    entry::{after_user, encode_user, keys},
    scripts::{SCRIPTS, call, run_one},
    worker::{PAUSE, Worker},
};
use crate::{directory::Presence, redis::commands::Commands};

/// How many entries one command reads or writes.
const CHUNK: usize = 200;

impl Worker {
    /// Compares the bucket with what Redis lists of this node and makes good the difference. What
    /// was told to Redis before is in force by then, as it goes the same way.
    pub(super) async fn repair(&mut self, commands: &Commands, bucket: usize) {
        let repaired = self.try_repair(commands, bucket).await;
        let state = &mut self.buckets[bucket];
        match repaired {
            Ok(changes) => {
                state.dirty = false;
                state.differs = false;
                Counters::add(&self.shared.counters.repaired, changes);
            }
            Err(error) => {
                state.dirty = true;
                state.retry_at = Instant::now() + PAUSE;
                self.failed(&error);
            }
        }
    }

    async fn try_repair(&mut self, commands: &Commands, bucket: usize) -> RedisResult<usize> {
        let listed = self.listed(commands, bucket).await?;
        let difference = {
            let mirror = self.shared.mirror.lock();
            mirror.compare(bucket, &self.incarnation, listed)
        };
        for chunk in difference.surplus.chunks(CHUNK) {
            let mut leave = self.call_for(&SCRIPTS.leave, bucket);
            for entry in chunk {
                let end = entry.windows(2).position(|pair| pair == [0, 0]);
                leave.arg(&entry[..end.map_or(entry.len(), |end| end + 2)]).arg(entry);
            }
            if redis::from_redis_value::<usize>(run_one(commands, leave).await?)? > 0 {
                self.left_from(bucket);
            }
        }
        // Those that are listed, too: it was only asked what Redis has by node, and nothing says
        // that it still has the same by user.
        for chunk in difference.entries.chunks(CHUNK) {
            let mut register = self.call_for(&SCRIPTS.register, bucket);
            for own in chunk {
                register.arg(encode_user(&own.user)).arg(&own.entry).arg(u8::from(own.known));
            }
            let online: Vec<Vec<u8>> = redis::from_redis_value(run_one(commands, register).await?)?;
            self.tell_all(&online, Presence::Online);
            let mut mirror = self.shared.mirror.lock();
            for own in chunk {
                mirror.listed(&own.user, own.number);
            }
        }
        let missing = difference.entries.iter().filter(|own| !own.is_listed).count();
        Ok(difference.surplus.len() + missing)
    }

    fn call_for(&self, script: &super::scripts::Script, bucket: usize) -> Cmd {
        let mut command = call(script, keys(bucket));
        command.arg(&self.incarnation).arg(self.grace);
        command
    }

    /// The entries that Redis has of this node in a bucket.
    async fn listed(&self, commands: &Commands, bucket: usize) -> RedisResult<HashSet<Vec<u8>>> {
        let prefix = [self.incarnation.as_bytes(), &[0]].concat();
        let end = [b"(", &*after_user(&prefix)].concat();
        let mut from = [b"[", &*prefix].concat();
        let mut listed = HashSet::new();
        loop {
            let mut range: Cmd = redis::cmd("ZRANGEBYLEX");
            range.arg(&keys(bucket)[1]).arg(&from).arg(&end);
            range.arg("LIMIT").arg(0).arg(CHUNK);
            let answer: Value = run_one(commands, range).await?;
            let items: Vec<Vec<u8>> = redis::from_redis_value(answer)?;
            let is_last = items.len() < CHUNK;
            if let Some(last) = items.last() {
                from = [b"(", &**last].concat();
            }
            listed.extend(items.iter().map(|item| item[prefix.len()..].to_vec()));
            if is_last {
                return Ok(listed);
            }
        }
    }
}
