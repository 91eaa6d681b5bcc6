//! The nodes of a cluster, as the directory knows them.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use serde::Serialize;

use crate::{id::NodeId, millis};

/// A node of the cluster.
///
/// ```
/// use switchboard::{Fault, Switchboard};
///
/// async fn busiest(server: &Switchboard) -> Result<Option<String>, Fault> {
///     let nodes = server.nodes().await?;
///     let busiest = nodes.into_iter().max_by_key(|node| node.sockets);
///     Ok(busiest.map(|node| node.id.to_string()))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The node's name.
    pub id: NodeId,
    /// The name of this run of the node. Each start makes a new one.
    pub incarnation: String,
    /// `switchboard`.
    pub kind: String,
    /// The address at which other nodes reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its sockets.
    pub sockets: usize,
    /// Users with sockets on it.
    pub users: usize,
    /// When it started.
    #[serde(serialize_with = "millis::serialize")]
    pub started_at: SystemTime,
    /// Time since its last sign of life.
    #[serde(rename = "last_seen_ms", serialize_with = "duration_as_millis")]
    pub last_seen: Duration,
}

impl NodeInfo {
    /// A node as a [`UserDirectory`](super::UserDirectory) has kept it, without an address, sockets
    /// and users, started now. The fields say more.
    ///
    /// ```
    /// use switchboard::users::NodeInfo;
    ///
    /// let mut node = NodeInfo::new("web-1".into(), "web-1.k3v9x2ab");
    /// node.sockets = 120;
    /// assert_eq!((node.id.as_str(), node.users), ("web-1", 0));
    /// ```
    pub fn new(id: NodeId, incarnation: impl Into<String>) -> Self {
        Self {
            id,
            incarnation: incarnation.into(),
            kind: KIND.into(),
            address: None,
            sockets: 0,
            users: 0,
            started_at: SystemTime::now(),
            last_seen: Duration::ZERO,
        }
    }
}

fn duration_as_millis<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The `kind` of our own nodes.
pub(crate) const KIND: &str = "switchboard";

/// This node's description of itself.
#[derive(Clone)]
pub(crate) struct Itself {
    pub(crate) id: NodeId,
    /// New at each start, even if the name is configured. Holds no zero bytes.
    pub(crate) incarnation: String,
    /// Clones share it: it is found out while the node runs.
    pub(crate) address: Arc<Mutex<Option<String>>>,
    pub(crate) started_at: SystemTime,
    /// Counts all sockets of the node, anonymous ones included.
    pub(crate) sockets: Arc<dyn Fn() -> usize + Send + Sync>,
}

impl Itself {
    /// The start time is now.
    pub(crate) fn new(id: NodeId, sockets: Arc<dyn Fn() -> usize + Send + Sync>) -> Self {
        let incarnation = format!("{}.{}", id.as_str().replace('\0', "?"), NodeId::random());
        Self { id, incarnation, address: Arc::default(), started_at: SystemTime::now(), sockets }
    }

    /// The node as others see it now.
    pub(crate) fn info(&self, users: usize) -> NodeInfo {
        NodeInfo {
            id: self.id.clone(),
            incarnation: self.incarnation.clone(),
            kind: KIND.into(),
            address: self.address.lock().clone(),
            sockets: (self.sockets)(),
            users,
            started_at: self.started_at,
            last_seen: Duration::ZERO,
        }
    }
}

impl fmt::Debug for Itself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.incarnation)
    }
}
