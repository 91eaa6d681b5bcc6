//! Leases, the sweep of nodes that are gone, and users whose grace time is over.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use redis::{FromRedisValue, Value};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Counters, Op, Shared,
    entry::{BUCKETS, keys, node_keys},
    scripts::{SCRIPTS, call, run, run_one},
    worker::{BucketState, PAUSE, Worker},
};
use crate::{
    directory::{NodeInfo, Presence},
    id::NodeId,
    redis::commands::Commands,
};

/// How many users go offline, and how many entries are swept, in one step.
const STEP: usize = 500;

/// Users that go offline at nearly the same time are told of together.
const COALESCE: Duration = Duration::from_millis(20);

/// Own entries, ms until the next user is due, users offline now, incarnations with entries.
type Tick = (usize, i64, Vec<Vec<u8>>, Vec<Name>);

/// An incarnation as it stands in Redis, where anything may stand.
type Name = Vec<u8>;

impl Worker {
    /// When there is something to do next.
    pub(super) fn next_timer(&self) -> Instant {
        let of_bucket = |state: &BucketState| {
            let repair = (state.dirty && self.alive).then_some(state.retry_at);
            [state.due, repair].into_iter().flatten().min()
        };
        self.buckets
            .iter()
            .filter_map(of_bucket)
            .min()
            .map_or(self.next_beat, |at| at.min(self.next_beat))
    }

    /// Does what is due. `counts` are those of the mirror, if Redis was told all of it.
    pub(super) async fn timers(&mut self, counts: Option<Vec<Option<usize>>>) {
        let now = Instant::now();
        let is_beat = now >= self.next_beat;
        let buckets: Vec<usize> =
            (0..BUCKETS).filter(|&at| self.buckets[at].due.is_some_and(|due| due <= now)).collect();
        for &bucket in &buckets {
            // Set anew below. If Redis cannot be asked the next beat finds them.
            self.buckets[bucket].due = None;
        }
        let Some(commands) = self.ready().await else {
            self.next_beat = self.next_beat.max(now + PAUSE);
            for state in &mut self.buckets {
                state.retry_at = state.retry_at.max(now + PAUSE);
            }
            return;
        };
        if is_beat {
            let mut strangers = HashSet::new();
            self.tick(&commands, (0..BUCKETS).collect(), counts, &mut strangers).await;
            // After the look at the buckets: whoever had entries there was known by then.
            if let Some((living, dying)) = self.beat(&commands).await {
                strangers.retain(|node| !living.contains(node) && !dying.contains(node));
                self.condemn(&commands, &strangers).await;
                self.sweep(commands.clone(), dying);
            }
        } else if !buckets.is_empty() {
            self.tick(&commands, buckets, None, &mut HashSet::new()).await;
        }
        let is_due = |state: &BucketState| state.dirty && state.retry_at <= now;
        let dirty: Vec<usize> = (0..BUCKETS).filter(|&at| is_due(&self.buckets[at])).collect();
        // The others in the next round: between two rounds ops get their turn.
        for bucket in dirty.into_iter().take(4) {
            self.repair(&commands, bucket).await;
        }
    }

