//! `/users`: the users online in the whole cluster, and actions on their sockets.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Done, Problem, body::Body, check_namespace, everywhere, main_namespace, page_limit};
use crate::{
    millis::since_epoch, names::rooms::is_reserved, server::Switchboard, sockets::emitter::Emitter,
    users::UserSocket,
};

/// The most ids in one question.
const MAX_USERS: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// The most users on the page: 1 to 1000, by default 100.
    limit: Option<usize>,
    /// The start of the page: `next` of the page before.
    cursor: Option<String>,
}

/// A page of users, in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Users {
    users: Vec<UserCount>,
    /// The cursor of the next page; null after the last.
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct UserCount {
    id: String,
    /// The number of its sockets.
    sockets: usize,
}

/// A user, and its sockets on all nodes, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    id: String,
    /// It has a socket, or lost its last one less than `users.offline_after` ago.
    online: bool,
    sockets: Vec<Socket>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Socket {
    id: String,
    /// The node that holds the connection.
    node: String,
    namespace: String,
    /// In milliseconds since 1970.
    connected_at: u64,
    /// `websocket` or `polling`. The upgrade of a socket on another node shows within about five
    /// seconds.
    transport: String,
}

impl From<UserSocket> for Socket {
    fn from(socket: UserSocket) -> Self {
        Self {
            id: socket.id.to_string(),
            node: socket.node.to_string(),
            namespace: socket.namespace.to_string(),
            connected_at: since_epoch(socket.connected_at),
            transport: socket.transport.into_owned(),
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OnlineRequest {
    /// At most 1000.
    ids: Vec<String>,
}

/// The users with whether each is online: it has a socket, or lost its last one less than
/// `users.offline_after` ago.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Online {
    online: BTreeMap<String, bool>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectRequest {
    /// For the log of this node.
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Disconnected {
    /// The number of sockets, on all nodes.
    disconnected: usize,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomsRequest {
    /// At least one. Rooms that the server reserves are refused.
    rooms: Vec<String>,
    /// The namespace of the sockets.
    #[serde(default = "main_namespace")]
    #[schema(default = "/")]
    namespace: String,
}

/// The users online, page by page.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(Page), responses(
    (status = 200, description = "A page", body = Users),
    (status = 400, description = "Not understood", body = Problem),
    (status = 503, description = "The user directory does not answer", body = Problem),
))]
pub(super) async fn list(
    State(server): State<Switchboard>,
    Query(Page { limit, cursor }): Query<Page>,
) -> Result<Json<Users>, Problem> {
    let limit = page_limit(limit)?;
    let page = server.users(cursor.as_deref().filter(|cursor| !cursor.is_empty()), limit).await?;
    let users =
        page.users.iter().map(|(id, sockets)| UserCount { id: id.to_string(), sockets: *sockets });
    Ok(Json(Users { users: users.collect(), next: page.next.map(|id| id.to_string()) }))
}

/// A user. An offline one is no error.
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "users",
    params(("id" = String, Path, description = "The user's id")),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 503, description = "The user directory does not answer", body = Problem),
    ))]
pub(super) async fn show(
    State(server): State<Switchboard>,
    Path(id): Path<String>,
) -> Result<Json<User>, Problem> {
    let sockets: Vec<Socket> = server.sockets_of(&id).await?.into_iter().map(Into::into).collect();
    let online = !sockets.is_empty() || server.online(&[&id]).await? == [true];
    Ok(Json(User { id, online, sockets }))
}

/// The user whose id is `online`.
pub(super) async fn called_online(server: State<Switchboard>) -> Result<Json<User>, Problem> {
    show(server, Path("online".to_owned())).await
}

/// Whether each of these users is online.
#[utoipa::path(post, path = "/api/v1/users/online", tag = "users", request_body = OnlineRequest, responses(
    (status = 200, description = "Each of them", body = Online),
    (status = 503, description = "The user directory does not answer", body = Problem),
    (status = 400, description = "Not understood, or too many", body = Problem),
))]
pub(super) async fn online(
    State(server): State<Switchboard>,
    Body(OnlineRequest { ids }): Body<OnlineRequest>,
) -> Result<Json<Online>, Problem> {
    if ids.len() > MAX_USERS {
        return Err(Problem::bad_request(format!("ids: at most {MAX_USERS}")));
    }
    let users: Vec<&str> = ids.iter().map(String::as_str).collect();
    let online = server.online(&users).await?;
    Ok(Json(Online { online: ids.into_iter().zip(online).collect() }))
}

