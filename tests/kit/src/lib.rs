//! What tests need beside Switchboard itself: unit tests, integration tests and benchmarks use the
//! same servers, websockets and patience.
//!
//! Nothing here knows Switchboard, so that its unit tests can use it, too. Servers in the test's own
//! process are in `tests/support`. What goes wrong here fails the test: everything panics.
//!
//! A module imports only from those above it: [`waiting`], `ports`, [`postgres`], [`redis`],
//! [`redis_cluster`]; [`network`] and [`websocket`] stand alone.

pub mod network;
mod ports;
pub mod postgres;
pub mod redis;
pub mod redis_cluster;
pub mod waiting;
pub mod websocket;

pub use ports::free_port;
