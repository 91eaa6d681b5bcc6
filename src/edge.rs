//! The edge: everything between the TCP listener and socketioxide's service.
//!
//! ```text
//! TCP, TLS ── connection ──┬── router ──┬── polling ── paced ────── request ──┐
//!                          │            │     └ packets, rewrite                ├── engine
//!                          │            ├── websocket ── probe ── stream ───────┘
//!                          │            └── forwarded ── hop ── another node
//!                          └ other routes         └ frames, inbound, rewrite
//!
//! transports     all transports, by session
//! load           the memory that waits because of each client
//! intake         events of a websocket's client, past the engine
//! outgoing       what waits for a websocket's client, past the engine
//! hop            what this node asks other nodes directly
//! stall, unread  clients that leave waiting bytes for too long
//! ```
//!
//! The engine is used as it is published. It gets a stream of ours for each websocket, and requests
//! of ours for everything else. So the edge can close its gaps: session ids that cannot be stolen,
//! public ids that are no part of them, upgrades that fail without harm, clients that are cut at
//! once, refusals that a client can read.
//!
//! `serve_connection` is the way in; `Edge::handle_mounted` is another one, for requests that a server
//! of the program has read. `Transports` is the way to a session's transport from anywhere
//! else.
//!
//! # Relied-on internals of the engine
//!
//! engineioxide 0.17.9 and socketioxide 0.18.9 promise none of this. It was read in their sources,
//! and `tests/engine_contract.rs` has a test for each item. So their versions are pinned.
//!
//! 1. The OPEN packet is the first frame of a new websocket, a text frame `0{"sid":"…"`, and the
//!    whole body of a polling handshake (after `<length>:` in Engine.IO 3).
//! 2. A session of Engine.IO 4 is pinged at once. On a websocket that is the first frame `2`. By
//!    polling it is all that the first poll brings, while the client cannot have spoken. A later
//!    `3` starts the interval.
//! 3. A waiting poll has taken no packet: dropping its future loses nothing, and the next poll gets
//!    everything.
//! 4. A packet `1` in a request closes its session, with or without a waiting poll and even in the
//!    middle of an upgrade. It is harmless for an ended session.
//! 5. A websocket for a polling session reads `2probe`, writes `3probe`, and reads `5`. From then on
//!    it is the session's transport. Later frames are read after that.
//! 6. An error from the stream's reader closes the session; an error from its writer does not.
//! 7. CONNECT_ERROR is `44[/namespace,]{"message":…}` as text, and `{type, nsp, data: {message}}`
//!    in this order with the MessagePack parser; CONNECT is `40[/namespace,]{"sid":…}` and
//!    `{type, nsp, data: {sid}}`. Both are queued after the middleware has returned.
//! 8. Attachments of Engine.IO 3 polling are written as `b<base64>`.
//! 9. An unknown session's status is not 200, and its body starts with `{"code":"1"`.
//! 10. `Socket::emit` takes a place in the socket's queue before it serializes, and gives it back
//!     when that fails. This is how `adapter` asks whether a queue is full.
//! 11. A packet that did not fit into the answer to a poll is put aside. The next poll has it without
//!     waiting, and an upgrade does not look there. So `paced` polls before an upgrade.
//! 12. A session of Engine.IO 4 is kept until `connect_timeout`, closed or not, unless a CONNECT
//!     succeeds. So the edge sends one before a session that has joined nothing ends.
//! 13. A websocket's stream is read again only when each whole packet that was read before is handled, on
//!     the same task. So an event that goes past the engine then overtakes nothing.

mod admission;
mod answers;
mod bodies;
mod client_files;
mod compression;
mod connection;
mod cors;
mod forwarded;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod headers;
mod hop;
mod inbound;
mod intake;
mod linger;
mod load;
mod mounted;
#[cfg(not(feature = "tls"))]
mod no_tls;
mod opening;
mod options;
mod outgoing;
mod paced;
mod packets;
mod polling;
mod probe;
mod proxy_protocol;
mod reasons;
mod refusal;
mod request;
mod request_line;
mod rewrite;
mod router;
mod session_id;
mod size;
mod stall;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod traffic;
mod transport;
mod transports;
mod trusted_proxies;
mod unread;
mod upgraded;
mod v3;
mod watch;
mod websocket;

pub(crate) use admission::Limits;
pub(crate) use answers::FIRST_ID;
pub(crate) use bodies::BodyLimits;
pub(crate) use client_files::ClientFiles;
pub(crate) use connection::{Site, serve_connection, serve_stream};
pub(crate) use headers::Headers;
pub(crate) use hop::{Addresses, Hop, HopCounts, HopError, HopOptions};
#[cfg(any(test, fuzzing))]
pub(crate) use inbound::{Inbound, Reader, plain_event};
pub(crate) use intake::Intake;
pub(crate) use load::{Load, Room, Sent};
#[cfg(not(feature = "tls"))]
use no_tls as tls;
pub(crate) use opening::OnOpening;
pub(crate) use options::{EdgeOptions, Legacy};
pub(crate) use outgoing::Frame;
pub use reasons::{KillReason, RefuseReason};
pub(crate) use refusal::by_program as refused_by_program;
pub(crate) use router::Edge;
pub(crate) use size::Size;
pub(crate) use stall::Patience;
pub(crate) use tls::Tls;
pub(crate) use traffic::Traffic;
pub use transports::TransportCounts;
pub(crate) use transports::Transports;
pub(crate) use unread::{Conversation, Impatient};
