//! The edge over real sockets, with a socketioxide server behind it.

mod hop;
mod kill;
mod legacy;
mod opening;
mod pieces;
mod refusals;
mod router;
mod sessions;
mod support;
mod unread;
mod upgrade;
