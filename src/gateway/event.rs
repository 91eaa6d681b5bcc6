//! A client's event.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{
    extract::{App, Context, FromContext, OfSocket, WithArguments},
    reply::Outcome,
};
use crate::{fault::Fault, payload::Payload, sockets::socket::Socket};

/// An event from a client. Cheap to clone.
///
/// ```
/// use switchboard::{Event, Gateway, Reply};
///
/// // Answers every event with its name and its own arguments.
/// let echo = Gateway::new("/").fallback(async |event: Event| {
///     let waits = if event.wants_ack() { "waits" } else { "does not wait" };
///     println!("{} sends {} and {waits}", event.socket().id(), event.name());
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

impl Context for Event {
    type Output = Outcome;

    fn app(&self) -> App<'_> {
        App::new(self.socket().adapter().node())
    }

    fn refused(fault: Fault) -> Outcome {
        Err(fault)
    }
}

impl OfSocket for Event {
    fn socket(&self) -> &Socket {
        &self.0.socket
    }
}

impl WithArguments for Event {
    fn payload(&self) -> &Payload {
        &self.0.payload
    }
}

impl FromContext<Self> for Event {
    fn from_context(context: &Self) -> Result<Self, Fault> {
        Ok(context.clone())
    }
}
