//! `/healthz` and `/readyz` on the public port.

use std::sync::Arc;

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::json;

use crate::{cluster::peers::Peers, context::Context, directory::Directory};

/// The routes. `/healthz`: the process serves. `/readyz`: and it wants new clients; otherwise 503
/// with the reasons.
pub(crate) fn routes(
    context: Arc<Context>,
    peers: Option<Arc<Peers>>,
    directory: Directory,
) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(async move || readiness(&context, peers.as_deref(), &directory)))
}

fn readiness(
    context: &Context,
    peers: Option<&Peers>,
    directory: &Directory,
) -> impl IntoResponse + use<> {
    let draining = context.is_draining().then(|| "draining".to_owned());
    let alone = peers.is_some_and(|peers| !peers.is_up());
    let alone = alone.then(|| "redis link down".to_owned());
    let refused = peers.and_then(Peers::trouble);
    // One of these is the reason for everything else.
    let directory = directory.trouble().filter(|_| alone.is_none() && refused.is_none());
    let directory = directory.map(|why| format!("user directory: {why}"));
    let reasons = [draining, alone, refused, directory];
    let reasons: Vec<String> = reasons.into_iter().flatten().collect();
    if reasons.is_empty() {
        return (StatusCode::OK, Json(json!({ "status": "ok" })));
    }
    let body = json!({ "status": "unavailable", "reasons": reasons });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}
