//! A socket as it can be written down: everything beyond its connection.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use socketioxide_core::adapter::Room;

use crate::{auth::Identity, id::SocketId, millis};

/// Everything of a socket beyond its connection, made by [`Socket::record`](crate::Socket::record).
/// It holds the claims of the user's token, though never the token: keep it where users' data may
/// be kept.
///
/// In JSON, times are milliseconds since the Unix epoch, and missing values are `null`.
///
/// ```
/// use switchboard::{Socket, sockets::SocketRecord};
///
/// fn written_and_read(socket: &Socket) -> serde_json::Result<SocketRecord> {
///     serde_json::from_str(&serde_json::to_string(&socket.record())?)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SocketRecord {
    /// The public id.
    pub id: SocketId,
    /// The namespace that the socket is in.
    pub namespace: String,
    /// Its owner, the owner's rights, and their end.
    pub identity: Identity,
    /// All rooms of the socket, including those that the server gave it. Sorted.
    pub rooms: Vec<Room>,
    /// The application's data of the socket, `socket.data`.
    pub data: Map<String, Json>,
    /// When it was accepted.
    #[serde(with = "millis")]
    pub connected_at: SystemTime,
    /// The trace of its connect, in the form of the header `traceparent` (W3C Trace Context).
    pub traceparent: Option<String>,
}

impl SocketRecord {
    /// The memory that it takes beside its rooms, roughly, in bytes.
    pub(crate) fn size(&self) -> usize {
        let json = |map: &Map<String, Json>| -> usize {
            map.iter().map(|(key, value)| key.len() + size_of_json(value) + 32).sum()
        };
        let identity = json(self.identity.claims())
            + self.identity.rooms().iter().map(|room| room.len() + 24).sum::<usize>();
        json(&self.data) + identity + self.namespace.len() + size_of::<Self>()
    }
}

fn size_of_json(value: &Json) -> usize {
    let inside: usize = match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => text.len(),
        Json::Array(values) => values.iter().map(size_of_json).sum(),
        Json::Object(map) => map.iter().map(|(key, value)| key.len() + size_of_json(value)).sum(),
    };
    inside + size_of::<Json>()
}
