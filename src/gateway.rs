//! Gateways: a namespace with its event handlers, admission of sockets, and the path of an event.
//!
//! A program declares a [`Gateway`]. A client's CONNECT goes through the
//! [middleware](handshake) into the namespace (`entrance`). Its events wait in the
//! `queue` of its socket. From there they go through the [interceptors](interceptor) to their
//! [handler], whose [replies](reply) are sent.

#[cfg(feature = "jwt")]
pub mod authenticate;
#[cfg(feature = "jwt")]
pub mod builtin;
pub(crate) mod entrance;
pub mod event;
pub mod extract;
#[expect(clippy::module_inception, reason = "the type that the module is about has its own file")]
mod gateway;
pub mod handle;
pub mod handler;
pub mod handshake;
pub mod interceptor;
pub(crate) mod kept;
pub mod lifecycle;
pub mod opening;
pub(crate) mod queue;
pub mod reply;
pub(crate) mod request;
mod running;

#[cfg(feature = "jwt")]
pub use authenticate::Authenticate;
pub use event::Event;
pub use extract::{Binary, Data, Extension, FromContext, State, TryData};
pub use gateway::Gateway;
pub use handle::handle;
pub use handshake::Handshake;
pub use reply::{Replies, Reply};
pub(crate) use running::{Inner, Route};
