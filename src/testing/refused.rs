//! Why a client of a test was not let in.

use http::HeaderMap;
use serde_json::Value;

/// Why a client was not let in.
///
/// ```
/// use serde_json::json;
/// use switchboard::{Fault, Gateway, Switchboard, testing::Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let full = Gateway::new("/").middleware(async || {
///     Err::<(), _>(Fault::plain("no seat is free").with_data(json!({ "waiting": 3 })))
/// });
/// let server = Server::start(Switchboard::builder().gateway(full)).await;
/// let refused = server.connect().await.unwrap_err();
/// assert_eq!((&*refused.message, refused.status), ("no seat is free", None));
/// assert_eq!(refused.data["waiting"], 3);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Refused {
    /// The message of the `connect_error`, or the body of the HTTP answer.
    pub message: String,
    /// The data of the `connect_error`. Null if there is none.
    pub data: Value,
    /// The status of the HTTP answer, if there was no websocket at all.
    pub status: Option<u16>,
    /// The headers of that answer.
    pub headers: Box<HeaderMap>,
}

impl Refused {
    pub(super) fn said(message: String) -> Self {
        Self { message, data: Value::Null, status: None, headers: Box::default() }
    }

    /// Out of a CONNECT_ERROR.
    pub(super) fn of(body: &str) -> Self {
        let mut body: Value = serde_json::from_str(body).unwrap_or_default();
        let message = body["message"].as_str().unwrap_or_default().to_owned();
        Self { data: body["data"].take(), ..Self::said(message) }
    }
}
