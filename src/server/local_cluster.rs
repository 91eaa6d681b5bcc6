//! A cluster within one process, for programs and tests without Redis.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    cluster::broker::memory::MemoryHub, edge::Addresses, future::BoxFuture, id::NodeId,
    users::MemoryDirectory,
};

/// A cluster inside one process, for tests. Nodes built with clones of it speak to each other as
/// they would through Redis.
///
/// The node that was built first handles changes of presence.
///
/// ```
/// use switchboard::{Gateway, Switchboard, server::LocalCluster};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = LocalCluster::default();
/// let node = || Switchboard::builder().cluster(&cluster).gateway(Gateway::new("/")).build();
/// let (one, two) = (node()?, node()?);
/// // From here on `one` and `two` are apart, as without their Redis.
/// cluster.interrupt(one.node());
/// cluster.mend(one.node());
/// # _ = two;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct LocalCluster(pub(super) Arc<Mutex<Local>>);

#[derive(Default)]
pub(super) struct Local {
    pub(super) hub: MemoryHub,
    pub(super) directory: Option<Arc<MemoryDirectory>>,
    pub(super) names: HashMap<String, NodeId>,
    /// The hub's numbers for the nodes.
    pub(super) members: HashMap<NodeId, u64>,
    pub(super) addresses: HashMap<String, Arc<str>>,
    /// Signs the session ids of all nodes.
    pub(super) secret: Option<Vec<u8>>,
    /// The answers to requests that carry a key.
    #[cfg(feature = "admin")]
    pub(super) remembered: super::remembered::Table,
}

impl Addresses for LocalCluster {
    fn address_of<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Option<Arc<str>>> {
        Box::pin(std::future::ready(self.0.lock().addresses.get(node).cloned()))
    }
}

impl LocalCluster {
    /// Cuts a node off from the others, as a broken connection to Redis does: it does not hear
    /// them, and its emits for their clients are dropped.
    pub fn interrupt(&self, node: &NodeId) {
        let local = self.0.lock();
        if let Some(member) = local.members.get(node) {
            local.hub.interrupt(*member);
        }
    }

    /// Ends the interruption of a node.
    pub fn mend(&self, node: &NodeId) {
        let local = self.0.lock();
        if let Some(member) = local.members.get(node) {
            local.hub.mend(*member);
        }
    }
}

impl std::fmt::Debug for LocalCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCluster").field("nodes", &self.0.lock().names.len()).finish()
    }
}
