//! Switchboard: a Socket.IO-compatible server that knows its users.

pub mod config;
mod fault;
pub mod rooms;

pub use config::Config;
pub use fault::{Code, Fault};
