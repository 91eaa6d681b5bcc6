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
///     for socket in server.of("/").to("guests").fetch_sockets().await?.values {
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
    /// The public id. A client of version 2 of a Node.js server has an id of another form, `/chat#…`.
    /// Here it has one that follows from it; the socket is reached through this handle.
    pub id: SocketId,
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
struct At {
    emitter: Emitter,
    /// The id in the socket's own server, if that is of another form.
    foreign: Option<Box<str>>,
}

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
        let emitter = namespace.clone().only(&id);
        let (id, text) = (SocketId::of_any(&id), id);
        let foreign = (id.as_str() != text).then(|| text.into());
        Self { id, handshake, rooms, data, at: At { emitter, foreign } }
    }

    /// The id as the socket's own server has it.
    pub(crate) fn known_as(&self) -> &str {
        self.at.foreign.as_deref().unwrap_or(self.id.as_str())
    }

    /// Sends an event to the socket, see [`Emitter::emit`].
    ///
    /// ```
    /// use switchboard::{Fault, Switchboard};
    ///
    /// async fn in_lobby(server: &Switchboard) -> Result<(), Fault> {
    ///     for socket in server.of("/").to("lobby").fetch_sockets().await?.values {
    ///         socket.emit("hello", &1)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`Emitter::emit`].
    pub fn emit<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<(), PayloadError> {
        self.at.emitter.clone().emit(name, data)
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
        let asked = self.at.emitter.clone().ask_one(Payload::event(name, data)?, timeout);
        Ok(asked.await?.decode()?)
    }

    /// Puts the socket into rooms, when its node hears of it.
    ///
    /// ```
    /// use switchboard::{Fault, Switchboard};
    ///
    /// async fn in_lobby(server: &Switchboard) -> Result<(), Fault> {
    ///     for socket in server.of("/").to("lobby").fetch_sockets().await?.values {
    ///         socket.join(["staff", "alerts"]);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn join(&self, rooms: impl IntoRooms) {
        self.at.emitter.clone().join(rooms);
    }

    /// Takes the socket out of rooms, when its node hears of it.
    ///
    /// ```
    /// use switchboard::{Fault, Switchboard};
    ///
    /// async fn in_lobby(server: &Switchboard) -> Result<(), Fault> {
    ///     for socket in server.of("/").to("lobby").fetch_sockets().await?.values {
    ///         socket.leave("staff");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn leave(&self, rooms: impl IntoRooms) {
        self.at.emitter.clone().leave(rooms);
    }

    /// Disconnects the socket. The client sees `io server disconnect`.
    ///
    /// ```
    /// use switchboard::{Fault, Switchboard};
    ///
    /// async fn in_lobby(server: &Switchboard) -> Result<(), Fault> {
    ///     for socket in server.of("/").to("lobby").fetch_sockets().await?.values {
    ///         socket.disconnect(false);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn disconnect(&self, close_transport: bool) {
        self.at.emitter.clone().disconnect(close_transport);
    }
}

impl Emitter {
    /// The emitter to one socket alone, by its client's `socket.id`.
    pub(super) fn only(self, id: &str) -> Self {
        let (local, volatile) = (self.audience.is_local(), self.audience.is_volatile());
        let mut one = self.audience(Audience::nobody()).to_known_as(id);
        if local {
            one = one.local();
        }
        if volatile {
            one = one.volatile();
        }
        one
    }
}
