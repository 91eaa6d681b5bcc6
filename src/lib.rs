//! A Socket.IO server that knows its users, on the unmodified crate [socketioxide].
//!
//! A [`Gateway`] is a namespace with its event handlers; a handler is an async function of what it
//! asks for and returns [`Reply`] values. Middleware ([`Authenticate`], or a function of a
//! [`Handshake`]) decides who may enter; [interceptors](interceptor) stand around the handlers. A
//! [`Switchboard`] serves gateways, and knows which user has which sockets.
//!
//! ```
//! use switchboard::{Data, Gateway, Reply, Session, Switchboard};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Switchboard::builder()
//!     .gateway(Gateway::new("/").on("greet", async |session: Session, Data(name): Data<String>| {
//!         Reply::ack(&format!("hello {name}, you are {}", session.id()))
//!     }))
//!     .build()?;
//! let bound = server.bind("127.0.0.1:0").await?;
//! println!("listening on http://{}", bound.local_addr());
//! # let shutdown = async {};
//! bound.serve(shutdown).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Inside, dependencies run one way: `server` builds everything; `connect` lets sockets in and
//! `dispatch` runs their handlers; `session` and `emitter` speak through `adapter`, the one way out;
//! `edge` owns the transports below the protocol and knows nothing of all this. What happens to
//! sockets is told to `watch`, from which `admin_ui` takes it.

pub mod adapter;
mod admin;
mod admin_ui;
pub mod auth;
pub mod builtin;
mod cluster;
pub mod config;
mod connect;
mod context;
pub mod directory;
mod dispatch;
pub mod edge;
pub mod emitter;
pub mod event;
mod farewell;
mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gateway;
pub mod handler;
pub mod handshake;
pub mod id;
pub mod interceptor;
mod javascript;
mod metrics;
mod missed;
mod msgpack;
mod packet;
pub mod payload;
mod pem;
mod rate;
mod redis;
mod relay;
pub mod reply;
pub mod reserved;
pub mod rooms;
pub mod server;
mod session;
mod traceparent;
mod traces;
mod watch;

pub use auth::{Identity, Jwt};
#[cfg(fuzzing)]
pub use cluster::fuzzing as cluster_fuzzing;
pub use config::Config;
pub use event::{Data, Event};
pub use fault::{Code, Fault};
pub use gateway::Gateway;
pub use handler::handle;
pub use handshake::{Authenticate, Handshake};
pub use payload::Payload;
pub use reply::{Replies, Reply};
pub use server::Switchboard;
pub use session::Session;
