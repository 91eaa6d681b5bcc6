//! Switchboard: a Socket.IO-compatible server that knows its users.

mod fault;

pub use fault::{Code, Fault};
