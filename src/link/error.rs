//! Why there is no link, as a program or an operator is told.

/// Why the link cannot be made. The text names the address without its password.
///
/// ```
/// use switchboard::server::{LinkError, ServeError};
///
/// fn advice(error: &ServeError) -> Option<String> {
///     match error {
///         ServeError::Redis(LinkError::Unreachable { address, .. }) => Some(format!("is there a Redis at {address}?")),
///         ServeError::Redis(LinkError::Refused { reason, .. }) => Some(reason.clone()),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The server does not answer.
    #[error("cannot reach Redis at {address}")]
    Unreachable {
        /// The address.
        address: String,
        /// The error of the driver.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answers and refuses us.
    #[error("the Redis at {address} refuses: {reason}")]
    Refused {
        /// The address.
        address: String,
        /// Why, and what can be done about it.
        reason: String,
    },
    /// The server answers, and lacks something that is needed.
    #[error("the Redis at {address} cannot be used: {reason}")]
    Unfit {
        /// The address.
        address: String,
        /// The missing thing.
        reason: String,
    },
    /// The program's own [`Broker`](crate::cluster::Broker) cannot connect.
    #[error("cannot reach the other nodes: {0}")]
    Broker(#[source] Box<dyn std::error::Error + Send + Sync>),
}
