//! The task that tells Redis what happens on this node.
//!
//! It never waits for one answer. Each exchange with Redis is a job, and the loop takes whatever
//! comes next: an operation, the end of a job or a timer. So a beat is sent on time, and a user
//! waits only for the users of the same bucket.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{RedisResult, Value};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    Counters, Op, RedisOptions, Shared, Source, UserLimit,
    beat::Beaten,
    bucket::{Bucket, PAUSE},
    entry::{BUCKETS, bucket_of, decode_user},
    footing::{Footing, Said, evicting_policy},
    repair::{Repair, Repaired},
    scripts::Access,
    tell::Asked,
};
use crate::{
    future::BoxFuture,
    id::UserId,
    link::state::Link,
    users::{Here, Presence, PresenceSink},
};

/// How many operations are taken at once.
pub(super) const BATCH: usize = 512;

/// Longest queue of a bucket. A repair makes good what does not fit.
const MAX_WAITING: usize = 4096;

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) source: Arc<dyn Source>,
    pub(super) ops: mpsc::WeakSender<Op>,
    /// The name under which this node's sockets are listed now, and the one before it.
    pub(super) incarnation: String,
    pub(super) former: Option<String>,
    pub(super) generation: u32,
    pub(super) alive: bool,
    pub(super) epoch: Vec<u8>,
    pub(super) lease: Duration,
    pub(super) last_beat: Instant,
    pub(super) next_beat: Instant,
    /// A beat is under way.
    pub(super) beating: bool,
    /// The last beat failed.
    pub(super) unheard: bool,
    /// The link was made anew since the last beat. Redis may have lost its data, and nothing may be
    /// listed under a name that it has forgotten.
    pub(super) unsure: bool,
    /// Entries under the former name wait for the sweep of the next beat.
    pub(super) owes_sweep: bool,
    pub(super) said: Said,
    /// There was a link before.
    pub(super) was_linked: bool,
    /// Names that had entries but no live node at the last look.
    pub(super) strangers: HashSet<Vec<u8>>,
    pub(super) buckets: Vec<Bucket>,
    pub(super) grace: Duration,
    presence: Option<PresenceSink>,
    pub(super) limit: UserLimit,
    pub(super) here: Arc<dyn Here>,
    pub(super) sweeping: Option<JoinHandle<()>>,
    pub(super) jobs: FuturesUnordered<BoxFuture<'static, Done>>,
}

