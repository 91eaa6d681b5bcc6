//! Measures the requests: their number, duration and status, and a span for each request to the
//! API.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::server::Switchboard;

/// Stands around everything, so that refusals are seen, too.
pub(super) async fn observe(
    State(server): State<Switchboard>,
    request: Request,
    next: Next,
) -> Response {
    let node = server.this_node();
    // Only the matched pattern is counted: clients choose unknown paths and methods at will.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        _ => "other",
    };
    let started = Instant::now();
    let response = if route.starts_with("/api/") {
        let span = node.tracer().request(method, route, request.headers());
        let response = span.around(next.run(request)).await;
        span.answered(response.status());
        response
    } else {
        next.run(request).await
    };
    node.meters().admin_answered(method, route, response.status(), started.elapsed());
    response
}
