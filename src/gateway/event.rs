//! An event that a client sent, and the ways a handler may ask for its parts.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::{fault::Fault, payload::Payload, sockets::socket::Socket};

/// An event that a client sent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Event(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: Socket,
    name: Box<str>,
    payload: Payload,
    wants_ack: bool,
}

impl Event {
    pub(crate) fn new(socket: Socket, name: &str, payload: Payload, wants_ack: bool) -> Self {
        Self(Arc::new(Inner { socket, name: name.into(), payload, wants_ack }))
    }

    /// The socket that sent it.
    pub fn socket(&self) -> &Socket {
        &self.0.socket
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its arguments as they came, to pass on without decoding.
    pub fn payload(&self) -> &Payload {
        &self.0.payload
    }

    /// Its arguments as `T`: all if `T` is a tuple, else the first.
    ///
    /// # Errors
    /// `bad_request` if they do not have this shape.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        self.0.payload.decode().map_err(|error| Fault::bad_request(error.to_string()))
    }

    /// Whether the client waits for an acknowledgement.
    pub fn wants_ack(&self) -> bool {
        self.0.wants_ack
    }
}

/// A part of an event that a handler asks for by having a parameter of this type.
pub trait FromEvent: Sized {
    /// Takes the part out of the event.
    ///
    /// # Errors
    /// A fault becomes the event's error acknowledgement, and the handler is not called.
    fn from_event(event: &Event) -> Result<Self, Fault>;
}

impl FromEvent for Event {
    fn from_event(event: &Event) -> Result<Self, Fault> {
        Ok(event.clone())
    }
}

impl FromEvent for Socket {
    fn from_event(event: &Event) -> Result<Self, Fault> {
        Ok(event.socket().clone())
    }
}

/// The arguments of an event as `T`: all of them if `T` is a tuple, else the first one. If they do
/// not have this shape, the client gets `bad_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data<T>(pub T);

impl<T: DeserializeOwned> FromEvent for Data<T> {
    fn from_event(event: &Event) -> Result<Self, Fault> {
        event.data().map(Data)
    }
}

impl FromEvent for Payload {
    fn from_event(event: &Event) -> Result<Self, Fault> {
        Ok(event.payload().clone())
    }
}
