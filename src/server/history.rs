//! The history of rooms: where it is kept, and how the nodes of a cluster wait for one another.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{
    config::Config,
    edge::Hop,
    history::{History, WRITE, WRITE_PATIENCE},
    id::NodeId,
    sockets::node::Node,
    store::Stores,
    users::Directory,
};

/// The history of a server, if there is a rule for one and a store.
pub(super) fn history(
    config: &Config,
    stores: Option<&Stores>,
    node: &Arc<Node>,
    directory: &Directory,
    hop: Option<&Hop>,
) -> Option<Arc<History>> {
    let rules = config.rooms.history.clone();
    let store = stores.filter(|_| !rules.is_empty())?.history.clone();
    let history = Arc::new(History::new(rules, store, config.redis.pending_age));
    if let Some(hop) = hop {
        meet(&history, node.id(), directory, hop);
    }
    node.set_archive(history.clone());
    let (stop, writing) = (node.stop.clone(), history.write());
    node.tasks.spawn(async move { stop.run_until_cancelled(writing).await });
    let (stop, sweeping) = (node.stop.clone(), history.sweep());
    node.tasks.spawn(async move { stop.run_until_cancelled(sweeping).await });
    Some(history)
}

/// Each node writes what waits there when another one asks.
fn meet(history: &Arc<History>, node: &NodeId, directory: &Directory, hop: &Hop) {
    let asked = Arc::downgrade(history);
    hop.answer_with(WRITE, move |(): ()| {
        let asked = asked.upgrade();
        async move { Some(asked?.written().await) }
    });
    let (node, directory, hop) = (node.clone(), directory.clone(), hop.clone());
    history.set_others(Arc::new(move || {
        let (node, directory, hop) = (node.clone(), directory.clone(), hop.clone());
        Box::pin(async move {
            let asking = async {
                // Without the list nobody can be asked. Frames of the others do not come either.
                let nodes = directory.nodes().await.unwrap_or_default();
                let others = nodes.iter().filter(|other| other.id != node);
                join_all(others.map(|other| ask(&hop, &other.id))).await;
            };
            if timeout(WRITE_PATIENCE, asking).await.is_err() {
                tracing::debug!("not all nodes have written their history in time");
            }
        })
    }));
}

/// A node that does not answer holds up nobody for longer: what it has not written, it may never write.
async fn ask(hop: &Hop, other: &NodeId) {
    let written = hop.ask_for::<bool>(other.as_str(), WRITE, &(), WRITE_PATIENCE).await;
    if !matches!(written, Ok(true)) {
        tracing::debug!(node = %other, "a node has not written all of its history yet");
    }
}