    /// Renews the lease. Answers which nodes live and which are to be swept.
    pub(super) async fn beat(&mut self, commands: &Commands) -> Option<(HashSet<Name>, Vec<Name>)> {
        let interval = self.lease.mul_f64(rand::random_range(0.27..0.33));
        self.next_beat = Instant::now() + interval;
        loop {
            let sent = Instant::now();
            let info = self.shared.itself.info(self.shared.mirror.lock().user_count());
            let description = serde_json::to_string(&Description::from(info)).unwrap_or_default();
            let mut beat = call(&SCRIPTS.beat, node_keys());
            beat.arg(&self.incarnation).arg(description);
            beat.arg(u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX));
            beat.arg(u8::from(self.alive)).arg(self.former.as_deref().unwrap_or_default());
            beat.arg(NodeId::random().as_str());
            let answer = run_one(commands, beat).await;
            match answer.and_then(|value| Ok(BeatAnswer::from_redis_value(value)?)) {
                Ok(BeatAnswer { epoch, nodes: Some(nodes) }) => {
                    self.alive = true;
                    self.last_beat = sent;
                    self.former = None;
                    self.epoch = epoch;
                    self.succeeded();
                    return Some(nodes);
                }
                Ok(BeatAnswer { epoch, nodes: None }) => self.rise(&epoch),
                Err(error) => {
                    self.failed(&error);
                    self.next_beat = Instant::now() + PAUSE;
                    return None;
                }
            }
        }
    }

    /// This node was taken for dead, or Redis has lost its data: goes on under a new name, as the
    /// old one is being swept, and lists everything again.
    fn rise(&mut self, epoch: &[u8]) {
        tracing::warn!(
            node.id = %self.shared.itself.id,
            "Redis does not know this node any more; its sockets are listed again"
        );
        self.generation += 1;
        let next = format!("{}~{}", self.shared.itself.incarnation, self.generation);
        self.former = Some(std::mem::replace(&mut self.incarnation, next));
        self.alive = false;
        if self.epoch == epoch {
            // Swept: its users may have been called offline, so that they are here is news.
            self.shared.mirror.lock().forget_known();
        }
        for state in &mut self.buckets {
            state.dirty = true;
        }
        self.retry_now();
    }

    /// Looks after buckets: users that are due, entries of nodes, and whether ours are all there.
    async fn tick(
        &mut self,
        commands: &Commands,
        buckets: Vec<usize>,
        counts: Option<Vec<Option<usize>>>,
        strangers: &mut HashSet<Name>,
    ) {
        let ask = |&bucket: &usize| {
            let mut tick = call(&SCRIPTS.tick, keys(bucket));
            tick.arg(&self.incarnation).arg(if self.grace < 0 { 0 } else { STEP });
            vec![tick]
        };
        let answers = run(commands, buckets.iter().map(ask).collect()).await;
        for (bucket, answer) in buckets.into_iter().zip(answers.into_iter().flatten()) {
            let Some(answer) = self.sound::<Tick>(bucket, answer) else { continue };
            let (own, wait, offline, nodes) = answer;
            self.tell_all(&offline, Presence::Offline);
            strangers.extend(nodes);
            self.wait_for_due(bucket, wait);
            if let Some(counts) = &counts {
                let state = &mut self.buckets[bucket];
                let differs = counts[bucket].is_some_and(|count| count != own);
                // Twice, as a socket that another node has thrown out needs a moment to go.
                if differs && state.differs && !state.dirty {
                    state.dirty = true;
                    state.retry_at = Instant::now();
                }
                state.differs = differs;
            }
        }
    }

    fn wait_for_due(&mut self, bucket: usize, wait: i64) {
        let now = Instant::now();
        let state = &mut self.buckets[bucket];
        // Others wait for those that left from them, and every beat looks after all.
        state.due = u64::try_from(wait)
            .ok()
            .filter(|_| self.grace >= 0 && now < state.due_until)
            .map(|wait| now + Duration::from_millis(wait) + COALESCE);
    }

    /// A user has left from here.
    pub(super) fn left_from(&mut self, bucket: usize) {
        let Ok(grace) = u64::try_from(self.grace) else { return };
        let due = Instant::now() + Duration::from_millis(grace) + COALESCE;
        let state = &mut self.buckets[bucket];
        state.due = Some(state.due.map_or(due, |before| before.min(due)));
        // Redis has its own clock, so some room.
        state.due_until = due + PAUSE;
    }

    /// Names under which nobody lives have entries: from a node that was cut off just when it wrote,
    /// or from before a loss of data.
    async fn condemn(&mut self, commands: &Commands, strangers: &HashSet<Name>) {
        if strangers.is_empty() {
            return;
        }
        let mut add = redis::cmd("SADD");
        add.arg(&node_keys()[1]).arg(strangers);
        if let Err(error) = run_one(commands, add).await {
            self.failed(&error);
        }
    }

    /// Removes what dead nodes have left, beside everything else.
    fn sweep(&mut self, commands: Commands, dying: Vec<Name>) {
        let is_busy = self.sweeping.as_ref().is_some_and(|sweeping| !sweeping.is_finished());
        let Some(ops) = self.ops.upgrade() else { return };
        // Our own former name only after everything is listed under the new one: nobody is to go
        // offline meanwhile.
        let is_mending = self.buckets.iter().any(|state| state.dirty);
        let mut dying = dying;
        dying.retain(|node| !is_mending || !self.shared.itself.is(node));
        if is_busy || dying.is_empty() {
            return;
        }
        let (shared, grace) = (self.shared.clone(), self.grace);
        self.sweeping = Some(tokio::spawn(async move {
            for node in dying {
                sweep_node(&shared, &commands, &ops, &node, grace).await;
            }
        }));
    }

    /// Leaves the cluster: removes everything of this node at once.
    pub(super) async fn leave_cluster(&mut self) {
        let Some(commands) = self.ready().await else { return };
        let mut close = call(&SCRIPTS.close, node_keys());
        close.arg(&self.incarnation);
        // If anything fails from here on another node does it.
        if run_one(&commands, close).await.is_ok()
            && let Some(ops) = self.ops.upgrade()
        {
            sweep_node(&self.shared, &commands, &ops, self.incarnation.as_bytes(), self.grace)
                .await;
        }
    }
}

