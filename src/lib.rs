//! A Socket.IO server that knows its users, on the unmodified crate [socketioxide].
//!
//! A [`Gateway`] is a namespace with its event handlers; a handler is an async function of what it
//! asks for and returns [`Reply`] values. Middleware ([`Authenticate`], or a function of a
//! [`Handshake`]) decides who may enter; [interceptors](interceptor) stand around the handlers. A
//! [`Switchboard`] serves gateways, and knows which user has which sockets.
//!
//! ```
//! use switchboard::{Data, Gateway, Reply, Socket, Switchboard};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Switchboard::builder()
//!     .gateway(Gateway::new("/").on("greet", async |socket: Socket, Data(name): Data<String>| {
//!         Reply::ack(&format!("hello {name}, you are {}", socket.id()))
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
//! `ARCHITECTURE.md` in the repository shows how the modules lie above one another.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Without one of these features some parts below them have no user.
#![cfg_attr(
    not(all(
        feature = "admin",
        feature = "admin-ui",
        feature = "config-file",
        feature = "jwt",
        feature = "redis",
        feature = "tls"
    )),
    allow(dead_code, unused_imports)
)]

#[cfg(feature = "admin")]
pub mod admin;
#[cfg(feature = "admin-ui")]
mod admin_ui;
#[cfg(feature = "tls")]
mod any_certificate;
pub mod auth;
pub mod cluster;
pub mod config;
mod edge;
mod fault;
mod future;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
mod history;
pub mod id;
pub mod inbox;
mod javascript;
mod link;
mod millis;
mod msgpack;
pub mod names;
#[cfg(feature = "postgres")]
mod outbox;
mod packet;
pub mod payload;
#[cfg(feature = "tls")]
mod pem;
mod rate;
mod recovery;
mod secret;
pub mod server;
pub mod sockets;
mod state;
mod store;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod users;

#[cfg(feature = "otlp")]
#[doc(no_inline)]
pub use opentelemetry_sdk;
#[cfg(feature = "tls")]
#[doc(no_inline)]
pub use rustls;
#[doc(no_inline)]
pub use {
    axum, bytes, futures_util, http, ipnet, serde, serde_json, smallvec, socketioxide, tokio,
    tower_layer, tower_service,
};

pub use auth::Identity;
#[cfg(feature = "jwt")]
pub use auth::Jwt;
#[cfg(any(test, fuzzing))]
pub use cluster::fuzzing as cluster_fuzzing;
pub use config::Config;
#[cfg(any(test, fuzzing))]
pub use edge::fuzzing as edge_fuzzing;
pub use fault::{Code, Fault};
#[cfg(feature = "jwt")]
pub use gateway::{Authenticate, builtin};
pub use gateway::{
    Binary, Data, Event, Extension, FromContext, Gateway, Handshake, Replies, Reply, State,
    TryData, handle, interceptor,
};
pub use payload::Payload;
pub use server::Switchboard;
pub use sockets::{Audience, Socket};
