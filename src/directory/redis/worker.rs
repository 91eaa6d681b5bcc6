//! The task that tells Redis what happens on this node, in order.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, FromRedisValue, RedisResult, Value};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    Answer, Counters, Op, RedisOptions, Shared, Source,
    entry::{BUCKETS, bucket_of, decode, decode_user, encode, encode_user, keys},
    scripts::{SCRIPTS, call, run},
};
use crate::{
    cluster::broker::Link,
    directory::{LimitReached, Presence, PresenceSink, UserLimit},
    id::UserId,
    redis::commands::Commands,
};

/// How many ops go to Redis at once.
const BATCH: usize = 512;

/// After a failure the next attempt waits so long.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// What is known about a bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct BucketState {
    /// Redis may not have what the mirror has. Nothing is told to it until that is made good.
    pub(super) dirty: bool,
    /// Not to be repaired before.
    pub(super) retry_at: Instant,
    /// At the last look Redis had not as many entries as this node has sockets.
    pub(super) differs: bool,
    /// When the next user that left from here is offline.
    pub(super) due: Option<Instant>,
    /// When the last one is.
    pub(super) due_until: Instant,
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    source: Arc<dyn Source>,
    pub(super) ops: mpsc::WeakUnboundedSender<Op>,
    /// The name under which this node's sockets are listed now, and the one before it.
    pub(super) incarnation: String,
    pub(super) former: Option<String>,
    pub(super) generation: u32,
    pub(super) alive: bool,
    pub(super) epoch: Vec<u8>,
    pub(super) lease: Duration,
    pub(super) last_beat: Instant,
    pub(super) next_beat: Instant,
    pub(super) buckets: Vec<BucketState>,
    /// In ms; -1 = nobody wants to know.
    pub(super) grace: i64,
    presence: Option<PresenceSink>,
    /// Redis does not answer, and that was logged.
    outage: bool,
    pub(super) sweeping: Option<JoinHandle<()>>,
}

