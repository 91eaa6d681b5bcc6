//! A Redis Cluster of three masters.

use std::time::Duration;

use crate::{redis::RedisServer, waiting::until};

/// Three masters that share the slots.
pub async fn start() -> [RedisServer; 3] {
    let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let nodes = [
        RedisServer::with(&args).await,
        RedisServer::with(&args).await,
        RedisServer::with(&args).await,
    ];
    for (node, epoch) in nodes.iter().zip(["1", "2", "3"]) {
        // As `redis-cli --cluster create` does: masters of one epoch would settle later which is above.
        node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", epoch]).await;
    }
    for (node, (first, last)) in nodes.iter().zip([("0", "5460"), ("5461", "10922"), LAST]) {
        node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
        let port = nodes[0].port.to_string();
        node.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port]).await;
    }
    for node in &nodes {
        until("the cluster is whole", async || {
            let info: String = node.ask(&["CLUSTER", "INFO"]).await;
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
        .await;
    }
    nodes
}

/// The slots of the last master.
const LAST: (&str, &str) = ("10923", "16383");

/// Moves a slot from the last of the masters to the first, as `redis-cli --cluster reshard` does. A
/// pause lies before each node that is told.
///
/// The first node imports the slot, so that its epoch rises when it takes it. Otherwise a word of
/// the last one, which is not told yet, could take it back for good.
pub async fn move_slot(nodes: &[RedisServer; 3], slot: &str, pause: Duration) {
    move_with_keys(nodes, slot, &[], pause).await;
}

/// Moves a slot in which there are keys.
pub async fn move_with_keys(
    [first, second, last]: &[RedisServer; 3],
    slot: &str,
    keys: &[&str],
    pause: Duration,
) {
    let (new, old) = (my_id(first).await, my_id(last).await);
    first.ask::<()>(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &old]).await;
    last.ask::<()>(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &new]).await;
    for key in keys {
        last.ask::<()>(&["MIGRATE", "127.0.0.1", &first.port.to_string(), key, "0", "5000"]).await;
    }
    for node in [first, last, second] {
        tokio::time::sleep(pause).await;
        node.ask::<()>(&["CLUSTER", "SETSLOT", slot, "NODE", &new]).await;
    }
}

/// What the other nodes of its cluster call it.
async fn my_id(node: &RedisServer) -> String {
    node.ask(&["CLUSTER", "MYID"]).await
}

/// Takes the last of the masters out of the cluster, as `redis-cli --cluster` does by `reshard` and
/// `del-node`: it goes on by itself.
pub async fn remove_last([first, second, last]: &[RedisServer; 3]) {
    last.ask::<()>(&["CLUSTER", "DELSLOTSRANGE", LAST.0, LAST.1]).await;
    for node in [first, second] {
        // One that has heard of it already has none to give up.
        let _ = node.command(&["CLUSTER", "DELSLOTSRANGE", LAST.0, LAST.1]).await;
    }
    first.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", LAST.0, LAST.1]).await;
    let id = my_id(last).await;
    for node in [first, second] {
        node.ask::<()>(&["CLUSTER", "FORGET", &id]).await;
    }
    // A resharding would have moved the keys.
    last.ask::<()>(&["FLUSHALL"]).await;
    last.ask::<()>(&["CLUSTER", "RESET"]).await;
}
