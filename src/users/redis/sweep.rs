//! Removes the entries of dead nodes.

use std::time::Duration;

use redis::FromRedisValue;
use tokio::sync::mpsc;

use super::{
    Counters, Op, Shared,
    entry::BUCKETS,
    scripts::{Access, SCRIPTS, millis},
};

/// How many entries one step sweeps.
const STEP: usize = 500;

/// Removes the entries of a dead node. Other nodes may do so at the same time. If no node is left
/// to look after the data, Redis forgets all of it after `forget`.
pub(super) async fn sweep_node(
    shared: &Shared,
    access: &Access,
    ops: &mpsc::Sender<Op>,
    node: &[u8],
    grace: i64,
    forget: Option<Duration>,
) {
    let forget = forget.map_or(0, millis);
    let mut buckets: Vec<usize> = (0..BUCKETS).collect();
    let mut swept = 0;
    while !buckets.is_empty() {
        let ask = |&bucket: &usize| {
            let mut sweep = SCRIPTS.sweep.call(shared.keys.bucket(bucket));
            sweep.arg(node).arg(grace).arg(STEP).arg(forget);
            vec![sweep]
        };
        let answers = access.run(buckets.iter().map(ask).collect()).await;
        let mut unfinished = Vec::new();
        for (bucket, answer) in buckets.into_iter().zip(answers.into_iter().flatten()) {
            let removed = answer.and_then(|value| Ok(<(usize, usize)>::from_redis_value(value)?));
            let Ok((removed, emptied)) = removed else {
                Counters::add(&shared.counters.failures, 1);
                return; // it stays among the dying, so somebody tries again
            };
            swept += removed;
            if emptied > 0 {
                // If the queue is full, the next beat finds it.
                let _ = ops.try_send(Op::Emptied(bucket));
            }
            if removed == STEP {
                unfinished.push(bucket);
            }
        }
        buckets = unfinished;
    }
    Counters::add(&shared.counters.swept, swept);
    let mut done = redis::cmd("SREM");
    done.arg(&shared.keys.nodes()[1]).arg(node);
    let _ = access.run_one(done).await;
    if swept > 0 && !shared.itself.is(node) {
        let node = String::from_utf8_lossy(node);
        tracing::info!(node.id = %node, sockets = swept, "node {node} is gone; its sockets were removed");
    }
}
