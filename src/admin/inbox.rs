//! `/users/{id}/inbox`: messages that are kept for a user.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{Problem, arguments, body::Body, check_namespace, main_namespace, page_limit};
use crate::{
    config::parse_duration,
    fault::Code,
    inbox::Inbox,
    javascript::iso_time,
    payload::{Arguments, Payload},
    server::Switchboard,
    store::inbox::Message,
};

/// An event that each device of the user gets, now or when it comes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeepRequest {
    /// The namespace in which it is delivered.
    #[serde(default = "main_namespace")]
    #[schema(default = "/")]
    namespace: String,
    /// The name of the event. Names that Socket.IO reserves are refused.
    event: String,
    /// Its arguments.
    #[serde(default)]
    #[schema(value_type = Vec<serde_json::Value>)]
    args: Vec<rmpv::Value>,
    /// The id of the message, up to 512 bytes. The same id is kept once for the user, within `inbox.ttl`.
    /// Default: a random one.
    #[serde(default)]
    id: Option<String>,
    /// For how long it is kept, such as `12h`. Default and maximum: `inbox.ttl`.
    #[serde(default)]
    ttl: Option<String>,
    /// It takes the place of the message in this namespace with the same key, up to 512 bytes.
    #[serde(default)]
    collapse: Option<String>,
}

/// The message that is kept under this id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeptReply {
    id: String,
    /// Its number among the messages of the user.
    seq: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Only messages behind this number: `next` of the page before. Default 0.
    after: Option<u64>,
    /// The most messages on the page: 1 to 1000, by default 100.
    limit: Option<usize>,
}

/// Messages that some device of the user has not acknowledged, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Messages {
    messages: Vec<KeptMessage>,
    /// The known devices: up to which number each has acknowledged everything.
    devices: BTreeMap<String, u64>,
    /// The `after` of the next page; null after the last.
    next: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct KeptMessage {
    seq: u64,
    id: String,
    namespace: String,
    event: String,
    /// Binary arguments as `JSON.stringify` of Node.js writes a Buffer.
    #[schema(value_type = Vec<serde_json::Value>)]
    args: Vec<Box<RawValue>>,
    /// As in RFC 3339.
    created: String,
    /// As in RFC 3339.
    expires: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    /// The number of messages that were there.
    deleted: u64,
}

fn inbox(server: &Switchboard) -> Result<&Inbox, Problem> {
    server.inbox().ok_or_else(|| {
        let message = "there is no inbox on this server: inbox.enabled is not set";
        Problem::new(StatusCode::NOT_FOUND, Code::BadRequest, message)
    })
}

/// Keeps an event for a user.
#[utoipa::path(post, path = "/api/v1/users/{id}/inbox", tag = "inbox",
    params(("id" = String, Path, description = "The user's id")),
    request_body = KeepRequest,
    responses(
        (status = 202, description = "Kept", body = KeptReply),
        (status = 200, description = "A message with this id was kept before, and nothing has changed", body = KeptReply),
        (status = 400, description = "Not understood, or a reserved event", body = Problem),
        (status = 404, description = "This server has no inbox", body = Problem),
        (status = 409, description = "The inbox of this user is full", body = Problem),
        (status = 413, description = "The message alone is larger than an inbox", body = Problem),
        (status = 503, description = "The store does not answer. The message may be kept or not; try again with the same id", body = Problem),
    ))]
pub(super) async fn keep(
    State(server): State<Switchboard>,
    Path(user): Path<String>,
    Body(request): Body<KeepRequest>,
) -> Result<(StatusCode, Json<KeptReply>), Problem> {
    let KeepRequest { namespace, event, args, id, ttl, collapse } = request;
    check_namespace(&namespace)?;
    let payload = Payload::event(&event, &Arguments(args))?;
    let mut message = inbox(&server)?.to(user).namespace(namespace);
    if let Some(id) = id {
        message = message.id(id);
    }
    if let Some(key) = collapse {
        message = message.collapse(key);
    }
    if let Some(ttl) = ttl {
        let ttl = parse_duration(&ttl).map_err(|e| Problem::bad_request(format!("ttl: {e}")))?;
        message = message.ttl(ttl);
    }
    let posted = message.keep_payload(&payload).await?;
    let status = if posted.is_new { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(KeptReply { id: posted.id, seq: posted.seq })))
}

/// The messages of a user that some device has not acknowledged.
#[utoipa::path(get, path = "/api/v1/users/{id}/inbox", tag = "inbox",
    params(("id" = String, Path, description = "The user's id"), Page),
    responses(
        (status = 200, description = "A page", body = Messages),
        (status = 400, description = "Not understood", body = Problem),
        (status = 404, description = "This server has no inbox", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
    ))]
pub(super) async fn list(
    State(server): State<Switchboard>,
    Path(user): Path<String>,
    Query(Page { after, limit }): Query<Page>,
) -> Result<Json<Messages>, Problem> {
    let limit = page_limit(limit)?;
    let page = inbox(&server)?.list(&user, after.unwrap_or_default(), limit).await?;
    let messages = page.messages.into_iter().map(KeptMessage::from).collect();
    Ok(Json(Messages { messages, devices: page.devices, next: page.next }))
}

/// Removes one message of a user. Its id stays known.
#[utoipa::path(delete, path = "/api/v1/users/{id}/inbox/{message}", tag = "inbox",
    params(
        ("id" = String, Path, description = "The user's id"),
        ("message" = String, Path, description = "The message's id"),
    ),
    responses(
        (status = 200, description = "1, or 0 if there is none that a device waits for", body = Deleted),
        (status = 404, description = "This server has no inbox", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
    ))]
pub(super) async fn delete(
    State(server): State<Switchboard>,
    Path((user, message)): Path<(String, String)>,
) -> Result<Json<Deleted>, Problem> {
    let deleted = inbox(&server)?.delete(&user, &message).await?;
    Ok(Json(Deleted { deleted: deleted.into() }))
}

/// Removes all messages of a user. Their ids stay known.
#[utoipa::path(delete, path = "/api/v1/users/{id}/inbox", tag = "inbox",
    params(("id" = String, Path, description = "The user's id")),
    responses(
        (status = 200, description = "How many there were", body = Deleted),
        (status = 404, description = "This server has no inbox", body = Problem),
        (status = 503, description = "The store does not answer", body = Problem),
    ))]
pub(super) async fn clear(
    State(server): State<Switchboard>,
    Path(user): Path<String>,
) -> Result<Json<Deleted>, Problem> {
    Ok(Json(Deleted { deleted: inbox(&server)?.clear(&user).await? }))
}

impl From<Message> for KeptMessage {
    fn from(message: Message) -> Self {
        let Message { seq, id, namespace, event, args, created, expires } = message;
        let (args, created, expires) = (arguments(&args), iso_time(created), iso_time(expires));
        Self { seq, id, namespace, event, args, created, expires }
    }
}
