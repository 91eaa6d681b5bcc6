//! Refusals of requests: Engine.IO's numbered errors as JSON. They are written here, because the
//! engine writes the numbers as strings and often nothing at all.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

use super::{admission::Full, reasons::RefuseReason};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownTransport,
    UnknownSession,
    BadHandshakeMethod,
    BadRequest,
    UnsupportedProtocol,
    /// Polling by scripts, for very old browsers.
    Jsonp,
    TooLarge,
    TooSlow,
    /// The lines of the request are longer than a session may keep.
    HeadTooLarge,
    /// The bodies under way take too much memory.
    Busy,
    /// Too many requests wait for the program's `allow_request`.
    Openings,
    Draining,
    /// The node has not joined its cluster yet.
    Starting,
    Full(Full),
    Internal,
}

/// A refusal by the program, with its own sentence: Engine.IO's number 4 of Node.js.
pub(crate) fn by_program(status: StatusCode, sentence: &str) -> Response<Body> {
    let json = serde_json::json!({ "code": 4, "message": sentence }).to_string();
    response(status, json)
}

fn response(status: StatusCode, json: String) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::UnknownTransport
            | Self::UnknownSession
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::UnsupportedProtocol
            | Self::Jsonp => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Busy | Self::Openings | Self::Draining | Self::Starting | Self::Full(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Engine.IO has six numbers. Other refusals use 3 for the client's fault and 4 ("not now") for
    /// ours; the status says more.
    const fn code(self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSession => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest
            | Self::Jsonp
            | Self::TooLarge
            | Self::HeadTooLarge
            | Self::TooSlow => 3,
            Self::Busy
            | Self::Openings
            | Self::Draining
            | Self::Starting
            | Self::Full(_)
            | Self::Internal => 4,
            Self::UnsupportedProtocol => 5,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSession => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::UnsupportedProtocol => "Unsupported protocol version",
            Self::Jsonp => "JSONP polling is not supported",
            Self::TooLarge => "Payload too large",
            Self::TooSlow => "Request timed out",
            Self::HeadTooLarge => "Request header fields too large",
            Self::Busy | Self::Openings => "Too many requests at once",
            Self::Draining => "Server is going away",
            Self::Starting => "Server is starting",
            Self::Full(Full::Connections) => "Server is full",
            Self::Full(Full::Rate) => "Too many connections at once",
            Self::Full(Full::Address) => "Too many connections from this address",
            Self::Internal => "Internal error",
        }
    }

    const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Full(full) => Some(full.retry_after()),
            Self::Busy | Self::Openings | Self::Draining | Self::Starting => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }

    pub(super) const fn reason(self) -> RefuseReason {
        match self {
            Self::UnknownSession => RefuseReason::UnknownSession,
            Self::TooLarge | Self::HeadTooLarge => RefuseReason::TooLarge,
            Self::TooSlow => RefuseReason::TooSlow,
            Self::Internal => RefuseReason::Internal,
            Self::Busy => RefuseReason::Bodies,
            Self::Openings => RefuseReason::Openings,
            Self::Draining => RefuseReason::Draining,
            Self::Starting => RefuseReason::Starting,
            Self::Full(Full::Connections) => RefuseReason::Connections,
            Self::Full(Full::Rate) => RefuseReason::Rate,
            Self::Full(Full::Address) => RefuseReason::Address,
            _ => RefuseReason::BadRequest,
        }
    }

    pub(super) fn response(self) -> Response<Body> {
        let json = format!(r#"{{"code":{},"message":"{}"}}"#, self.code(), self.message());
        let mut response = response(self.status(), json);
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        // These end the connection, as soon as the client has its answer. No request of the same
        // client is wanted behind such a body, and a proxy that keeps its connection to a draining
        // node would go on sending new clients here.
        if matches!(self, Self::TooLarge | Self::TooSlow | Self::Busy | Self::Draining) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