/// The result of a job.
pub(super) enum Done {
    Told {
        bucket: usize,
        asked: Vec<Asked>,
        answers: Vec<RedisResult<Value>>,
    },
    Repaired {
        bucket: usize,
        repaired: Repaired,
    },
    Beaten(Beaten),
    Looked(Vec<super::beat::Look>),
    /// The policy by which Redis evicts keys of the directory, if it does.
    Policy(Option<String>),
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        source: Arc<dyn Source>,
        ops: mpsc::WeakSender<Op>,
        options: RedisOptions,
    ) -> Self {
        let now = Instant::now();
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
            beating: false,
            unheard: false,
            unsure: false,
            owes_sweep: false,
            said: Said::default(),
            was_linked: false,
            strangers: HashSet::new(),
            buckets: std::iter::repeat_with(|| Bucket::new(now)).take(BUCKETS).collect(),
            grace: options.offline_after.min(MAX_GRACE),
            presence: options.presence,
            limit: options.limit,
            here: options.here,
            sweeping: None,
            jobs: FuturesUnordered::new(),
        }
    }

    /// Ends when the directory is closed or dropped.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Op>) {
        let mut link = self.source.link();
        let mut link_lives = true;
        self.look_at_policy();
        let mut ops = Vec::with_capacity(BATCH);
        loop {
            let timer = self.next_timer();
            tokio::select! {
                count = asked.recv_many(&mut ops, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    if let Some(closing) = self.take(&mut ops) {
                        self.close(asked, closing).await;
                        break;
                    }
                }
                Some(done) = self.jobs.next() => self.done(done),
                changed = link.changed(), if link_lives => {
                    link_lives = changed.is_ok();
                    if link_lives && *link.borrow_and_update() == Link::Up {
                        self.next_beat = Instant::now();
                        self.unsure = true;
                        self.retry_now();
                        self.look_at_policy();
                    }
                    self.go_on();
                }
                () = sleep_until(timer) => {
                    let counts = {
                        // Operations are sent under the lock.
                        let mirror = self.shared.mirror.lock();
                        asked.is_empty().then(|| mirror.counts())
                    };
                    self.timers(counts);
                }
            }
        }
        if let Some(sweeping) = self.sweeping.take() {
            sweeping.abort();
        }
    }

    /// Takes operations. Returns where to report the node's departure, if it is to leave.
    fn take(&mut self, ops: &mut Vec<Op>) -> Option<oneshot::Sender<()>> {
        self.take_overflow();
        let mut touched = 0_u64;
        let mut closing = None;
        for op in ops.drain(..) {
            let bucket = match &op {
                Op::Enter { user, .. } | Op::Leave { user, .. } => bucket_of(user),
                Op::Retell { bucket, .. } => *bucket,
                Op::Emptied(bucket) => {
                    self.left_from(*bucket);
                    continue;
                }
                Op::Torn(bucket) => {
                    self.torn(*bucket);
                    continue;
                }
                Op::Close(_) => {
                    if let Op::Close(done) = op {
                        closing = Some(done);
                    }
                    continue;
                }
            };
            touched |= 1 << bucket;
            let is_full = self.buckets[bucket].waiting.len() >= MAX_WAITING;
            match op {
                // A dirty bucket is compared with the mirror later.
                Op::Leave { .. } if is_full || self.buckets[bucket].is_dirty() => {
                    self.spoil(bucket);
                }
                Op::Enter { user, number, limit, answer, .. } if is_full => {
                    self.decide(&user, number, limit, answer);
                }
                op => self.buckets[bucket].waiting.push_back(op),
            }
        }
        for bucket in (0..BUCKETS).filter(|bucket| touched & (1 << bucket) != 0) {
            self.go_on_with(bucket);
        }
        closing
    }

    /// Operations that did not fit are lost. Their buckets are compared with the mirror.
    pub(super) fn take_overflow(&mut self) {
        let lost = self.shared.take_overflow();
        for bucket in (0..BUCKETS).filter(|bucket| lost & (1 << bucket) != 0) {
            self.spoil(bucket);
        }
    }

    /// Continues with every bucket.
    pub(super) fn go_on(&mut self) {
        (0..BUCKETS).for_each(|bucket| self.go_on_with(bucket));
    }

    /// Tells Redis the next thing about a bucket, unless an exchange about it is under way.
    pub(super) fn go_on_with(&mut self, at: usize) {
        let now = Instant::now();
        let bucket = &self.buckets[at];
        if bucket.busy || (bucket.waiting.is_empty() && !bucket.wants_repair(now)) {
            return;
        }
        match self.footing() {
            Footing::Soon => {}
            Footing::No => self.decide_waiting(at),
            Footing::Firm(access) if !self.buckets[at].is_dirty() => self.tell_waiting(at, access),
            Footing::Firm(access) if self.buckets[at].wants_repair(now) => self.repair(at, access),
            Footing::Firm(_) => self.decide_waiting(at), // it has just failed
        }
    }

    fn look_at_policy(&self) {
        if let Some(access) = self.any_access() {
            self.jobs.push(Box::pin(async move { Done::Policy(evicting_policy(access).await) }));
        }
    }

    fn repair(&mut self, bucket: usize, access: Access) {
        self.buckets[bucket].begin_repair();
        let (shared, incarnation) = (self.shared.clone(), self.incarnation.clone());
        let (grace, limit) = (millis(self.grace), self.limit);
        let repair = Repair { shared, access, bucket, incarnation, grace, limit };
        self.jobs
            .push(Box::pin(async move { Done::Repaired { bucket, repaired: repair.run().await } }));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Told { bucket, asked, answers } => {
                self.buckets[bucket].busy = false;
                for (asked, answer) in asked.into_iter().zip(answers) {
                    self.answered(bucket, asked, answer);
                }
                self.go_on_with(bucket);
            }
            Done::Repaired { bucket, repaired } => {
                let Repaired { changes, online, emptied, over, failed } = repaired;
                Counters::add(&self.shared.counters.repaired, changes);
                self.tell_all(&online, Presence::Online);
                self.disconnect(&over);
                if emptied {
                    self.left_from(bucket);
                }
                self.buckets[bucket].repaired(failed.is_none(), Instant::now());
                self.bucket_is(bucket, failed.as_ref());
                if let Some(error) = failed {
                    self.failed(&error);
                }
                self.note_behind();
                let is_whole = self.buckets.iter().all(|bucket| !bucket.is_dirty());
                if is_whole && std::mem::take(&mut self.owes_sweep) {
                    self.next_beat = Instant::now();
                }
                self.go_on_with(bucket);
            }
            Done::Beaten(beaten) => {
                self.beaten(beaten);
                self.go_on();
            }
            Done::Looked(looks) => {
                looks.into_iter().for_each(|look| self.looked(look));
                self.go_on();
            }
            Done::Policy(policy) => self.evicts(policy),
        }
    }

    /// The node leaves. Waiting operations are dropped: all entries are about to be removed at
    /// once.
    async fn close(&mut self, mut asked: mpsc::Receiver<Op>, closing: oneshot::Sender<()>) {
        // From now on the handle decides about sockets that enter.
        asked.close();
        while let Ok(op) = asked.try_recv() {
            self.take(&mut vec![op]);
        }
        (0..BUCKETS).for_each(|bucket| self.decide_waiting(bucket));
        while let Some(done) = self.jobs.next().await {
            if let Done::Told { bucket, asked, answers } = done {
                for (asked, answer) in asked.into_iter().zip(answers) {
                    self.answered(bucket, asked, answer);
                }
            }
        }
        self.leave_cluster().await;
        let _ = closing.send(());
    }

    /// Redis may not have the bucket as the mirror does.
    pub(super) fn spoil(&mut self, bucket: usize) {
        self.buckets[bucket].spoil(Instant::now());
        self.note_behind();
    }

    pub(super) fn note_behind(&self) {
        let dirty = (0..BUCKETS).filter(|&bucket| self.buckets[bucket].is_dirty());
        let behind = dirty.fold(0, |behind, bucket| behind | 1 << bucket);
        self.shared.standing.lock().is_behind(behind, std::time::Instant::now());
    }

    pub(super) fn retry_now(&mut self) {
        let now = Instant::now();
        for bucket in &mut self.buckets {
            bucket.retry_at = now;
        }
    }

    pub(super) fn pause(&mut self) {
        let later = Instant::now() + PAUSE;
        self.next_beat = self.next_beat.max(later);
        for bucket in &mut self.buckets {
            bucket.retry_at = bucket.retry_at.max(later);
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

/// A hundred years. Sums of it with the time are exact in Lua.
const MAX_GRACE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
