//! The loop of the task that tells Redis what happens on this node.
//!
//! It never waits for one answer. Each exchange with Redis is a job, and the loop takes whatever
//! comes next: an operation, the end of a job or a timer. So a beat is sent on time, and a user
//! waits only for the users of the same bucket.

use futures_util::StreamExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    Counters, Op,
    bucket::PAUSE,
    entry::{BUCKETS, bucket_of},
    footing::{Footing, evicting_policy},
    jobs::Done,
    repair::{Repair, Repaired},
    scripts::{Access, millis},
    worker::{BATCH, Worker},
};
use crate::{link::Link, users::Presence};

/// Longest queue of a bucket. A repair makes good what does not fit.
const MAX_WAITING: usize = 4096;

impl Worker {
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
                Op::Beat => {
                    self.next_beat = Instant::now();
                    continue;
                }
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

    /// The time of the next action.
    pub(super) fn next_timer(&self) -> Instant {
        let beat = (!self.beating).then_some(self.next_beat);
        let buckets = self.buckets.iter().filter_map(|bucket| bucket.next_timer(self.alive));
        // A beat under way ends within the patience. The next one gets its time then.
        buckets.chain(beat).min().unwrap_or_else(|| Instant::now() + PAUSE)
    }

    /// Does the due actions. `counts` are the mirror's, if all operations were taken.
    pub(super) fn timers(&mut self, counts: Option<Vec<Option<usize>>>) {
        let now = Instant::now();
        self.take_overflow();
        if !self.beating && now >= self.next_beat {
            self.beat();
            self.retell();
            if self.access().is_some() {
                let counts = counts.unwrap_or_else(|| vec![None; BUCKETS]);
                self.look((0..BUCKETS).zip(counts).collect());
            }
        }
        let due = (0..BUCKETS).filter(|&at| self.buckets[at].due.is_some_and(|due| due <= now));
        let due: Vec<_> = due.map(|bucket| (bucket, None)).collect();
        for (bucket, _) in &due {
            // The look sets it anew. If Redis cannot be asked, the next beat finds these users.
            self.buckets[*bucket].due = None;
        }
        if !due.is_empty() && self.access().is_some() {
            self.look(due);
        }
        match self.any_access() {
            Some(_) => self.go_on(),
            None => self.pause(),
        }
    }
}
