//! `/rooms/{room}/history`: the last events of a room.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{Problem, check_namespace, main_namespace, millis};
use crate::{
    fault::{Code, Fault},
    history::can_be_kept,
    javascript::iso_date,
    msgpack,
    packet::MAX_DEPTH,
    payload::to_json_text,
    server::Switchboard,
    store::history::PastEvent,
};

/// Most events on a page.
const MAX_EVENTS: usize = 1_000;

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
    args: Box<RawValue>,
    /// The user whose socket has sent it; null for the API, for the program, and for guests.
    from: Option<String>,
    /// When it was kept, as in RFC 3339.
    at: String,
}

impl TryFrom<PastEvent> for Event {
    type Error = Fault;

    fn try_from(event: PastEvent) -> Result<Self, Fault> {
        let PastEvent { id, event, args, from, at } = event;
        let args = msgpack::read(&args)
            .and_then(|args| to_json_text(&args, MAX_DEPTH))
            .map_err(|_| Fault::internal())?;
        let args = RawValue::from_string(args).map_err(|_| Fault::internal())?;
        let at = i64::try_from(millis(at)).ok().and_then(iso_date).unwrap_or_default();
        Ok(Self { id, event, args, from: from.map(|user| user.to_string()), at })
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
    let limit = limit.unwrap_or(100);
    if !(1..=MAX_EVENTS).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: must be 1 to {MAX_EVENTS}")));
    }
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
    let events = page.events.into_iter().map(Event::try_from).collect::<Result<_, _>>()?;
    Ok(Json(Past { events, next }))
}
