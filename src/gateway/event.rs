//! A client's event, and the parts of it that a handler may ask for.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::{fault::Fault, payload::Payload, sockets::socket::Socket};

/// An event from a client. Cheap to clone.
///
/// ```
/// use switchboard::{Event, Gateway, Reply};
///
/// // Answers every event with its name and its own arguments.
/// let echo = Gateway::new("/").fallback(async |event: Event| {
///     Reply::event_payload(event.name(), event.payload())
/// });
/// ```
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

    /// The event's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The arguments as they came, to pass on without decoding.
    pub fn payload(&self) -> &Payload {
        &self.0.payload
    }

    /// The arguments as `T`: all if `T` is a tuple, else the first.
    ///
    /// ```
    /// use switchboard::{Event, Gateway, Reply};
    ///
    /// let shop = Gateway::new("/shop").on("buy", async |event: Event| {
    ///     let (article, count) = event.data::<(String, u32)>()?;
    ///     Ok::<_, switchboard::Fault>(Reply::ack(&(article, count)))
    /// });
    /// ```
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

/// A part of an event. A handler asks for it by a parameter of this type.
///
/// ```
/// use switchboard::{Event, Fault, Gateway, Reply, gateway::event::FromEvent, id::UserId};
///
/// struct User(UserId);
///
/// impl FromEvent for User {
///     fn from_event(event: &Event) -> Result<Self, Fault> {
///         event.socket().user().map(Self).ok_or_else(|| Fault::forbidden("log in first"))
///     }
/// }
///
/// let gateway = Gateway::new("/").on("who", async |User(id): User| Reply::ack(&*id));
/// ```
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
///
/// ```
/// use switchboard::{Data, Gateway, Reply};
///
/// let gateway = Gateway::new("/")
///     .on("one", async |Data(text): Data<String>| Reply::ack(&text.len()))
///     .on("two", async |Data((x, y)): Data<(f64, f64)>| Reply::ack(&x.hypot(y)));
/// ```
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
