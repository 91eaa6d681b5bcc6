//! Names with a meaning for Socket.IO or the server: rooms and events.

pub mod events;
pub mod rooms;
