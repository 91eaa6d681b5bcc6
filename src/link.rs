//! The link to Redis: where it is, how it is reached, how it is kept.
//!
//! `target` reads the URL and opens connections, with the files of `tls`. `probe` tells whether a
//! connection is alive and, with `whereabouts` and `view`, whether it still goes to the right
//! server. `ranges` reads which nodes of a Redis Cluster have which slots. `client` keeps a
//! connection for commands and mends it. `state` holds the state of a link and its log lines;
//! `backoff` is the pause between two attempts. `rights` finds out which commands are refused.
//! `condition` names the trouble of a Redis that answers and does not work. `refusal` says in words
//! why there is no link, and `greeting` asks for the reason.

pub(crate) mod backoff;
pub(crate) mod client;
pub(crate) mod commands;
pub(crate) mod condition;
mod error;
mod greeting;
pub(crate) mod probe;
pub(crate) mod ranges;
pub(crate) mod refusal;
pub(crate) mod rights;
pub(crate) mod state;
pub(crate) mod target;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tls;
mod url;
mod view;
pub(crate) mod whereabouts;

pub use error::LinkError;
