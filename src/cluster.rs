//! The messages between the nodes of a cluster, and how they travel.
//!
//! A program that has something else than Redis to carry them brings a [`Broker`].
//!
//! # Inside
//!
//! Each module uses only those to its right:
//!
//! ```text
//! peers ──┬── codec ──┬── broker ── memory, redis ── log
//!         │           │
//!         ├───────────┴── message, log
//!         ├── questions, marks ── message
//!         └── members
//! ```
//!
//! `message` is the vocabulary, and `log` what a message is in a stream of Redis. `codec` turns it into the bytes of the Node.js adapters and back.
//! `broker` carries bytes from node to node and never looks into them. None of them knows a socket:
//! `sockets::relay` applies the messages of others.
//!
//! `secrets` stands alone: on it the nodes agree, before anything is sent.

pub(crate) mod broker;
#[cfg(feature = "conformance")]
pub use broker::conformance;
pub use broker::{Broker, BrokerError, Disconnected, Receiver};

pub(crate) mod codec;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub(crate) mod kind;
pub(crate) mod log;
pub(crate) mod marks;
mod members;
pub(crate) mod message;
pub(crate) mod peers;
pub(crate) mod questions;
#[cfg(feature = "redis")]
pub(crate) mod secrets;
pub(crate) mod sessions;
