//! The link of a node to the others: whether it is there, and why not. And Redis, by which most
//! clusters have one.

pub(crate) mod backoff;
mod error;
#[cfg(feature = "redis")]
pub(crate) mod redis;

pub use error::LinkError;

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not started yet, or lost and being mended.
    Down,
    /// Connected. For a broker, every topic is subscribed to, too.
    Up,
}
