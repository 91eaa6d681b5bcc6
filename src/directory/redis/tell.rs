//! Telling Redis who has come and who has gone, and what follows from its answers.

use redis::{FromRedisValue, RedisResult, Value};

use super::{
    Answer, Counters, Op,
    entry::{bucket_of, decode, encode, encode_user, keys},
    scripts::{Access, SCRIPTS, call},
    worker::{BATCH, Done, Worker, millis},
};
use crate::{
    directory::{LimitReached, Presence, UserLimit},
    id::UserId,
};

/// A call and what is to be done with its answer.
pub(super) enum Asked {
    Enter { user: UserId, number: u64, limit: UserLimit, answer: Answer },
    Leave,
}

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
                    // If nobody waits any more it is in, limit or not.
                    let max = if pending { limit.max_sockets } else { 0 };
                    let mut enter = call(&SCRIPTS.enter, keys(at));
                    enter.arg(encode_user(&user)).arg(encode(&user, &socket, &self.incarnation));
                    enter.arg(&self.incarnation).arg(max);
                    enter.arg(u8::from(limit.disconnect_oldest)).arg(millis(self.grace));
                    calls.push(enter);
                    asked.push(Asked::Enter { user, number, limit, answer });
                }
                Op::Leave { user, socket } => {
                    let mut leave = call(&SCRIPTS.leave, keys(at));
                    leave.arg(&self.incarnation).arg(millis(self.grace));
                    leave.arg(encode_user(&user)).arg(encode(&user, &socket, &self.incarnation));
                    calls.push(leave);
                    asked.push(Asked::Leave);
                }
                // Those are about no single bucket.
                Op::Emptied(_) | Op::Close(_) => {}
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

    /// Decides about everybody who waits to be told of, without Redis. A bucket that somebody left
    /// or entered so is compared with the mirror later.
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
            Asked::Leave => match self.sound::<usize>(bucket, answer) {
                Some(0) | None => {}
                Some(_) => self.left_from(bucket),
            },
            Asked::Enter { user, number, limit, answer: reply } => {
                match self.sound::<EnterAnswer>(bucket, answer) {
                    Some(EnterAnswer(None)) => self.refused(bucket, &user, number, limit, reply),
                    Some(EnterAnswer(Some((online, evicted)))) => {
                        self.entered(&user, number, &evicted, reply);
                        if online {
                            self.tell(Presence::Online(user));
                        }
                    }
                    None => self.decide(&user, number, limit, reply),
                }
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
        let mut gone = Vec::with_capacity(evicted.len());
        for entry in evicted {
            match decode(entry) {
                Some(entry) => gone.push(entry.socket),
                None => Counters::add(&self.shared.counters.malformed, 1),
            }
        }
        let mut mirror = self.shared.mirror.lock();
        mirror.listed(user, number);
        let own: Vec<_> = gone
            .iter()
            .filter(|socket| socket.node == self.shared.itself.id)
            .map(|socket| (socket.namespace.clone(), socket.id))
            .collect();
        // If nobody hears that they are to go they stay, and are listed again.
        if reply.send(Ok(gone)).is_ok() {
            for (namespace, id) in own {
                mirror.leave(user, &namespace, id);
            }
        }
    }

    /// Lets a socket in, or not, without Redis.
    pub(super) fn decide(&mut self, user: &UserId, number: u64, limit: UserLimit, answer: Answer) {
        self.spoil(bucket_of(user));
        let mut mirror = self.shared.mirror.lock();
        if mirror.is_pending(user, number) == Some(true) {
            Counters::add(&self.shared.counters.admitted_alone, 1);
        }
        let _ = answer.send(mirror.decide(user, number, limit));
    }

    /// The answer as it should be; anything else spoils the bucket.
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

/// None if the limit is reached, else whether the user came online, and the entries that go.
struct EnterAnswer(Option<(bool, Vec<Vec<u8>>)>);

impl FromRedisValue for EnterAnswer {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let parts = Vec::<Value>::from_redis_value(value)?;
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Nil);
        if !bool::from_redis_value(next())? {
            return Ok(Self(None));
        }
        Ok(Self(Some((bool::from_redis_value(next())?, Vec::from_redis_value(next())?))))
    }
}