/// A call and what is to be done with its answer.
enum Asked {
    Enter { user: UserId, number: u64, limit: UserLimit, answer: Answer },
    Leave,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        source: Arc<dyn Source>,
        ops: mpsc::WeakUnboundedSender<Op>,
        options: RedisOptions,
    ) -> Self {
        let now = Instant::now();
        let grace = i64::try_from(options.offline_after.as_millis()).unwrap_or(i64::MAX);
        let bucket =
            BucketState { dirty: false, retry_at: now, differs: false, due: None, due_until: now };
        Self {
            incarnation: shared.itself.incarnation.clone(),
            shared,
            source,
            ops,
            former: None,
            generation: 0,
            alive: false,
            epoch: Vec::new(),
            lease: options.lease,
            last_beat: now,
            next_beat: now,
            buckets: vec![bucket; BUCKETS],
            grace: if options.presence.is_some() { grace.min(MAX_GRACE) } else { -1 },
            presence: options.presence,
            // What is not reached before the first link is made is the link's to tell.
            outage: true,
            sweeping: None,
        }
    }

    /// Ends when the directory is closed or dropped.
    pub(super) async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Op>) {
        let mut link = self.source.link();
        let mut link_lives = true;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                count = asked.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    if let Some(done) = self.batch(std::mem::take(&mut batch)).await {
                        self.leave_cluster().await;
                        // Whoever enters from now on is decided about by the handle.
                        drop(asked);
                        let _ = done.send(());
                        break;
                    }
                }
                changed = link.changed(), if link_lives => {
                    link_lives = changed.is_ok();
                    if link_lives && *link.borrow_and_update() == Link::Up {
                        self.next_beat = Instant::now();
                        self.retry_now();
                    }
                }
                () = sleep_until(self.next_timer()) => {
                    let counts = {
                        // Ops are sent under the lock.
                        let mirror = self.shared.mirror.lock();
                        asked.is_empty().then(|| mirror.counts())
                    };
                    self.timers(counts).await;
                }
            }
        }
        if let Some(sweeping) = self.sweeping.take() {
            sweeping.abort();
        }
    }

    /// Tells Redis of some ops. Answers whom to tell when the node has left, if it is to leave.
    async fn batch(&mut self, ops: Vec<Op>) -> Option<tokio::sync::oneshot::Sender<()>> {
        let mut closing = None;
        let commands = self.ready().await;
        let mut groups: Vec<(Vec<Cmd>, Vec<Asked>)> = Vec::new();
        let mut group_of = [None::<usize>; BUCKETS];
        let mut touched = Vec::new();
        for op in ops {
            let (bucket, command, asked) = match op {
                Op::Enter { user, socket, number, limit, answer } => {
                    let pending = self.shared.mirror.lock().is_pending(&user, number);
                    let Some(pending) = pending else { continue }; // gone before it was in
                    let bucket = bucket_of(&user);
                    if !self.usable(commands.as_ref(), bucket).await {
                        self.decide(&user, number, limit, answer);
                        continue;
                    }
                    // If nobody waits any more it is in, limit or not.
                    let max = if pending { limit.max_sockets } else { 0 };
                    let mut enter = call(&SCRIPTS.enter, keys(bucket));
                    enter.arg(encode_user(&user)).arg(encode(&user, &socket, &self.incarnation));
                    enter.arg(&self.incarnation).arg(max);
                    enter.arg(u8::from(limit.disconnect_oldest)).arg(self.grace);
                    (bucket, enter, Asked::Enter { user, number, limit, answer })
                }
                Op::Leave { user, socket } => {
                    let bucket = bucket_of(&user);
                    if commands.is_none() {
                        self.spoil(bucket);
                    }
                    // A dirty bucket is compared with the mirror later.
                    if self.buckets[bucket].dirty {
                        continue;
                    }
                    let mut leave = call(&SCRIPTS.leave, keys(bucket));
                    leave.arg(&self.incarnation).arg(self.grace);
                    leave.arg(encode_user(&user)).arg(encode(&user, &socket, &self.incarnation));
                    (bucket, leave, Asked::Leave)
                }
                Op::Emptied(bucket) => {
                    self.left_from(bucket);
                    continue;
                }
                Op::Close(done) => {
                    closing = Some(done);
                    continue;
                }
            };
            let at = *group_of[bucket].get_or_insert_with(|| {
                touched.push(bucket);
                groups.push(Default::default());
                groups.len() - 1
            });
            groups[at].0.push(command);
            groups[at].1.push(asked);
        }
        let Some(commands) = commands else { return closing };
        let (calls, asked): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
        let answers = run(&commands, calls).await;
        for ((bucket, asked), answers) in touched.into_iter().zip(asked).zip(answers) {
            for (asked, answer) in asked.into_iter().zip(answers) {
                self.answered(bucket, asked, answer);
            }
        }
        closing
    }

    fn answered(&mut self, bucket: usize, asked: Asked, answer: RedisResult<Value>) {
        match asked {
            Asked::Leave => match self.sound::<usize>(bucket, answer) {
                Some(0) | None => {}
                Some(_) => self.left_from(bucket),
            },
            Asked::Enter { user, number, limit, answer: reply } => {
                match self.sound::<EnterAnswer>(bucket, answer) {
                    Some(EnterAnswer(None)) => {
                        let mut mirror = self.shared.mirror.lock();
                        if mirror.refused(&user, number) {
                            let _ = reply.send(Err(LimitReached(limit.max_sockets)));
                        } else {
                            drop(mirror);
                            self.spoil(bucket);
                        }
                    }
                    Some(EnterAnswer(Some((online, evicted)))) => {
                        let mut gone = Vec::with_capacity(evicted.len());
                        let mut mirror = self.shared.mirror.lock();
                        for entry in &evicted {
                            let Some(entry) = decode(entry) else {
                                Counters::add(&self.shared.counters.malformed, 1);
                                continue;
                            };
                            gone.push(entry.socket);
                        }
                        mirror.listed(&user, number);
                        let own: Vec<_> = gone
                            .iter()
                            .filter(|socket| socket.node == self.shared.itself.id)
                            .map(|socket| (socket.namespace.clone(), socket.id))
                            .collect();
                        // If nobody hears that they are to go they stay, and are listed again.
                        if reply.send(Ok(gone)).is_ok() {
                            for (namespace, id) in own {
                                mirror.leave(&user, &namespace, id);
                            }
                        }
                        drop(mirror);
                        if online {
                            self.tell(Presence::Online(user));
                        }
                    }
                    None => self.decide(&user, number, limit, reply),
                }
            }
        }
    }

    /// Lets a socket in, or not, without Redis.
    fn decide(&mut self, user: &UserId, number: u64, limit: UserLimit, answer: Answer) {
        self.spoil(bucket_of(user));
        let mut mirror = self.shared.mirror.lock();
        if mirror.is_pending(user, number) == Some(true) {
            Counters::add(&self.shared.counters.admitted_alone, 1);
        }
        let _ = answer.send(mirror.decide(user, number, limit));
    }

    /// A connection, if Redis can be asked and this node's lease holds.
    pub(super) async fn ready(&mut self) -> Option<Commands> {
        let Some(commands) = self.source.commands() else {
            self.failed("the link is down");
            return None;
        };
        // Else its sockets might be listed after they were swept.
        if !self.alive || self.last_beat.elapsed() > self.lease / 2 {
            if Instant::now() < self.next_beat {
                return None; // just tried
            }
            self.beat(&commands).await?;
        }
        Some(commands)
    }

    /// Whether Redis has what the mirror has of the bucket, if need be after a repair.
    async fn usable(&mut self, commands: Option<&Commands>, bucket: usize) -> bool {
        let Some(commands) = commands else { return false };
        let state = self.buckets[bucket];
        if state.dirty && state.retry_at <= Instant::now() {
            self.repair(commands, bucket).await;
        }
        !self.buckets[bucket].dirty
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

    /// Redis may not have what the mirror has of the bucket.
    pub(super) fn spoil(&mut self, bucket: usize) {
        let state = &mut self.buckets[bucket];
        if !state.dirty {
            state.dirty = true;
            state.retry_at = Instant::now() + PAUSE;
        }
    }

    pub(super) fn retry_now(&mut self) {
        let now = Instant::now();
        for state in &mut self.buckets {
            state.retry_at = now;
        }
    }

    /// Counts a failure; the first one of an outage is logged.
    pub(super) fn failed(&mut self, why: &(impl std::fmt::Display + ?Sized)) {
        Counters::add(&self.shared.counters.failures, 1);
        if !std::mem::replace(&mut self.outage, true) {
            tracing::warn!(
                error = %why,
                "the user directory cannot reach Redis; this node decides alone for now"
            );
        }
    }

    /// A beat was answered.
    pub(super) fn succeeded(&mut self) {
        if std::mem::take(&mut self.outage) {
            tracing::info!("the user directory reaches Redis");
        }
    }

    pub(super) fn tell(&self, presence: Presence) {
        if let Some(sink) = &self.presence {
            sink.tell(presence);
        }
    }

    pub(super) fn tell_all(&self, users: &[Vec<u8>], presence: fn(UserId) -> Presence) {
        for user in users {
            match decode_user(user) {
                Some(user) => self.tell(presence(user)),
                None => Counters::add(&self.shared.counters.malformed, 1),
            }
        }
    }
}

/// A hundred years, in ms; sums of it with the time are exact in Lua.
const MAX_GRACE: i64 = 100 * 365 * 24 * 3600 * 1000;

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
