//! The body of a request: an object in JSON, read in time.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use serde::de::DeserializeOwned;

use super::problem::{Problem, is_json};
use crate::fault::Code;

/// Longest time for a client to send a body.
const PATIENCE: Duration = Duration::from_secs(10);

/// A body as `T`. No body at all is an empty object.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let late = |_| {
            let message = "the body did not come in time";
            Problem::new(StatusCode::REQUEST_TIMEOUT, Code::Timeout, message)
        };
        let bytes = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state))
            .await
            .map_err(late)?
            .map_err(|refusal| Problem::of(refusal.status(), &refusal.body_text()))?;
        if !bytes.is_empty() && !is_json {
            let message = "the body must be application/json";
            return Err(Problem::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        parse(if bytes.is_empty() { b"{}" } else { &bytes }).map(Self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Serde would take a list for an object without field names.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::bad_request("the body must be a JSON object"));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("the body is not valid: {error}")))
}
