//! `/healthz` and `/readyz` on the public port.

use std::sync::Arc;

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::json;

use crate::{cluster::peers::Peers, context::Context};

/// The routes. `/healthz`: the process serves. `/readyz`: and it wants new clients; otherwise 503
/// with the reasons.
pub(crate) fn routes(context: Arc<Context>, peers: Option<Arc<Peers>>) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(async move || readiness(&context, peers.as_deref())))
}

fn readiness(context: &Context, peers: Option<&Peers>) -> impl IntoResponse + use<> {
    let draining = context.is_draining().then_some("draining");
    let alone = peers.is_some_and(|peers| !peers.is_up()).then_some("redis link down");
    let reasons: Vec<&str> = [draining, alone].into_iter().flatten().collect();
    if reasons.is_empty() {
        return (StatusCode::OK, Json(json!({ "status": "ok" })));
    }
    let body = json!({ "status": "unavailable", "reasons": reasons });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}
