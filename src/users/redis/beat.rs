//! Leases, and the look at all buckets with each beat: dead nodes, users whose grace time is over,
//! and missing entries of this node.

use std::collections::HashSet;

use redis::{Cmd, FromRedisValue, Value};
use tokio::time::Instant;

use super::{
    bucket::PAUSE,
    entry::BUCKETS,
    jobs::{Beaten, Done, Look},
    repair::call_register,
    roster::Description,
    scripts::{SCRIPTS, millis},
    sweep::sweep_node,
    worker::Worker,
};
use crate::{id::NodeId, link::redis::condition::in_words, users::Presence};

/// How many users go offline in one step.
const STEP: usize = 500;

/// Own entries (-1: lost), ms until the next user is due, users offline now, incarnations with
/// entries.
type Tick = (i64, i64, Vec<Vec<u8>>, Vec<Name>);

/// An incarnation as it stands in Redis, where any bytes may stand.
type Name = Vec<u8>;

impl Worker {
    /// Renews the lease.
    pub(super) fn beat(&mut self) {
        let interval = self.lease.mul_f64(rand::random_range(0.27..0.33));
        let sent = Instant::now();
        self.next_beat = sent + interval;
        let Some(access) = self.any_access() else { return };
        let info = self.shared.itself.info(self.shared.mirror.lock().user_count());
        let description = serde_json::to_string(&Description::from(info)).unwrap_or_default();
        let mut beat = SCRIPTS.beat.call(self.shared.keys.nodes());
        beat.arg(&self.incarnation).arg(description);
        beat.arg(millis(self.lease));
        beat.arg(u8::from(self.alive)).arg(self.former.as_deref().unwrap_or_default());
        beat.arg(NodeId::random().as_str());
        // A new node has no sockets, so everything is listed. It says so before others know it, and
        // they need not wait for it.
        let marks: Vec<_> = match self.generation == 0 && !self.alive {
            true => (0..BUCKETS).map(|bucket| vec![self.mark(bucket)]).collect(),
            false => Vec::new(),
        };
        self.beating = true;
        self.jobs.push(Box::pin(async move {
            // The first look finds a failure.
            access.run(marks).await;
            Done::Beaten(Beaten { sent, answer: access.run_one(beat).await })
        }));
    }

    fn mark(&self, bucket: usize) -> Cmd {
        let keys = self.shared.keys.bucket(bucket);
        call_register(keys, &self.incarnation, millis(self.grace), self.limit, true)
    }

    pub(super) fn beaten(&mut self, Beaten { sent, answer }: Beaten) {
        self.beating = false;
        match answer.and_then(|value| Ok(BeatAnswer::from_redis_value(value)?)) {
            Ok(BeatAnswer { epoch, nodes: Some((living, dying)) }) => {
                (self.alive, self.unsure) = (true, false);
                self.last_beat = sent;
                self.former = None;
                let now = std::time::Instant::now();
                self.shared.standing.lock().heard(&epoch, living.iter(), now, self.lease);
                self.epoch = epoch;
                self.succeeded();
                // A look before this beat found them, so every owner of entries was known by then.
                let strangers = std::mem::take(&mut self.strangers);
                let is_unknown = |node: &Name| !living.contains(node) && !dying.contains(node);
                self.mark_dying(strangers.into_iter().filter(is_unknown).collect());
                self.sweep(dying);
            }
            Ok(BeatAnswer { epoch, nodes: None }) => {
                self.start_new_incarnation(&epoch);
                self.beat();
            }
            Err(error) => {
                self.unheard = true;
                self.next_beat = Instant::now() + PAUSE;
                self.failed(&error);
                self.shared.standing.lock().failed(in_words(&error));
            }
        }
    }

    /// This node was taken for dead, or Redis has lost its data. The node takes a new name, for the
    /// old one is being swept, and lists everything again.
    fn start_new_incarnation(&mut self, epoch: &[u8]) {
        tracing::warn!(
            node.id = %self.shared.itself.id,
            "Redis no longer knows this node; listing its sockets again"
        );
        self.generation += 1;
        let next = format!("{}~{}", self.shared.itself.incarnation, self.generation);
        self.former = Some(std::mem::replace(&mut self.incarnation, next));
        (self.alive, self.owes_sweep) = (false, true);
        if self.epoch == epoch {
            // The entries were swept, so others may have been told that these users went offline.
            // Their presence is news again.
            self.shared.mirror.lock().forget_known();
        }
        let now = Instant::now();
        for bucket in &mut self.buckets {
            bucket.spoil_now(now);
        }
        self.note_behind();
    }

