//! The link to Redis: where it is, how it is reached, how it is kept.
//!
//! `target` reads the URL and opens connections, with the files of `tls`; `probe` tells whether one is
//! alive and, with `whereabouts` and `view`, still goes to the right server; `ranges` reads which nodes
//! of a Redis Cluster have which slots. `link` keeps a connection for commands and mends it; `state` is
//! what is known and said of a link; `backoff` is the pause between two attempts. `rights` finds out
//! what we may not do, `condition` says what keeps a Redis that answers from doing it, `refusal` says
//! in words why there is no link, and `greeting` asks for them.

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
