//! `/healthz` and `/readyz` on the public port.

use std::sync::Arc;

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::json;

use crate::context::Context;

/// The routes. `/healthz`: the process serves. `/readyz`: and it wants new clients; otherwise 503
/// with the reasons.
pub(crate) fn routes(context: Arc<Context>) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(async move || readiness(&context)))
}

fn readiness(context: &Context) -> impl IntoResponse + use<> {
    if context.is_draining() {
        let body = json!({ "status": "unavailable", "reasons": ["draining"] });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body));
    }
    (StatusCode::OK, Json(json!({ "status": "ok" })))
}