    /// Looks after buckets: users that are due, entries of unknown nodes, missing entries of this
    /// one.
    pub(super) fn look(&mut self, buckets: Vec<(usize, Option<usize>)>) {
        let Some(access) = self.any_access() else { return };
        let looks = buckets.into_iter().map(|(bucket, count)| {
            let mut tick = SCRIPTS.tick.call(self.shared.keys.bucket(bucket));
            tick.arg(&self.incarnation).arg(STEP);
            let state = &self.buckets[bucket];
            let count = count.filter(|_| !state.busy && state.waiting.is_empty());
            (tick, Look { bucket, told: state.told, count, answer: Ok(Value::Nil) })
        });
        let (ticks, mut looks): (Vec<_>, Vec<_>) = looks.unzip();
        self.jobs.push(Box::pin(async move {
            let answers = access.run(ticks.into_iter().map(|tick| vec![tick]).collect()).await;
            for (look, answer) in looks.iter_mut().zip(answers.into_iter().flatten()) {
                look.answer = answer;
            }
            Done::Looked(looks)
        }));
    }

    pub(super) fn looked(&mut self, Look { bucket, told, count, answer }: Look) {
        self.bucket_is(bucket, answer.as_ref().err());
        let Some((own, wait, offline, nodes)) = self.sound::<Tick>(bucket, answer) else { return };
        let now = Instant::now();
        self.tell_all(&offline, Presence::Offline);
        self.strangers.extend(nodes);
        let state = &mut self.buckets[bucket];
        state.wait_for_due(wait, now);
        let is_same = state.told == told;
        match (usize::try_from(own), count) {
            (Ok(own), Some(count)) if is_same => {
                state.compare(count, own, now);
                self.note_behind();
            }
            (Err(_), _) if is_same => self.torn(bucket),
            _ => {}
        }
    }

    /// A user's last socket here has left.
    pub(super) fn left_from(&mut self, bucket: usize) {
        self.buckets[bucket].left_from(self.grace, Instant::now());
    }

    /// Marks names as dying that have entries but no live node. A node that was cut off while
    /// writing leaves such entries, and so does a loss of data.
    fn mark_dying(&mut self, strangers: Vec<Name>) {
        let Some(access) = self.any_access() else { return };
        if strangers.is_empty() {
            return;
        }
        let mut add = redis::cmd("SADD");
        add.arg(&self.shared.keys.nodes()[1]).arg(strangers);
        // The next look finds a failure again.
        tokio::spawn(async move { access.run_one(add).await });
    }

    /// Removes the entries of dead nodes, in the background.
    fn sweep(&mut self, mut dying: Vec<Name>) {
        let is_busy = self.sweeping.as_ref().is_some_and(|sweeping| !sweeping.is_finished());
        let (Some(ops), Some(access)) = (self.ops.upgrade(), self.any_access()) else { return };
        // Our own former name waits until everything is listed under the new one: no user is to go
        // offline meanwhile.
        let is_mending = self.buckets.iter().any(|bucket| bucket.is_dirty());
        dying.retain(|node| !is_mending || !self.shared.itself.is(node));
        if is_busy || dying.is_empty() {
            return;
        }
        let (shared, grace) = (self.shared.clone(), millis(self.grace));
        self.sweeping = Some(tokio::spawn(async move {
            for node in dying {
                sweep_node(&shared, &access, &ops, &node, grace, None).await;
            }
        }));
    }

    /// Leaves the cluster: removes everything of this node at once.
    pub(super) async fn leave_cluster(&mut self) {
        let Some(access) = self.any_access() else { return };
        // Long enough for a node that starts meanwhile to take the data over.
        let forget = self.lease + self.grace;
        let mut close = SCRIPTS.close.call(self.shared.keys.nodes());
        close.arg(&self.incarnation).arg(millis(forget));
        // After a failure from here on, another node does it.
        let Ok(answer) = access.run_one(close).await else { return };
        let Ok((is_last, gone)) = <(bool, Vec<Name>)>::from_redis_value(answer) else { return };
        let Some(ops) = self.ops.upgrade() else { return };
        let (grace, forget) = (millis(self.grace), is_last.then_some(forget));
        for node in gone {
            sweep_node(&self.shared, &access, &ops, &node, grace, forget).await;
        }
    }
}

struct BeatAnswer {
    /// A new one after a loss of data.
    epoch: Vec<u8>,
    /// The live and the dying nodes. `None` if this node was taken for dead.
    nodes: Option<(HashSet<Name>, Vec<Name>)>,
}

impl FromRedisValue for BeatAnswer {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let parts = Vec::<Value>::from_redis_value(value)?;
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Nil);
        let epoch = Vec::from_redis_value(next())?;
        if !bool::from_redis_value(next())? {
            return Ok(Self { epoch, nodes: None });
        }
        let nodes = (HashSet::from_redis_value(next())?, Vec::from_redis_value(next())?);
        Ok(Self { epoch, nodes: Some(nodes) })
    }
}
