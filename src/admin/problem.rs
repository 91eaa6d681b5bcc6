//! Failures of requests: a fitting status, and `{"error": {code, message}}` from every layer.

use axum::{
    Json,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::MAX_BODY;
use crate::{
    fault::{Code, Fault},
    payload::PayloadError,
};

/// Why a request failed.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Problem {
    error: Details,
    #[serde(skip)]
    #[schema(ignore)]
    status: StatusCode,
    /// The challenge of a 401: how to be let in.
    #[serde(skip)]
    #[schema(ignore)]
    challenge: Option<&'static str>,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct Details {
    /// A code for programs: `unauthorized`, `forbidden`, `bad_request`, `too_large`, `unavailable`,
    /// `timeout` or `internal`. The status says more.
    #[schema(value_type = String)]
    code: Code,
    /// A sentence for people.
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { error: Details { code, message: message.into() }, status, challenge: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::BadRequest, message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::Forbidden, message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, message)
    }

    /// The client is unknown. `challenge` is the header value of RFC 6750.
    pub(super) fn unauthorized(message: &str, challenge: &'static str) -> Self {
        let problem = Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message);
        Self { challenge: Some(challenge), ..problem }
    }

    /// The refusal of a layer that knows nothing of this API, with that layer's text.
    pub(super) fn of(status: StatusCode, said: &str) -> Self {
        // A client can react to both in the same way.
        let status = match status {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::Timeout,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::Internal,
        };
        let message = match status {
            StatusCode::NOT_FOUND => "there is no such route".to_owned(),
            StatusCode::METHOD_NOT_ALLOWED => "this method is not allowed here".to_owned(),
            StatusCode::PAYLOAD_TOO_LARGE => format!("a body has {MAX_BODY} bytes at most"),
            StatusCode::GATEWAY_TIMEOUT => "not answered in time".to_owned(),
            status if status.is_client_error() && !said.is_empty() => said.to_owned(),
            status => status.canonical_reason().unwrap_or("refused").to_lowercase(),
        };
        Self::new(status, code, message)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let status = match fault.code() {
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::Forbidden => StatusCode::FORBIDDEN,
            Code::BadRequest | Code::UnknownEvent => StatusCode::BAD_REQUEST,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::RateLimited | Code::TooManySockets => StatusCode::TOO_MANY_REQUESTS,
            Code::TooManyMessages => StatusCode::CONFLICT,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, fault.code(), fault.message())
    }
}

/// The client chose the payload, so its faults are the client's.
impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        if let Some(challenge) = self.challenge {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Puts the refusals of the layers and extractors into the form of all others.
pub(super) async fn as_json(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_json(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let said = said(body).await;
    // Other headers stay: `Allow`, for example.
    for of_the_body in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        parts.headers.remove(of_the_body);
    }
    let mut answer = Problem::of(status, &said).into_response();
    answer.headers_mut().extend(parts.headers);
    answer
}

async fn said(body: Body) -> String {
    let text = to_bytes(body, 4096).await.unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else {
        return false;
    };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}
