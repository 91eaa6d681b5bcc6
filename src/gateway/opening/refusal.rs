//! What a client hears whose connection is not opened.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::{edge::refused_by_program, fault::Fault};

/// The answer to a client whose connection is not opened: status, headers and body.
///
/// Node.js knows 403 with `{"code":4,"message":…}` alone, which is what a [`Fault`] becomes. A client
/// of JavaScript gets a `connect_error` whatever the answer is. If it polls, the status is
/// `error.description` there, and the body is `error.context.responseText`.
///
/// ```
/// use switchboard::{
///     Gateway, Switchboard,
///     axum::{Json, response::IntoResponse},
///     gateway::opening::{Opening, Refusal},
///     http::{HeaderValue, StatusCode, header::{RETRY_AFTER, SET_COOKIE}},
/// };
///
/// let builder = Switchboard::builder()
///     .allow_request(async |opening: Opening| {
///         if opening.headers().contains_key("x-blocked") {
///             // Any answer that a route of axum may give.
///             let answer = (StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS, Json("not from where you are"));
///             return Err(Refusal::from(answer.into_response()));
///         }
///         match opening.cookie("session") {
///             Some(_) => Ok(()),
///             None => Err(Refusal::new(StatusCode::UNAUTHORIZED, "log in first")
///                 .with_header(SET_COOKIE, HeaderValue::from_static("session=; Max-Age=0; Path=/"))
///                 .with_header(RETRY_AFTER, HeaderValue::from_static("60"))),
///         }
///     })
///     .gateway(Gateway::new("/"));
/// ```
#[derive(Debug)]
#[must_use = "a refusal is returned by the handler"]
pub struct Refusal(pub(super) Box<Response>);

impl Refusal {
    /// A refusal with this status, in the form of Engine.IO: `{"code":4,"message":…}`.
    pub fn new(status: StatusCode, message: impl AsRef<str>) -> Self {
        Self(Box::new(refused_by_program(status, message.as_ref())))
    }

    /// Adds a header, beside others of this name.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().append(name, value);
        self
    }

    /// The refusal with this body, in the place of the one in the form of Engine.IO.
    ///
    /// ```
    /// use switchboard::{gateway::opening::Refusal, http::{HeaderValue, StatusCode}};
    ///
    /// let closed = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "closed")
    ///     .with_body(HeaderValue::from_static("text/plain"), "we open at nine");
    /// ```
    pub fn with_body(mut self, content_type: HeaderValue, body: impl Into<Body>) -> Self {
        self.0.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
        *self.0.body_mut() = body.into();
        self
    }
}

/// The status is 403, and the sentence is the message, as in Node.js.
impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::new(StatusCode::FORBIDDEN, fault.message())
    }
}

/// The client gets this answer as it is.
impl From<Response> for Refusal {
    fn from(answer: Response) -> Self {
        Self(Box::new(answer))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        *self.0
    }
}