/// Removes what a dead node has left. Others may do the same at the same time.
async fn sweep_node(
    shared: &Arc<Shared>,
    commands: &Commands,
    ops: &mpsc::UnboundedSender<Op>,
    node: &[u8],
    grace: i64,
) {
    let mut buckets: Vec<usize> = (0..BUCKETS).collect();
    let mut swept = 0;
    while !buckets.is_empty() {
        let ask = |&bucket: &usize| {
            let mut sweep = call(&SCRIPTS.sweep, keys(bucket));
            sweep.arg(node).arg(grace).arg(STEP);
            vec![sweep]
        };
        let answers = run(commands, buckets.iter().map(ask).collect()).await;
        let mut unfinished = Vec::new();
        for (bucket, answer) in buckets.into_iter().zip(answers.into_iter().flatten()) {
            let removed = answer.and_then(|value| Ok(<(usize, usize)>::from_redis_value(value)?));
            let Ok((removed, emptied)) = removed else {
                Counters::add(&shared.counters.failures, 1);
                return; // it stays among the dying, so somebody tries again
            };
            swept += removed;
            if emptied > 0 {
                let _ = ops.send(Op::Emptied(bucket));
            }
            if removed == STEP {
                unfinished.push(bucket);
            }
        }
        buckets = unfinished;
    }
    Counters::add(&shared.counters.swept, swept);
    let mut done = redis::cmd("SREM");
    done.arg(&node_keys()[1]).arg(node);
    let _ = run_one(commands, done).await;
    if swept > 0 && !shared.itself.is(node) {
        let node = String::from_utf8_lossy(node);
        tracing::info!(node.id = %node, sockets = swept, "node {node} is gone, its sockets are removed");
    }
}

struct BeatAnswer {
    /// Another one after a loss of data.
    epoch: Vec<u8>,
    /// Who lives and who is dying; none if this node was taken for dead.
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

/// What a node says of itself, as it stands in Redis. Other versions may say more or less.
#[derive(Serialize, Deserialize)]
struct Description {
    id: String,
    #[serde(default)]
    incarnation: String,
    #[serde(default)]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(default)]
    sockets: usize,
    #[serde(default)]
    users: usize,
    /// In ms.
    #[serde(default)]
    started_at: u64,
}

impl From<NodeInfo> for Description {
    fn from(info: NodeInfo) -> Self {
        let since = info.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            id: info.id.to_string(),
            incarnation: info.incarnation,
            kind: info.kind,
            address: info.address,
            sockets: info.sockets,
            users: info.users,
            started_at: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Reads the answer of `nodes.lua`. Answers with the nodes in order, and how many could not be read.
pub(super) fn read_nodes(answer: Vec<Value>) -> (Vec<NodeInfo>, usize) {
    let mut answer = answer.into_iter();
    let now = answer.next().and_then(|now| u64::from_redis_value(now).ok()).unwrap_or(0);
    let (mut nodes, mut malformed) = (Vec::new(), 0);
    while let (Some(_), Some(value)) = (answer.next(), answer.next()) {
        match String::from_redis_value(value).ok().and_then(|value| read_node(&value, now)) {
            Some(Some(node)) => nodes.push(node),
            Some(None) => {} // its lease is over
            None => malformed += 1,
        }
    }
    nodes.sort_by(|a, b| (&a.id, &a.incarnation).cmp(&(&b.id, &b.incarnation)));
    (nodes, malformed)
}

fn read_node(value: &str, now: u64) -> Option<Option<NodeInfo>> {
    let mut fields = value.splitn(3, ' ');
    let deadline: u64 = fields.next()?.parse().ok()?;
    let beat: u64 = fields.next()?.parse().ok()?;
    let node: Description = serde_json::from_str(fields.next()?).ok()?;
    let started_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(node.started_at))?;
    Some((deadline >= now).then(|| NodeInfo {
        id: NodeId::named(&node.id),
        incarnation: node.incarnation,
        kind: node.kind,
        address: node.address,
        sockets: node.sockets,
        users: node.users,
        started_at,
        last_seen: Duration::from_millis(now.saturating_sub(beat)),
    }))
}
