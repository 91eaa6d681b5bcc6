//! The state of the task that tells Redis what happens on this node.
//!
//! `run` is its loop. Its work is in `tell`, `retell`, `beat` and `footing`. The results of its
//! exchanges with Redis are `jobs`.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::stream::FuturesUnordered;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::{
    Counters, Op, RedisOptions, Shared, Source, UserLimit,
    bucket::{Bucket, PAUSE},
    entry::{BUCKETS, decode_user},
    jobs::Done,
};
use crate::{
    future::BoxFuture,
    id::UserId,
    users::{Here, Presence, PresenceSink},
};

/// How many operations are taken at once.
pub(super) const BATCH: usize = 512;

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
    pub(super) logged: Logged,
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

/// What was logged already, so that it is logged once.
#[derive(Default)]
pub(super) struct Logged {
    /// A failure was logged, and its end was not.
    pub(super) failure: bool,
    pub(super) loss: Option<Instant>,
    pub(super) policy: Option<String>,
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
            logged: Logged::default(),
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
