//! `/rooms`: the members of a room in the whole cluster, and disconnecting them.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{Done, Problem, body::Body, check_namespace, everywhere, main_namespace, missing};
use crate::{
    server::Switchboard,
    sockets::emitter::{Emitter, RemoteSocket},
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Within {
    /// The namespace of the room; by default `/`.
    #[serde(default = "main_namespace")]
    #[param(default = "/")]
    namespace: String,
}

impl Within {
    fn members(&self, server: &Switchboard, room: String) -> Result<Emitter, Problem> {
        check_namespace(&self.namespace)?;
        Ok(server.of(&self.namespace).to(room))
    }
}

/// The members of a room.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Members {
    sockets: Vec<Member>,
    /// Nodes that did not answer in time; `(node.js)` for each nameless one.
    missing_nodes: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Member {
    id: String,
    /// The handshake as Node.js shows it, without secrets.
    #[schema(value_type = Object)]
    handshake: Map<String, Value>,
    /// All rooms of the socket.
    rooms: Vec<String>,
    /// The application's data of the socket.
    #[schema(value_type = Object)]
    data: Map<String, Value>,
}

impl From<RemoteSocket> for Member {
    fn from(socket: RemoteSocket) -> Self {
        let id = socket.known_as().to_owned();
        let RemoteSocket { handshake, rooms, data, .. } = socket;
        let mut rooms: Vec<String> = rooms.into_iter().map(Into::into).collect();
        rooms.sort();
        Self { id, handshake, rooms, data }
    }
}

/// An empty body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The members of a room, on every node.
#[utoipa::path(get, path = "/api/v1/rooms/{room}", tag = "rooms",
    params(("room" = String, Path, description = "The room's name"), Within),
    responses(
        (status = 200, description = "The members; an empty room is no error", body = Members),
        (status = 400, description = "Not understood", body = Problem),
        (status = 503, description = "The other nodes cannot be asked", body = Problem),
    ))]
pub(super) async fn show(
    State(server): State<Switchboard>,
    Path(room): Path<String>,
    Query(within): Query<Within>,
) -> Result<Json<Members>, Problem> {
    let answers = within.members(&server, room)?.fetch_sockets().await?;
    let sockets = answers.values.into_iter().map(Into::into).collect();
    let missing_nodes = missing(&answers.missing_nodes, answers.missing_foreign);
    Ok(Json(Members { sockets, missing_nodes }))
}

/// Disconnects the members of a room from its namespace, on every node. The clients see
/// `io server disconnect` and do not come back by themselves.
#[utoipa::path(post, path = "/api/v1/rooms/{room}/disconnect", tag = "rooms",
    params(("room" = String, Path, description = "The room's name"), Within),
    responses(
        (status = 200, description = "Done", body = Done),
        (status = 400, description = "Not understood", body = Problem),
        (status = 503, description = "Done on this node, but perhaps not on the others", body = Problem),
    ))]
pub(super) async fn disconnect(
    State(server): State<Switchboard>,
    Path(room): Path<String>,
    Query(within): Query<Within>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Done>, Problem> {
    let members = within.members(&server, room.clone())?;
    let here = everywhere(&server, || members.disconnect(false)).await?;
    tracing::info!(room, namespace = within.namespace, here, "a room is disconnected");
    Ok(Json(Done {}))
}
