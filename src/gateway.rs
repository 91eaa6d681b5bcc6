//! Gateways: a namespace with its event handlers, admission of sockets, and the path of an event.
//!
//! A program declares a [`Gateway`]. A client's CONNECT goes through the
//! [middleware](handshake::Middleware) into the namespace (`entrance`). Its events wait in the
//! `queue` of its socket. From there they go through the [interceptors](interceptor) to their
//! [handler], whose [replies](reply) are sent.

pub mod builtin;
pub(crate) mod entrance;
pub mod event;
#[expect(clippy::module_inception, reason = "the type that the module is about has its own file")]
mod gateway;
pub mod handle;
pub mod handler;
pub mod handshake;
pub mod interceptor;
pub(crate) mod queue;
pub mod reply;

pub use event::{Data, Event};
pub use gateway::Gateway;
pub(crate) use gateway::{Inner, Route};
pub use handle::handle;
pub use handshake::{Authenticate, Handshake};
pub use reply::{Replies, Reply};
