//! Repairs: Redis comes to list exactly the sockets of this node.

use std::{collections::HashSet, sync::Arc};

use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Value};

use super::{
    Shared, UserLimit,
    entry::{after_user, encode_user},
    scripts::{Access, SCRIPTS},
};
use crate::link::redis::script::Script;

/// How many entries one command reads or writes.
const CHUNK: usize = 500;

/// A bucket to repair.
pub(super) struct Repair {
    pub(super) shared: Arc<Shared>,
    pub(super) access: Access,
    pub(super) bucket: usize,
    pub(super) incarnation: String,
    pub(super) grace: i64,
    pub(super) limit: UserLimit,
}

/// The outcome of a repair.
#[derive(Default)]
pub(super) struct Repaired {
    /// Entries that were missing or too many.
    pub(super) changes: usize,
    /// Users that came online by the repair.
    pub(super) online: Vec<Vec<u8>>,
    /// Some users have no socket any more.
    pub(super) emptied: bool,
    /// Entries of sockets that have to go, on whatever node: their users have more than they may
    /// have.
    pub(super) over: Vec<Vec<u8>>,
    /// The failure that makes another repair necessary.
    pub(super) failed: Option<RedisError>,
}

impl Repair {
    /// Compares the bucket with Redis's entries of this node and makes good the difference, in few
    /// round trips. Redis must be told nothing else about the bucket meanwhile.
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
        // Listed entries are sent, too, so that no user stays over the limit. The last chunk says
        // that it is the end, even if it is empty.
        let chunks = match difference.entries.is_empty() {
            true => vec![&[][..]],
            false => difference.entries.chunks(CHUNK).collect::<Vec<_>>(),
        };
        let registers = chunks.iter().enumerate().map(|(at, chunk)| {
            let keys = self.shared.keys.bucket(self.bucket);
            let is_all = at + 1 == chunks.len();
            let mut register =
                call_register(keys, &self.incarnation, self.grace, self.limit, is_all);
            for own in *chunk {
                register.arg(encode_user(&own.user)).arg(&own.entry).arg(u8::from(own.known));
            }
            register
        });
        let calls: Vec<Cmd> = leaves.chain(registers).collect();
        let mut answers = self.access.run_group(calls).await.into_iter();
        for chunk in difference.surplus.chunks(CHUNK) {
            if let Some(emptied) = repaired.sound::<usize>(answers.next()) {
                repaired.changes += chunk.len();
                repaired.emptied |= emptied > 0;
            }
        }
        for chunk in &chunks {
            let Some(Registered { online, over }) = repaired.sound(answers.next()) else {
                continue;
            };
            repaired.changes += chunk.iter().filter(|own| !own.is_listed).count();
            repaired.online.extend(online);
            repaired.over.extend(over);
            let mut mirror = self.shared.mirror.lock();
            for own in *chunk {
                mirror.listed(&own.user, own.number);
            }
        }
        repaired
    }

    fn call(&self, script: &Script) -> Cmd {
        let mut command = script.call(self.shared.keys.bucket(self.bucket));
        command.arg(&self.incarnation).arg(self.grace);
        command
    }

    /// Redis's entries of this node in the bucket.
    async fn listed(&self) -> RedisResult<HashSet<Vec<u8>>> {
        let prefix = [b"h", self.incarnation.as_bytes(), &[0]].concat();
        let end = [b"(", &*after_user(&prefix)].concat();
        let mut from = [b"[", &*prefix].concat();
        let mut listed = HashSet::new();
        loop {
            let mut range: Cmd = redis::cmd("ZRANGEBYLEX");
            range.arg(&self.shared.keys.bucket(self.bucket)[0]).arg(&from).arg(&end);
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

/// The start of a call of `register`. Sockets are added to it.
pub(super) fn call_register(
    keys: &[String],
    incarnation: &str,
    grace: i64,
    limit: UserLimit,
    is_all: bool,
) -> Cmd {
    let mut register = SCRIPTS.register.call(keys);
    register.arg(incarnation).arg(grace).arg(limit.max_sockets);
    register.arg(u8::from(limit.disconnect_oldest)).arg(u8::from(is_all));
    register.arg(former(incarnation).unwrap_or_default());
    register
}

/// The former name of a node, if it had one.
fn former(incarnation: &str) -> Option<String> {
    let (run, number) = incarnation.rsplit_once('~')?;
    match number.parse::<u32>().ok()? {
        0 => None,
        1 => Some(run.to_owned()),
        number => Some(format!("{run}~{}", number - 1)),
    }
}

#[cfg(test)]
#[test]
fn a_name_says_which_one_it_follows() {
    let names =
        [("a.x", None), ("a.x~1", Some("a.x")), ("a.x~12", Some("a.x~11")), ("a~1.x", None)];
    for (name, before) in names {
        assert_eq!(former(name).as_deref(), before);
    }
}

/// The answer of `register`: users that came online, and entries of sockets that have to go.
#[derive(Default)]
pub(super) struct Registered {
    pub(super) online: Vec<Vec<u8>>,
    pub(super) over: Vec<Vec<u8>>,
}

impl FromRedisValue for Registered {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let (online, over) = <(Vec<Vec<u8>>, Vec<Vec<u8>>)>::from_redis_value(value)?;
        Ok(Self { online, over })
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
