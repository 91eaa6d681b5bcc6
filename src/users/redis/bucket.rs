//! One bucket as the worker sees it: what Redis has to be told, and what is known about it.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::Op;

/// Pause after a failure.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Users that go offline within this time are told together.
const COALESCE: Duration = Duration::from_millis(20);

/// One bucket. Redis is told one thing at a time about it, which keeps the order. Several buckets
/// are told at once, so that no user waits for those of another bucket.
pub(super) struct Bucket {
    /// Operations to tell, in order.
    pub(super) waiting: VecDeque<Op>,
    /// Redis is being told something about the bucket.
    pub(super) busy: bool,
    /// How many times Redis was told something.
    pub(super) told: u64,
    /// Redis and the mirror may differ. Redis is told nothing until a repair has made that good.
    dirty: bool,
    /// The bucket became dirty again while a repair was under way.
    again: bool,
    /// Earliest time of the next repair.
    pub(super) retry_at: Instant,
    /// The last look found another number of entries than this node has sockets.
    differs: bool,
    /// When the next user that left from here goes offline.
    pub(super) due: Option<Instant>,
    /// When the last such user goes offline.
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

    /// Redis and the mirror may differ. A repair follows after a pause.
    pub(super) fn spoil(&mut self, now: Instant) {
        if !self.dirty {
            self.dirty = true;
            self.retry_at = now + PAUSE;
        }
        self.again = self.busy;
    }

    /// As [`spoil`](Self::spoil), with a repair at once.
    pub(super) fn spoil_now(&mut self, now: Instant) {
        self.spoil(now);
        self.retry_at = now;
    }

    /// Redis begins to be told something about the bucket.
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

    /// Whether a repair is due.
    pub(super) fn wants_repair(&self, now: Instant) -> bool {
        self.dirty && self.retry_at <= now
    }

    /// The time of the next action. `alive`: a repair would be possible.
    pub(super) fn next_timer(&self, alive: bool) -> Option<Instant> {
        let repair = (self.dirty && !self.busy && alive).then_some(self.retry_at);
        [self.due, repair].into_iter().flatten().min()
    }

    /// A user's last socket here has left. The user is offline after `grace`.
    pub(super) fn left_from(&mut self, grace: Duration, now: Instant) {
        let due = now + grace + COALESCE;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        // Redis has a clock of its own, so leave some room.
        self.due_until = due + PAUSE;
    }

    /// The next user goes offline in `wait` ms, if there is one.
    pub(super) fn wait_for_due(&mut self, wait: i64, now: Instant) {
        // Other nodes wait for the users that left from them, and every beat looks after all.
        self.due = u64::try_from(wait)
            .ok()
            .filter(|_| now < self.due_until)
            .map(|wait| now + Duration::from_millis(wait) + COALESCE);
    }

    /// Compares the `own` entries that Redis has of this node with its `count` sockets.
    pub(super) fn compare(&mut self, count: usize, own: usize, now: Instant) {
        let differs = count != own;
        // Two looks must agree: a socket that another node has thrown out needs a moment to go.
        if differs && self.differs && !self.dirty {
            self.spoil_now(now);
        }
        self.differs = differs;
    }
}
