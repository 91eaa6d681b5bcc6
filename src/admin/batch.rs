//! `POST /batch`: several requests in one, carried out one after the other.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    body::{Body as HttpBody, Bytes, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tower_service::Service;
use utoipa::ToSchema;

use super::{API, Problem, body::Body};
use crate::fault::Code;

/// Most requests in one.
const MAX_REQUESTS: usize = 100;

/// The time for all of them. Those that would begin later are not carried out.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most bytes of all answers. What would come after them is not carried out.
const MAX_ANSWERS: usize = 16 << 20;

/// The headers of the batch that its requests have, too: they belong to the same trace.
const PASSED_ON: [&str; 2] = ["traceparent", "tracestate"];

/// Several requests.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// At most 100. They are carried out in this order, each when the one before it is answered.
    #[schema(max_items = 100)]
    requests: Vec<Part>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// `GET`, `POST` or `DELETE`.
    method: String,
    /// The path below `/api/v1`, or with it, and its query.
    path: String,
    /// The body of the request, if it has one.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    body: Option<Box<RawValue>>,
}

/// The answers, in the order of the requests.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchReply {
    responses: Vec<PartReply>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PartReply {
    /// The HTTP status.
    status: u16,
    /// What the request alone would have been answered.
    #[schema(value_type = serde_json::Value)]
    body: Box<RawValue>,
}

/// The routes that a batch may use. The guard is not among them: it has let the batch in.
#[derive(Clone)]
pub(super) struct Routes(pub(super) Router);

/// Carries out several requests, one after the other. A refused one does not stop the next. A batch in
/// a batch is refused in its place.
#[utoipa::path(post, path = "/api/v1/batch", tag = "batch", request_body = BatchRequest, responses(
    (status = 200, description = "An answer for each request", body = BatchReply),
    (status = 400, description = "Not understood, or too many requests: none was carried out", body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 415, description = "The body is not JSON", body = Problem),
))]
pub(super) async fn batch(
    Extension(Routes(routes)): Extension<Routes>,
    headers: HeaderMap,
    Body(BatchRequest { requests }): Body<BatchRequest>,
) -> Result<Json<BatchReply>, Problem> {
    if requests.len() > MAX_REQUESTS {
        return Err(Problem::bad_request(format!("requests: at most {MAX_REQUESTS}")));
    }
    let deadline = Instant::now() + PATIENCE;
    let mut responses = Vec::with_capacity(requests.len());
    let mut bytes = 0;
    for part in requests {
        let answered = if bytes > MAX_ANSWERS {
            let message = "not carried out: the answers before it are too long together";
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, message).into_response()
        } else if Instant::now() >= deadline {
            let message = "not carried out: those before it took too long";
            Problem::new(StatusCode::GATEWAY_TIMEOUT, Code::Timeout, message).into_response()
        } else {
            match request(part, &headers) {
                Ok(request) => carry_out(routes.clone(), request).await,
                Err(problem) => problem.into_response(),
            }
        };
        let (status, body) = read(answered).await;
        bytes += body.get().len();
        responses.push(PartReply { status: status.as_u16(), body });
    }
    Ok(Json(BatchReply { responses }))
}

/// The place of a batch in a batch.
pub(super) async fn in_a_batch() -> Problem {
    Problem::bad_request("a batch cannot be in a batch")
}

fn request(part: Part, headers: &HeaderMap) -> Result<Request<HttpBody>, Problem> {
    let Part { method, path, body } = part;
    let method = method.to_ascii_uppercase().parse::<Method>();
    let method = method.map_err(|_| Problem::bad_request("method: there is no such method"))?;
    if !path.starts_with('/') {
        return Err(Problem::bad_request("path: must start with a slash"));
    }
    let is_full = path.strip_prefix(API).is_some_and(|rest| rest.starts_with(['/', '?']));
    let path = if is_full { path } else { format!("{API}{path}") };
    let uri: Uri =
        path.parse().map_err(|_| Problem::bad_request("path: it is not a valid path"))?;
    let body = body.map_or_else(HttpBody::empty, |body| {
        Bytes::from(Box::<str>::from(body).into_string()).into()
    });
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let json = header::HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    for name in PASSED_ON {
        if let Some(value) = headers.get(name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    Ok(request)
}

async fn carry_out(mut routes: Router, request: Request<HttpBody>) -> Response {
    match routes.call(request).await {
        Ok(answered) => answered,
        Err(never) => match never {},
    }
}

/// The body as JSON. Each answer of the API is.
async fn read(answered: Response) -> (StatusCode, Box<RawValue>) {
    let status = answered.status();
    let body = to_bytes(answered.into_body(), usize::MAX).await.unwrap_or_default();
    let text = String::from_utf8(body.into()).unwrap_or_default();
    (status, RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned()))
}
