//! What the nodes of a cluster say to each other, and how it travels.
//!
//! `message` is the vocabulary; `wire` turns it into the bytes of the Node.js adapters and back,
//! and nothing else; `broker` carries bytes from node to node and never looks into them. None of
//! them knows a socket: applying what others say is the adapter's job.

pub(crate) mod broker;
pub(crate) mod codec;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub(crate) mod marks;
mod members;
pub(crate) mod message;
pub(crate) mod peers;
pub(crate) mod questions;
