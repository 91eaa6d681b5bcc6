//! A socket of any node, as a handle.

use std::{fmt, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};
use socketioxide_core::adapter::Room;

use super::Emitter;
use crate::{
    cluster::message::Description,
    id::SocketId,
    payload::{Payload, PayloadError},
    sockets::{asking::AskError, audience::Audience, rooms::IntoRooms, watch::FOR_ADMINS},
};

/// A socket of any node, as `fetchSockets` of Socket.IO shows it, and a handle to it.
///
/// ```
/// use std::time::Duration;
/// use switchboard::{Fault, Switchboard};
///
/// async fn greet_guests(server: &Switchboard) -> Result<(), Fault> {
///     for socket in server.of("/").room("guests").fetch_sockets().await?.values {
///         socket.emit("hello", &socket.id)?;
///         socket.join(["greeted", "regulars"]);
///         let name = socket.ask::<String>("name?", &(), Duration::from_secs(5)).await?;
///         println!("{name} is in {:?}", socket.rooms);
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RemoteSocket {
    /// The public id. The id of a socket of ours parses as a [`SocketId`], see
    /// [`socket_id`](Self::socket_id).
    pub id: String,
    /// The handshake as Node.js shows it. Sockets of ours leave out secrets: the token, cookies and
    /// authorization.
    pub handshake: Map<String, Json>,
    /// The rooms of the socket. A room that Node.js knows by a number starts with a null character.
    pub rooms: Vec<Room>,
    /// The application's data of the socket, `socket.data`.
    pub data: Map<String, Json>,
    #[serde(skip)]
    at: At,
}

/// The way to the socket.
#[derive(Clone)]
struct At(Emitter);

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Two descriptions are equal by what they say.
impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl RemoteSocket {
    pub(super) fn new(description: Description, namespace: &Emitter) -> Self {
        let Description { id, handshake, rooms, mut data } = description;
        data.remove(FOR_ADMINS);
        let at = At(namespace.clone().only(&id));
        Self { id, handshake, rooms, data, at }
    }

    /// The id as that of a socket of ours. `None` for a socket of a Node.js server.
    pub fn socket_id(&self) -> Option<SocketId> {
        self.id.parse().ok()
    }

    /// Sends an event to the socket, see [`Emitter::emit`].
    ///
    /// # Errors
    /// As [`Emitter::emit`].
    pub fn emit<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<(), PayloadError> {
        self.at.0.clone().emit(name, data)
    }

    /// Sends an event to the socket and awaits its client's acknowledgement, as
    /// [`Socket::ask`](crate::Socket::ask) does for a socket of this node. From another node only
    /// the first argument of the acknowledgement travels.
    ///
    /// # Errors
    /// If the client does not answer in time or is gone, if its node cannot be asked, or if the
    /// answer has another shape.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        name: &str,
        data: &(impl Serialize + ?Sized),
        timeout: Duration,
    ) -> Result<T, AskError> {
        let asked = self.at.0.clone().ask_one(Payload::event(name, data)?, timeout);
        Ok(asked.await?.decode()?)
    }

    /// Puts the socket into rooms, when its node hears of it.
    pub fn join(&self, rooms: impl IntoRooms) {
        self.at.0.clone().join(rooms.into_rooms());
    }

    /// Takes the socket out of rooms, when its node hears of it.
    pub fn leave(&self, rooms: impl IntoRooms) {
        self.at.0.clone().leave(rooms.into_rooms());
    }

    /// Disconnects the socket. The client sees `io server disconnect`.
    pub fn disconnect(&self, close_transport: bool) {
        self.at.0.clone().disconnect(close_transport);
    }
}

impl Emitter {
    /// The emitter to one socket alone, by its client's `socket.id`.
    pub(super) fn only(self, id: &str) -> Self {
        let (local, volatile) = (self.audience.is_local(), self.audience.is_volatile());
        let mut one = self.to(Audience::nobody()).socket_known_as(id);
        if local {
            one = one.local();
        }
        if volatile {
            one = one.volatile();
        }
        one
    }
}
