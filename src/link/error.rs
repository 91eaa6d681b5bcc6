//! Why there is no link, as a program or an operator is told.

/// Why the link cannot be made. The text names the address without its password.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody answers there.
    #[error("cannot reach Redis at {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the driver says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers, and does not want us.
    #[error("the Redis at {address} refuses: {reason}")]
    Refused {
        /// Where.
        address: String,
        /// Why, and what can be done about it.
        reason: String,
    },
    /// It answers, but cannot do what is needed.
    #[error("the Redis at {address} cannot be used: {reason}")]
    Unfit {
        /// Where.
        address: String,
        /// What is missing.
        reason: String,
    },
}
