//! Switchboard: a Socket.IO-compatible server that knows its users.

mod adapter;
pub mod auth;
pub mod builtin;
pub mod config;
mod connect;
mod context;
mod directory;
mod dispatch;
mod edge;
mod emitter;
mod event;
mod fault;
mod gateway;
mod handler;
mod handshake;
mod id;
pub mod interceptor;
mod payload;
mod rate;
mod reply;
mod reserved;
pub mod rooms;
mod server;
mod session;

pub use adapter::Adapter;
pub use auth::{Identity, Jwt};
pub use config::Config;
pub use directory::{Presence, UserPage, UserSocket};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use edge::fuzzing;
pub use edge::{KillReason, RefuseReason, TransportCounts};
pub use emitter::Emitter;
pub use event::{Data, Event, FromEvent};
pub use fault::{Code, Fault};
pub use gateway::Gateway;
pub use handler::{Handle, Handler, IntoHandle, IntoHandler, handle};
pub use handshake::{Authenticate, Handshake, Middleware};
pub use id::{NodeId, SocketId, UserId};
pub use payload::{Parser, Payload, PayloadError};
pub use reply::{IntoOutcome, Outcome, Replies, Reply, Target};
pub use reserved::{RESERVED_EVENTS, is_reserved_event};
pub use server::{Bound, BuildError, Builder, ServeError, Switchboard};
pub use session::Session;
pub use socketioxide::socket::DisconnectReason;
