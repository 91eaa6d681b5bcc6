//! Requests that carry a key: each is carried out once, and a repeated one gets the first answer.

use std::time::Duration;

use axum::{
    body::to_bytes,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::Problem;
use crate::{
    fault::{Code, Fault},
    server::{
        Switchboard,
        remembered::{Answer, Claimed, Digested, Known},
    },
    telemetry::traces::Span,
};

/// Says that an answer was given before.
const REPLAYED: &str = "idempotent-replayed";

/// Carries a request out, unless one with its key was carried out in the last minutes. It is carried
/// out to its end even if nobody waits for the answer any more.
pub(super) async fn once(
    server: &Switchboard,
    key: &str,
    request: Digested,
    patience: Duration,
    carry_out: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    let known = server.remembered().claim(key, request, patience).await;
    let claimed = match known.map_err(|unknown| Problem::unavailable(unknown.to_string()))? {
        Known::First(claimed) => claimed,
        Known::Before(answer) => return again(answer),
        Known::OfAnother => {
            let message = "idempotency_key: it was used for another request a short time ago";
            return Err(Problem::new(StatusCode::CONFLICT, Code::BadRequest, message));
        }
    };
    let node = server.this_node();
    let span = Span::present(node.tracer());
    let first = span.around(first(claimed, carry_out));
    let answered = node.tasks.spawn(first).await;
    answered.map_err(|_| Fault::internal().into())
}

async fn first(
    claimed: Claimed,
    carry_out: impl Future<Output = Result<Response, Problem>>,
) -> Response {
    let (parts, body) = carry_out.await.into_response().into_parts();
    // The body is in memory already.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    if parts.status.is_client_error() {
        claimed.refused().await;
    } else {
        claimed.answered(Answer::new(parts.status.as_u16(), body.clone())).await;
    }
    (parts, body).into_response()
}

fn again(Answer { status, body }: Answer) -> Result<Response, Problem> {
    let Some(body) = body else {
        let message = "this was done a short time ago; its answer was too long to be kept";
        return Err(Problem::new(StatusCode::CONFLICT, Code::TooLarge, message));
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::HeaderName::from_static(REPLAYED), HeaderValue::from_static("true")),
    ];
    Ok((status, headers, body).into_response())
}
