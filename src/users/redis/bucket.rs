//! One bucket as the worker sees it: what is to be told of it, and what is known about it.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::Op;

/// After a failure the next attempt waits so long.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Users that go offline at nearly the same time are told of together.
const COALESCE: Duration = Duration::from_millis(20);

/// Only one thing at a time is said to Redis about a bucket, which keeps the order; about several
/// buckets at once, so that nobody waits for the users of another.
pub(super) struct Bucket {
    /// What is to be told, in order.
    pub(super) waiting: VecDeque<Op>,
    /// Something is being said to Redis about it.
    pub(super) busy: bool,
    /// How often something was.
    pub(super) told: u64,
    /// Redis may not have what the mirror has. Nothing is told to it until that is made good.
    dirty: bool,
    /// It became dirty, once more perhaps, while a repair was under way.
    again: bool,
    /// Not to be repaired before.
    pub(super) retry_at: Instant,
    /// At the last look Redis had not as many entries as this node has sockets.
    differs: bool,
    /// When the next user that left from here is offline.
    pub(super) due: Option<Instant>,
    /// When the last one is.
    due_until: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            busy: false,
            told: 0,
            dirty: false,
            again: false,
            retry_at: now,
            differs: false,
            due: None,
            due_until: now,
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Redis may not have what the mirror has of it; to be made good after a pause.
    pub(super) fn spoil(&mut self, now: Instant) {
        if !self.dirty {
            self.dirty = true;
            self.retry_at = now + PAUSE;
        }
        self.again = self.busy;
    }

    /// The same, to be made good at once.
    pub(super) fn spoil_now(&mut self, now: Instant) {
        self.spoil(now);
        self.retry_at = now;
    }

    /// Something is said to Redis about it from now on.
    pub(super) fn begin(&mut self) {
        self.busy = true;
        self.told += 1;
    }

    /// A repair begins.
    pub(super) fn begin_repair(&mut self) {
        self.begin();
        self.again = false;
    }

    /// A repair has ended.
    pub(super) fn repaired(&mut self, well: bool, now: Instant) {
        self.busy = false;
        if !well {
            self.retry_at = now + PAUSE;
        } else if !std::mem::take(&mut self.again) {
            (self.dirty, self.differs) = (false, false);
        }
    }

    /// Whether there is a repair to be done by now.
    pub(super) fn wants_repair(&self, now: Instant) -> bool {
        self.dirty && self.retry_at <= now
    }

    /// When there is something to do next; `alive`: a repair could be done.
    pub(super) fn next_timer(&self, alive: bool) -> Option<Instant> {
        let repair = (self.dirty && !self.busy && alive).then_some(self.retry_at);
        [self.due, repair].into_iter().flatten().min()
    }

    /// A user has left from here, and is offline after `grace`.
    pub(super) fn left_from(&mut self, grace: Duration, now: Instant) {
        let due = now + grace + COALESCE;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        // Redis has its own clock, so some room.
        self.due_until = due + PAUSE;
    }

    /// In so many ms the next user is offline, if there is one.
    pub(super) fn wait_for_due(&mut self, wait: i64, now: Instant) {
        // Others wait for those that left from them, and every beat looks after all.
        self.due = u64::try_from(wait)
            .ok()
            .filter(|_| now < self.due_until)
            .map(|wait| now + Duration::from_millis(wait) + COALESCE);
    }

    /// Redis has `own` entries of this node, and the node has `count` sockets.
    pub(super) fn compare(&mut self, count: usize, own: usize, now: Instant) {
        let differs = count != own;
        // Twice, as a socket that another node has thrown out needs a moment to go.
        if differs && self.differs && !self.dirty {
            self.spoil_now(now);
        }
        self.differs = differs;
    }
}
