//! The nodes as they stand in Redis: the description of one, and the list of all.

use std::time::{Duration, SystemTime};

use redis::{FromRedisValue, Value};
use serde::{Deserialize, Serialize};

use crate::{id::NodeId, millis::since_epoch, users::NodeInfo};

/// A node's description of itself in Redis. Other versions may write more or less.
#[derive(Serialize, Deserialize)]
pub(super) struct Description {
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
        Self {
            id: info.id.to_string(),
            incarnation: info.incarnation,
            kind: info.kind,
            address: info.address,
            sockets: info.sockets,
            users: info.users,
            started_at: since_epoch(info.started_at),
        }
    }
}

/// Reads the answer of `nodes.lua`. Returns the nodes in order, and the number of unreadable ones.
pub(super) fn read_nodes(answer: Vec<Value>) -> (Vec<NodeInfo>, usize) {
    let mut answer = answer.into_iter();
    let now = answer.next().and_then(|now| u64::from_redis_value(now).ok()).unwrap_or(0);
    let (mut nodes, mut malformed) = (Vec::new(), 0);
    while let (Some(name), Some(value)) = (answer.next(), answer.next()) {
        if Vec::<u8>::from_redis_value(name).is_ok_and(|name| name.first() == Some(&0)) {
            continue; // the epoch
        }
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
