//! `/nodes`: the live nodes of the cluster.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use crate::{millis::since_epoch, server::Switchboard, users::NodeInfo};

/// The live nodes. Node.js nodes are not listed, for they keep no lease.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Node {
    id: String,
    /// `switchboard`.
    kind: String,
    /// The address at which other nodes reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Its sockets.
    sockets: usize,
    /// Users with sockets on it.
    users: usize,
    /// In milliseconds since 1970.
    started_at: u64,
    /// Time since its last sign of life, in milliseconds.
    last_seen_ms: u64,
}

impl From<NodeInfo> for Node {
    fn from(node: NodeInfo) -> Self {
        Self {
            id: node.id.to_string(),
            kind: node.kind,
            address: node.address,
            sockets: node.sockets,
            users: node.users,
            started_at: since_epoch(node.started_at),
            last_seen_ms: u64::try_from(node.last_seen.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The nodes of the cluster.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes",
    responses(
        (status = 200, description = "The live nodes", body = Nodes),
        (status = 503, description = "The user directory does not answer", body = Problem),
    ))]
pub(super) async fn list(State(server): State<Switchboard>) -> Result<Json<Nodes>, Problem> {
    let nodes = server.nodes().await?;
    Ok(Json(Nodes { nodes: nodes.into_iter().map(Into::into).collect() }))
}
