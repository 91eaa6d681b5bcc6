//! `/rooms/{room}/history`: the last events of a room.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{Problem, arguments, check_namespace, main_namespace, page_limit};
use crate::{
    fault::Code, history::can_be_kept, javascript::iso_time, server::Switchboard,
    store::history::PastEvent,
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// The namespace of the room; by default `/`.
    #[serde(default = "main_namespace")]
    #[param(default = "/")]
    namespace: String,
    /// The most events on the page: 1 to 1000, by default 100. Fewer if they are large.
    limit: Option<usize>,
    /// Only events before the one with this id: `next` of the page before.
    before: Option<String>,
}

/// Events of a room, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Past {
    events: Vec<Event>,
    /// Goes into `before` for the next page; null after the last.
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Event {
    id: String,
    event: String,
    /// Bytes are objects, as `JSON.stringify` of Node.js writes a Buffer:
    /// `{"type": "Buffer", "data": [1, 2]}`.
    #[schema(value_type = Vec<serde_json::Value>)]
    args: Vec<Box<RawValue>>,
    /// The user whose socket has sent it, with a handler's reply or an emit of its own; null for the API,
    /// for the program, and for guests.
    from: Option<String>,
    /// When it was kept, as in RFC 3339.
    at: String,
}

impl From<PastEvent> for Event {
    fn from(event: PastEvent) -> Self {
        let PastEvent { id, event, args, from, at } = event;
        let from = from.map(|user| user.to_string());
        Self { id, event, args: arguments(&args), from, at: iso_time(at) }
    }
}

/// The last events of a room that has a history, with everything that was sent before this request, on
/// whichever node.
#[utoipa::path(get, path = "/api/v1/rooms/{room}/history", tag = "rooms",
    params(("room" = String, Path, description = "The room's name"), Which),
    responses(
        (status = 200, description = "A page; an empty history is no error", body = Past),
        (status = 400, description = "Not understood", body = Problem),
        (status = 404, description = "No history is kept of this room", body = Problem),
        (status = 503, description = "The store cannot be reached", body = Problem),
    ))]
pub(super) async fn show(
    State(server): State<Switchboard>,
    Path(room): Path<String>,
    Query(Which { namespace, limit, before }): Query<Which>,
) -> Result<Json<Past>, Problem> {
    check_namespace(&namespace)?;
    let limit = page_limit(limit)?;
    let names = [&room, &namespace].into_iter().chain(&before);
    if !names.into_iter().all(|name| can_be_kept(name)) {
        return Err(Problem::bad_request("a name must not hold a null character"));
    }
    let history = server.history().filter(|history| history.is_kept(&room));
    let Some(history) = history else {
        let message = "no history is kept of this room: rooms.history has no rule for it";
        return Err(Problem::new(StatusCode::NOT_FOUND, Code::BadRequest, message));
    };
    let page = history.list(&namespace, &room, before.as_deref(), limit).await?;
    let next = page.events.last().filter(|_| page.more).map(|event| event.id.clone());
    Ok(Json(Past { events: page.events.into_iter().map(Event::from).collect(), next }))
}
