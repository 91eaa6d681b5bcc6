//! Why a payload could not be made or read.

use crate::{
    fault::{Code, Fault},
    packet::{MAX_ATTACHMENTS, MAX_DEPTH, ReadError},
};

/// Why a payload could not be made or read.
///
/// ```
/// use switchboard::{Payload, payload::PayloadError};
///
/// let reserved = Payload::event("disconnect", &());
/// assert!(matches!(reserved, Err(PayloadError::ReservedEvent(name)) if name == "disconnect"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The value has a part that the format cannot carry, such as a map with keys that are no text.
    #[error("cannot encode the value")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The arguments do not have the shape of the type asked for.
    #[error("the arguments do not have the expected shape: {0}")]
    Decode(Box<dyn std::error::Error + Send + Sync>),
    /// The value has lists and maps nested too deeply.
    #[error("lists and maps may be nested {MAX_DEPTH} deep at most")]
    TooDeep,
    /// The value has more binary parts than the official client takes; it would drop its
    /// connection.
    #[error("an event has {MAX_ATTACHMENTS} attachments at most")]
    TooManyAttachments,
    /// Socket.IO reserves the event name, see [`is_reserved_event`](crate::names::events::is_reserved_event).
    #[error("the event name {0:?} is reserved by Socket.IO")]
    ReservedEvent(String),
}

impl From<ReadError> for PayloadError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooDeep => Self::TooDeep,
            ReadError::TooManyAttachments => Self::TooManyAttachments,
            other => Self::Decode(Box::new(other)),
        }
    }
}

impl From<&PayloadError> for Fault {
    fn from(error: &PayloadError) -> Self {
        match error {
            PayloadError::Decode(_) | PayloadError::TooDeep => Self::bad_request(error.to_string()),
            PayloadError::TooManyAttachments => Self::new(Code::TooLarge, error.to_string()),
            PayloadError::ReservedEvent(_) | PayloadError::Encode(_) => {
                tracing::error!(%error, source = ?std::error::Error::source(error), "cannot send");
                Self::internal()
            }
        }
    }
}

impl From<PayloadError> for Fault {
    fn from(error: PayloadError) -> Self {
        Self::from(&error)
    }
}

pub(super) fn encode_error(error: impl std::error::Error + Send + Sync + 'static) -> PayloadError {
    PayloadError::Encode(Box::new(error))
}
