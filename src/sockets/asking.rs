//! Why a client that was asked has not answered.

use crate::{
    fault::{Code, Fault},
    payload::PayloadError,
};

/// Why a client's answer is not there.
///
/// ```
/// use std::time::Duration;
/// use switchboard::{Socket, sockets::AskError};
///
/// async fn is_ready(socket: &Socket) -> bool {
///     match socket.ask::<bool>("ready?", &(), Duration::from_secs(5)).await {
///         Ok(ready) => ready,
///         Err(AskError::Timeout | AskError::Disconnected) => false,
///         Err(other) => panic!("{other}"),
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The client did not answer in time.
    #[error("the client did not answer in time")]
    Timeout,
    /// The socket has left, before it was asked or before it answered.
    #[error("the client is gone")]
    Disconnected,
    /// The question cannot be encoded, or the answer has another shape.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl From<AskError> for Fault {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Timeout => Self::new(Code::Timeout, "the client did not answer in time"),
            AskError::Disconnected => Self::new(Code::Unavailable, "the client is gone"),
            AskError::Payload(error) => error.into(),
        }
    }
}
