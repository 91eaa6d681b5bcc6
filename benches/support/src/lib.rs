//! What the benchmarks `benches/load` and `benches/cluster` have in common.
//!
//! A module imports only from those above it:
//!
//! | module | owns |
//! |---|---|
//! | [`result`] | the error of everything here |
//! | [`proc`] | CPU time, memory and limits, as `/proc` tells them |
//! | [`process`] | a child process that listens |
//! | [`server`] | what is measured, and a running one |
//! | `frame`, [`message`] | the bytes of a websocket, and those of the scenarios' packets |
//! | `client`, [`fleet`] | one websocket, and many on one thread |
//! | `tally`, [`groups`], `accounts` | who is to receive what, and who did |
//! | [`generator`] | messages at a pace, and what they cost |
//! | [`spread`], [`table`] | the results of all repetitions |
//! | [`options`] | the command line |
//! | [`benchmark`] | the order in which everything is run |
//! | [`yardstick`] | handlers of the servers on plain socketioxide |

mod accounts;
pub mod benchmark;
mod client;
pub mod fleet;
mod frame;
pub mod generator;
pub mod groups;
pub mod message;
pub mod options;
pub mod proc;
pub mod process;
pub mod result;
pub mod server;
pub mod spread;
pub mod table;
mod tally;
pub mod yardstick;
