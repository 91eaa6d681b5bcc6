//! Redis: where it is, how it is reached, how it is kept.
//!
//! Each module uses only those to its right and below:
//!
//! ```text
//! client ── liveness ── wanted ── target ── whereabouts ── view ── connector ── tls ── tls_files
//!    ├──── refusal ─────────────┘ └─ url                  └─ ranges   └─ greeting
//!    └──── state, commands ── script
//! ```
//!
//! `connector` opens a connection to one server, with the files of `tls`, which `tls_files` names; `greeting` asks a server
//! that hangs up for the reason. `target` reads `redis.url` (`url`) and finds the server to connect
//! to. `hello` is a server's description of itself. `view` asks the nodes of a Redis Cluster for
//! its masters, and `ranges` reads their answers. `whereabouts` is what is known of the right
//! server, `wanted` compares a connection with it, and `liveness` ends a connection that is dead or
//! at the wrong server. `client` keeps a connection for commands and mends it. `state` holds the
//! state of a link and its log lines. `rights` finds out
//! which commands are refused. `condition` names the trouble of a Redis that answers and does not
//! work. `refusal` says in words why there is no link. `keys` names our own keys.
//! `script` is a script in Lua.

pub(crate) mod client;
pub(crate) mod commands;
pub(crate) mod condition;
mod connector;
mod greeting;
pub(crate) mod hello;
pub(crate) mod keys;
pub(crate) mod liveness;
#[cfg(not(feature = "tls"))]
pub(crate) mod no_tls;
pub(crate) mod ranges;
pub(crate) mod refusal;
pub(crate) mod rights;
pub(crate) mod script;
pub(crate) mod state;
pub(crate) mod target;
mod target_error;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod tls_files;
mod url;
mod view;
pub(crate) mod wanted;
pub(crate) mod whereabouts;

#[cfg(not(feature = "tls"))]
pub(crate) use no_tls as tls;
