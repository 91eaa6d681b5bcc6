//! Tells Redis of sockets that come and go, and acts on its answers.

use redis::{FromRedisValue, RedisResult, Value};

use super::{
    Answer, Counters, Op,
    entry::{Entry, bucket_of, decode, encode, encode_user},
    jobs::{Asked, Done},
    repair::{Registered, call_register},
    scripts::{Access, SCRIPTS, millis},
    worker::{BATCH, Worker},
};
use crate::{
    id::UserId,
    users::{LimitReached, Presence, UserLimit},
};

impl Worker {
    /// Tells Redis the next ops of a bucket, in one go.
    pub(super) fn tell_waiting(&mut self, at: usize, access: Access) {
        let (mut calls, mut asked) = (Vec::new(), Vec::new());
        while calls.len() < BATCH {
            let Some(op) = self.buckets[at].waiting.pop_front() else { break };
            match op {
                Op::Enter { user, socket, number, limit, answer } => {
                    let pending = self.shared.mirror.lock().is_pending(&user, number);
                    let Some(pending) = pending else { continue }; // gone before it was in
                    let keys = self.shared.keys.bucket(at);
                    let (name, grace) = (&self.incarnation, millis(self.grace));
                    let entry = encode(&user, &socket, name);
                    if !pending {
                        let mut register = call_register(keys, name, grace, limit, false);
                        register.arg(encode_user(&user)).arg(entry).arg(0);
                        calls.push(register);
                        asked.push(Asked::Register { user, number, answer });
                        continue;
                    }
                    let mut enter = SCRIPTS.enter.call(keys);
                    enter.arg(encode_user(&user)).arg(entry).arg(name).arg(limit.max_sockets);
                    enter.arg(u8::from(limit.disconnect_oldest)).arg(grace);
                    calls.push(enter);
                    asked.push(Asked::Enter { user, number, limit, answer });
                }
                Op::Leave { user, socket } => {
                    let mut leave = SCRIPTS.leave.call(self.shared.keys.bucket(at));
                    leave.arg(&self.incarnation).arg(millis(self.grace));
                    leave.arg(encode_user(&user)).arg(encode(&user, &socket, &self.incarnation));
                    calls.push(leave);
                    asked.push(Asked::Leave);
                }
                Op::Retell { entries, .. } => {
                    let mut retell = SCRIPTS.retell.call(self.shared.keys.bucket(at));
                    retell.arg(&self.incarnation);
                    for (before, now) in entries {
                        retell.arg(before).arg(now);
                    }
                    calls.push(retell);
                    asked.push(Asked::Retell);
                }
                // These concern no single bucket.
                Op::Beat | Op::Emptied(_) | Op::Torn(_) | Op::Close(_) => {}
            }
        }
        if calls.is_empty() {
            return;
        }
        self.buckets[at].begin();
        self.jobs.push(Box::pin(async move {
            Done::Told { bucket: at, asked, answers: access.run_group(calls).await }
        }));
    }

    /// Decides without Redis about all sockets that wait. A bucket that changes this way is
    /// compared with the mirror later.
    pub(super) fn decide_waiting(&mut self, at: usize) {
        let waiting = std::mem::take(&mut self.buckets[at].waiting);
        if !waiting.is_empty() {
            self.spoil(at);
        }
        for op in waiting {
            if let Op::Enter { user, number, limit, answer, .. } = op {
                self.decide(&user, number, limit, answer);
            }
        }
    }

    pub(super) fn answered(&mut self, bucket: usize, asked: Asked, answer: RedisResult<Value>) {
        match asked {
            Asked::Retell => {
                self.sound::<usize>(bucket, answer);
            }
            Asked::Leave => match self.sound::<usize>(bucket, answer) {
                Some(0) | None => {}
                Some(_) => self.left_from(bucket),
            },
            Asked::Enter { user, number, limit, answer: reply } => {
                match self.sound::<EnterAnswer>(bucket, answer) {
                    Some(EnterAnswer::Full) => self.refused(bucket, &user, number, limit, reply),
                    Some(EnterAnswer::Torn) => {
                        self.decide(&user, number, limit, reply);
                        self.torn(bucket);
                    }
                    Some(EnterAnswer::In { online, evicted }) => {
                        self.entered(&user, number, &evicted, reply);
                        if online {
                            self.tell(Presence::Online(user));
                        }
                    }
                    None => self.decide(&user, number, limit, reply),
                }
            }
            Asked::Register { user, number, answer: reply } => {
                let Some(Registered { online, over }) = self.sound(bucket, answer) else { return };
                self.shared.mirror.lock().listed(&user, number);
                // Nobody waits for these any more.
                let _ = reply.send(Ok(Vec::new()));
                self.tell_all(&online, Presence::Online);
                self.disconnect(&over);
            }
        }
    }