/// Disconnects all sockets of a user from their namespaces, on every node. The clients see
/// `io server disconnect` and do not come back by themselves.
#[utoipa::path(post, path = "/api/v1/users/{id}/disconnect", tag = "users",
    params(("id" = String, Path, description = "The user's id")),
    request_body = DisconnectRequest,
    responses(
        (status = 200, description = "How many sockets", body = Disconnected),
        (status = 400, description = "Not understood", body = Problem),
        (status = 503, description = "Done on this node, but perhaps not on the others", body = Problem),
    ))]
pub(super) async fn disconnect(
    State(server): State<Switchboard>,
    Path(id): Path<String>,
    Body(DisconnectRequest { reason }): Body<DisconnectRequest>,
) -> Result<Json<Disconnected>, Problem> {
    let disconnected = server.disconnect_user(&id).await.map_err(|fault| {
        let why = fault.message();
        tracing::warn!(
            user.id = id,
            reason,
            why,
            "a user is disconnected, but perhaps not on all nodes"
        );
        Problem::unavailable(format!("done where possible, but perhaps not on all nodes: {why}"))
    })?;
    tracing::info!(user.id = id, sockets = disconnected, reason, "a user is disconnected");
    Ok(Json(Disconnected { disconnected }))
}

/// Puts all sockets of a user into rooms, on every node.
#[utoipa::path(post, path = "/api/v1/users/{id}/join", tag = "users",
    params(("id" = String, Path, description = "The user's id")),
    request_body = RoomsRequest,
    responses(
        (status = 200, description = "Done", body = Done),
        (status = 400, description = "Not understood", body = Problem),
        (status = 403, description = "A room that the server reserves", body = Problem),
        (status = 503, description = "Done on this node, but perhaps not on the others", body = Problem),
    ))]
pub(super) async fn join(
    State(server): State<Switchboard>,
    Path(id): Path<String>,
    Body(request): Body<RoomsRequest>,
) -> Result<Json<Done>, Problem> {
    change(&server, &id, request, |sockets, rooms| sockets.join(rooms)).await
}

/// Takes all sockets of a user out of rooms, on every node.
#[utoipa::path(post, path = "/api/v1/users/{id}/leave", tag = "users",
    params(("id" = String, Path, description = "The user's id")),
    request_body = RoomsRequest,
    responses(
        (status = 200, description = "Done", body = Done),
        (status = 400, description = "Not understood", body = Problem),
        (status = 403, description = "A room that the server reserves", body = Problem),
        (status = 503, description = "Done on this node, but perhaps not on the others", body = Problem),
    ))]
pub(super) async fn leave(
    State(server): State<Switchboard>,
    Path(id): Path<String>,
    Body(request): Body<RoomsRequest>,
) -> Result<Json<Done>, Problem> {
    change(&server, &id, request, |sockets, rooms| sockets.leave(rooms)).await
}

async fn change(
    server: &Switchboard,
    user: &str,
    RoomsRequest { rooms, namespace }: RoomsRequest,
    change: impl FnOnce(Emitter, Vec<String>),
) -> Result<Json<Done>, Problem> {
    check_namespace(&namespace)?;
    if rooms.is_empty() || rooms.iter().any(String::is_empty) {
        return Err(Problem::bad_request("rooms: at least one, and none without a name"));
    }
    // Emits to users and sockets depend on these rooms.
    let prefix = &server.config().users.room_prefix;
    if let Some(room) = rooms.iter().find(|room| is_reserved(room, prefix)) {
        return Err(Problem::forbidden(format!("the room {room:?} belongs to the server")));
    }
    everywhere(server, || change(server.of(&namespace).to_user(user), rooms)).await?;
    Ok(Json(Done {}))
}
