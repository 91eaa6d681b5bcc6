//! The administration port: `/metrics` for Prometheus, and an API in JSON below `/api/v1` that acts
//! on the whole cluster.
//!
//! ```text
//! listener ── counts, spans ── errors as JSON ── size ──┬── /metrics
//!                                                       └── /api/v1 ── guard ──┬── timeouts ── emit, users, rooms, nodes
//!                                                                              └── batch ── counts, spans ── these again
//! ```
//!
//! The API does nothing that a program could not do through [`Switchboard`]: a handler here checks
//! what was asked, calls it, and shows the answer.

mod batch;
mod body;
mod bound;
mod emit;
mod guard;
mod history;
mod inbox;
mod listener;
mod nodes;
mod observe;
mod once;
mod openapi;
mod problem;
mod rooms;
mod users;

use std::time::Duration;

use axum::{
    Extension, Router,
    extract::State,
    http::{StatusCode, header},
    middleware::{from_fn_with_state, map_response},
    response::IntoResponse,
    routing::{delete, get, post},
};
use serde::Serialize;
use serde_json::value::RawValue;
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};
use utoipa::ToSchema;

pub use bound::BoundAdmin;
use listener::serve;

use crate::{
    id::NodeId,
    msgpack,
    packet::MAX_DEPTH,
    payload::to_json_text,
    server::{Switchboard, metrics},
};
use guard::Guard;
use problem::Problem;

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Longest time for a request: longer than the waits for the directory and for other nodes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest time for a request that waits for clients: their longest timeout, and a little.
const ACK_PATIENCE: Duration = Duration::from_millis(emit::MAX_ACK_TIMEOUT_MS + 5_000);

/// Where the API is.
const API: &str = "/api/v1";

/// All routes. `exposed`: hosts other than this one can reach the port.
fn router(server: Switchboard, exposed: bool) -> Router {
    // In a batch the requests are counted as they are outside of one.
    let in_a_batch = api().route("/batch", post(batch::in_a_batch));
    let in_a_batch =
        around(Router::new().nest(API, in_a_batch), &server).with_state(server.clone());
    let api = api()
        .route("/batch", post(batch::batch).layer(Extension(batch::Routes(in_a_batch))))
        // Around the fallback, too: without a key nobody finds out which routes exist.
        .layer(from_fn_with_state(Guard::new(server.clone(), exposed), guard::check));
    let all = Router::new().route("/metrics", get(metrics)).nest(API, api);
    around(all.layer(RequestBodyLimitLayer::new(MAX_BODY)), &server).with_state(server)
}

fn around(routes: Router<Switchboard>, server: &Switchboard) -> Router<Switchboard> {
    routes
        .layer(map_response(problem::as_json))
        .layer(from_fn_with_state(server.clone(), observe::observe))
}

/// The API, without what stands before it.
fn api() -> Router<Switchboard> {
    let timeout = |after| TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, after);
    let users = "/users/{id}";
    Router::new()
        .route("/users", get(users::list))
        // `online` may also be the name of a user.
        .route("/users/online", post(users::online).get(users::called_online))
        .route(users, get(users::show))
        .route(&format!("{users}/disconnect"), post(users::disconnect))
        .route(&format!("{users}/join"), post(users::join))
        .route(&format!("{users}/leave"), post(users::leave))
        .route(&format!("{users}/inbox"), post(inbox::keep).get(inbox::list).delete(inbox::clear))
        .route(&format!("{users}/inbox/{{message}}"), delete(inbox::delete))
        .route("/rooms/{room}", get(rooms::show))
        .route("/rooms/{room}/history", get(history::show))
        .route("/rooms/{room}/disconnect", post(rooms::disconnect))
        .route("/nodes", get(nodes::list))
        .route("/openapi.json", get(openapi::document))
        .route_layer(timeout(PATIENCE))
        .route("/emit", post(emit::emit).layer(timeout(ACK_PATIENCE)))
        .fallback(async || StatusCode::NOT_FOUND)
}

async fn metrics(State(server): State<Switchboard>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], server.metrics().await)
}

/// An empty answer: the request was carried out.
#[derive(Debug, Serialize, ToSchema)]
struct Done {}

/// The namespace where a request names none.
fn main_namespace() -> String {
    "/".to_owned()
}

fn check_namespace(namespace: &str) -> Result<(), Problem> {
    match namespace.starts_with('/') {
        true => Ok(()),
        false => Err(Problem::bad_request("a namespace starts with a slash")),
    }
}

/// Acts on every node. An error says that the other nodes may not have heard of it.
async fn everywhere<T>(server: &Switchboard, act: impl FnOnce() -> T) -> Result<T, Problem> {
    server.reaching_all(act).await.map_err(|fault| {
        Problem::unavailable(format!(
            "done on this node, but perhaps not on the others: {}",
            fault.message()
        ))
    })
}

/// The name for a silent Node.js node, which has none of its own.
const NAMELESS: &str = "(node.js)";

/// The names of the nodes that did not answer.
fn missing(named: &[NodeId], nameless: usize) -> Vec<String> {
    let nameless = std::iter::repeat_n(NAMELESS.to_owned(), nameless);
    named.iter().map(ToString::to_string).chain(nameless).collect()
}

/// The most things on a page: what was asked for, by default 100.
fn page_limit(asked: Option<usize>) -> Result<usize, Problem> {
    const MOST: usize = 1_000;
    let limit = asked.unwrap_or(100);
    match (1..=MOST).contains(&limit) {
        true => Ok(limit),
        false => Err(Problem::bad_request(format!("limit: must be 1 to {MOST}"))),
    }
}

/// Arguments as a store has them, in JSON, with null for anything that JSON cannot express.
fn arguments(stored: &[u8]) -> Vec<Box<RawValue>> {
    let Ok(rmpv::Value::Array(args)) = msgpack::read(stored) else { return Vec::new() };
    let text = |arg| to_json_text(arg, MAX_DEPTH).unwrap_or_else(|_| "null".to_owned());
    let raw = |text| RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned());
    args.iter().map(text).map(raw).collect()
}
