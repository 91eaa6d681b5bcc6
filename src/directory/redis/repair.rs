//! Making Redis list what this node holds.

use std::{collections::HashSet, sync::Arc};

use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Value};

use super::{
    Shared,
    entry::{after_user, encode_user, keys},
    scripts::{Access, SCRIPTS, Script, call},
};

/// How many entries one command reads or writes.
const CHUNK: usize = 500;

/// A bucket to be repaired.
pub(super) struct Repair {
    pub(super) shared: Arc<Shared>,
    pub(super) access: Access,
    pub(super) bucket: usize,
    pub(super) incarnation: String,
    pub(super) grace: i64,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Repaired {
    /// Entries that were missing or too many.
    pub(super) changes: usize,
    /// Users that came online by it.
    pub(super) online: Vec<Vec<u8>>,
    /// Users have no socket any more.
    pub(super) emptied: bool,
    /// Why it is to be done again.
    pub(super) failed: Option<RedisError>,
}

impl Repair {
    /// Compares the bucket with what Redis lists of this node and makes good the difference, in
    /// few round trips. Nothing else may be said about the bucket meanwhile.
    pub(super) async fn run(self) -> Repaired {
        let mut repaired = Repaired::default();
        let listed = match self.listed().await {
            Ok(listed) => listed,
            Err(error) => {
                repaired.failed = Some(error);
                return repaired;
            }
        };
        let difference = {
            let mirror = self.shared.mirror.lock();
            mirror.compare(self.bucket, &self.incarnation, listed)
        };
        let leaves = difference.surplus.chunks(CHUNK).map(|chunk| {
            let mut leave = self.call(&SCRIPTS.leave);
            for entry in chunk {
                let end = entry.windows(2).position(|pair| pair == [0, 0]);
                leave.arg(&entry[..end.map_or(entry.len(), |end| end + 2)]).arg(entry);
            }
            leave
        });
        // Those that are listed, too: it was only asked what Redis has by node, and nothing says
        // that it still has the same by user.
        let registers = difference.entries.chunks(CHUNK).map(|chunk| {
            let mut register = self.call(&SCRIPTS.register);
            for own in chunk {
                register.arg(encode_user(&own.user)).arg(&own.entry).arg(u8::from(own.known));
            }
            register
        });
        let calls: Vec<Cmd> = leaves.chain(registers).collect();
        if calls.is_empty() {
            return repaired;
        }
        let mut answers = self.access.run_group(calls).await.into_iter();
        for chunk in difference.surplus.chunks(CHUNK) {
            if let Some(emptied) = repaired.sound::<usize>(answers.next()) {
                repaired.changes += chunk.len();
                repaired.emptied |= emptied > 0;
            }
        }
        for chunk in difference.entries.chunks(CHUNK) {
            let Some(online) = repaired.sound::<Vec<Vec<u8>>>(answers.next()) else { continue };
            repaired.changes += chunk.iter().filter(|own| !own.is_listed).count();
            repaired.online.extend(online);
            let mut mirror = self.shared.mirror.lock();
            for own in chunk {
                mirror.listed(&own.user, own.number);
            }
        }
        repaired
    }

    fn call(&self, script: &Script) -> Cmd {
        let mut command = call(script, keys(self.bucket));
        command.arg(&self.incarnation).arg(self.grace);
        command
    }

    /// The entries that Redis has of this node in the bucket.
    async fn listed(&self) -> RedisResult<HashSet<Vec<u8>>> {
        let prefix = [self.incarnation.as_bytes(), &[0]].concat();
        let end = [b"(", &*after_user(&prefix)].concat();
        let mut from = [b"[", &*prefix].concat();
        let mut listed = HashSet::new();
        loop {
            let mut range: Cmd = redis::cmd("ZRANGEBYLEX");
            range.arg(&keys(self.bucket)[1]).arg(&from).arg(&end);
            range.arg("LIMIT").arg(0).arg(CHUNK);
            let items: Vec<Vec<u8>> = redis::from_redis_value(self.access.run_one(range).await?)?;
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

impl Repaired {
    fn sound<T: FromRedisValue>(&mut self, answer: Option<RedisResult<Value>>) -> Option<T> {
        let answer = answer.unwrap_or(Ok(Value::Nil));
        match answer.and_then(|answer| Ok(T::from_redis_value(answer)?)) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.failed.get_or_insert(error);
                None
            }
        }
    }
}
