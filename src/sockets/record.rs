//! A socket as it can be written down: everything that it is beyond its connection.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use socketioxide_core::adapter::Room;

use crate::{
    auth::{Identity, millis},
    id::SocketId,
};

/// Everything that a socket is beyond its connection, as [`Socket::record`](crate::Socket::record)
/// gives it. It holds the claims of the user's token, though never the token: keep it where users'
/// data may be kept.
///
/// In JSON times are milliseconds since the Unix epoch, and what there is none of is `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SocketRecord {
    /// The public id.
    pub id: SocketId,
    /// The namespace that the socket is in.
    pub namespace: String,
    /// Whose it is, what that allows, and when it ends.
    pub identity: Identity,
    /// The rooms that it is in, those that the server gave it included. Sorted.
    pub rooms: Vec<Room>,
    /// What the application keeps with it, `socket.data`.
    pub data: Map<String, Json>,
    /// When it was accepted.
    #[serde(with = "millis")]
    pub connected_at: SystemTime,
    /// The trace that it came with, as the header `traceparent` has it (W3C Trace Context).
    pub traceparent: Option<String>,
}
