//! Names that Socket.IO or the server have a meaning for: rooms and events.

pub mod events;
pub mod rooms;
