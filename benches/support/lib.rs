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
//! | [`polling`], [`delay`] | a client that begins by polling, and a proxy that is far away |
//! | `client`, [`fleet`] | one websocket, and many on one thread |
//! | [`returning`] | many that are cut and come back |
//! | `tally`, [`groups`], `accounts` | who is to receive what, and who did |
//! | [`spread`], [`table`], [`report`] | the results of all repetitions, and how they are shown |
//! | [`generator`] | messages at a pace, and what they cost |
//! | [`latency`] | how long deliveries take |
//! | [`options`] | the command line |
//! | [`benchmark`] | the order in which everything is run |

mod accounts;
pub mod benchmark;
mod client;
pub mod delay;
pub mod fleet;
mod frame;
pub mod generator;
pub mod groups;
pub mod latency;
pub mod message;
pub mod options;
pub mod polling;
pub mod proc;
pub mod process;
pub mod report;
pub mod result;
pub mod returning;
pub mod server;
pub mod spread;
pub mod table;
mod tally;