    fn refused(
        &mut self,
        bucket: usize,
        user: &UserId,
        number: u64,
        limit: UserLimit,
        reply: Answer,
    ) {
        let mut mirror = self.shared.mirror.lock();
        if mirror.refused(user, number) {
            let _ = reply.send(Err(LimitReached(limit.max_sockets)));
        } else {
            drop(mirror);
            self.spoil(bucket);
        }
    }

    fn entered(&mut self, user: &UserId, number: u64, evicted: &[Vec<u8>], reply: Answer) {
        let gone = self.decode_all(evicted);
        let gone: Vec<_> = gone.into_iter().map(|entry| entry.socket).collect();
        let mut mirror = self.shared.mirror.lock();
        mirror.listed(user, number);
        let own: Vec<_> = gone
            .iter()
            .filter(|socket| socket.node == self.shared.itself.id)
            .map(|socket| (socket.namespace.clone(), socket.id))
            .collect();
        // If nobody hears that these sockets have to go, they stay and are listed again.
        if reply.send(Ok(gone)).is_ok() {
            for (namespace, id) in own {
                mirror.leave(user, &namespace, id);
            }
        }
    }

    /// Disconnects sockets that are more than their users may have. They are unlisted, so each is
    /// told once.
    pub(super) fn disconnect(&self, over: &[Vec<u8>]) {
        for Entry { user, socket, .. } in self.decode_all(over) {
            tracing::info!(
                socket.id = %socket.id, namespace = %socket.namespace, user.id = &*user,
                node.id = %socket.node,
                "socket disconnected: its user has too many, admitted by nodes that were without Redis"
            );
            self.shared.mirror.lock().leave(&user, &socket.namespace, socket.id);
            self.here.disconnect(&socket);
        }
    }

    fn decode_all(&self, entries: &[Vec<u8>]) -> Vec<Entry> {
        let decoded: Vec<Entry> = entries.iter().filter_map(|entry| decode(entry)).collect();
        Counters::add(&self.shared.counters.malformed, entries.len() - decoded.len());
        decoded
    }

    /// Admits or refuses a socket without Redis.
    pub(super) fn decide(&mut self, user: &UserId, number: u64, limit: UserLimit, answer: Answer) {
        self.spoil(bucket_of(user));
        let mut mirror = self.shared.mirror.lock();
        if mirror.is_pending(user, number) == Some(true) {
            Counters::add(&self.shared.counters.admitted_alone, 1);
        }
        let _ = answer.send(mirror.decide(user, number, limit));
    }

    /// The answer in its expected form. Any other form spoils the bucket.
    pub(super) fn sound<T: FromRedisValue>(
        &mut self,
        bucket: usize,
        answer: RedisResult<Value>,
    ) -> Option<T> {
        match answer.and_then(|value| Ok(T::from_redis_value(value)?)) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.spoil(bucket);
                self.failed(&error);
                None
            }
        }
    }
}

/// The answers of `enter`.
enum EnterAnswer {
    Full,
    /// Redis has lost this node's entries of the bucket.
    Torn,
    In {
        online: bool,
        evicted: Vec<Vec<u8>>,
    },
}

impl FromRedisValue for EnterAnswer {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let parts = Vec::<Value>::from_redis_value(value)?;
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Nil);
        match u8::from_redis_value(next())? {
            0 => Ok(Self::Full),
            2 => Ok(Self::Torn),
            _ => Ok(Self::In {
                online: bool::from_redis_value(next())?,
                evicted: Vec::from_redis_value(next())?,
            }),
        }
    }
}
