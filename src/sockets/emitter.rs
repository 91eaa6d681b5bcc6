//! Emits from outside of a handler: `io.to(…).except(…).emit(…)` of Socket.IO.

mod ask;
mod audience;
mod cluster;
mod remote;

use std::sync::{Arc, Weak};

use serde::Serialize;
use socketioxide_core::adapter::BroadcastOptions;

pub use ask::{Asked, Replied};
pub use cluster::{Acks, Answers};
pub use remote::RemoteSocket;

use crate::{
    cluster::{
        message::{Message, Selection},
        peers::Peers,
    },
    id::SocketId,
    payload::{Payload, PayloadError},
    sockets::{
        adapter::{Adapter, Adapters, Describe},
        audience::Audience,
        door::{self, Start},
        node::Node,
        rooms::IntoRooms,
    },
};

/// Collects the audience of an event, then emits it. Several targets are one audience: a socket
/// that belongs to more than one gets the event once. Without a target it is everybody in the
/// namespace. The audience has sockets of every node, unless [`local`](Self::local) is called.
///
/// Made by [`Switchboard::of`](crate::Switchboard::of) and [`Socket::to`](crate::Socket::to).
///
/// ```
/// use switchboard::{Gateway, Switchboard};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
/// server.of("/").to("lobby").to_user("ada").except("muted").emit("news", "hello")?;
/// server.of("/").emit("for:everybody", &())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is sent before `emit`"]
pub struct Emitter {
    place: Place,
    audience: Audience,
    /// The audience is this socket, until others are named.
    itself: Option<SocketId>,
    /// The socket that emits, if one does.
    sender: Option<Weak<dyn Describe>>,
}

/// The start of the emit.
#[derive(Clone)]
enum Place {
    /// This node has, or had, sockets in the namespace.
    Here(Arc<Adapter>),
    /// Only other nodes can have sockets in it.
    Elsewhere { node: Arc<Node>, namespace: Arc<str>, peers: Option<Arc<Peers>> },
}

impl Emitter {
    pub(crate) fn here(adapter: Arc<Adapter>) -> Self {
        Self::new(Place::Here(adapter))
    }

    /// An emitter for a namespace of this node, or else of others.
    pub(crate) fn of(
        adapters: &Adapters,
        node: &Arc<Node>,
        peers: Option<&Arc<Peers>>,
        namespace: &str,
    ) -> Self {
        match adapters.get(namespace) {
            Some(adapter) => Self::here(adapter),
            None => Self::elsewhere(node.clone(), namespace, peers.cloned()),
        }
    }

    /// An emitter for a namespace that no socket of this node has been in.
    pub(crate) fn elsewhere(node: Arc<Node>, namespace: &str, peers: Option<Arc<Peers>>) -> Self {
        Self::new(Place::Elsewhere { node, namespace: namespace.into(), peers })
    }

    fn new(place: Place) -> Self {
        Self { place, audience: Audience::everybody(), itself: None, sender: None }
    }

    /// It is this socket that emits.
    pub(crate) fn from(self, sender: Weak<dyn Describe>) -> Self {
        Self { sender: Some(sender), ..self }
    }

    /// An emitter to one socket, or to others than it once these are named.
    pub(crate) fn itself(adapter: Arc<Adapter>, id: SocketId) -> Self {
        let audience = Audience::nobody().to(id);
        Self { audience, itself: Some(id), ..Self::here(adapter) }
    }

    /// Emits the event. A tuple gives several arguments. Emits of one node to one room arrive at
    /// each socket in the order of the calls.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").emit("moved", &(3, "north"))?;
    /// assert!(server.of("/").emit("disconnect", &()).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If `data` cannot be serialized or the name is reserved. Nothing was sent then.
    pub fn emit<T: Serialize + ?Sized>(self, name: &str, data: &T) -> Result<(), PayloadError> {
        self.emit_payload(Payload::event(name, data)?)
    }

    /// Emits an event with encoded arguments.
    ///
    /// ```
    /// use switchboard::{Gateway, Payload, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").emit_payload(Payload::event("said", "hello")?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Emitter::emit`].
    pub fn emit_payload(self, payload: Payload) -> Result<(), PayloadError> {
        let this = self.of_today();
        let user = || this.sender.as_ref()?.upgrade()?.identity().user_id().cloned();
        door::send(this.start(), payload, &this.audience, None, user)
    }

    /// Disconnects these sockets, on every node (`disconnectSockets` of Socket.IO), and returns how many of them were on this node.
    /// Each client sees `io server disconnect`. With `close_transport` the connections are closed
    /// too.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// assert_eq!(server.of("/").to("lobby").disconnect(false), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "disconnectSockets")]
    pub fn disconnect(self, close_transport: bool) -> usize {
        let this = self.of_today();
        let sockets = this.lowered();
        if let Start::Here(adapter) = this.start() {
            return adapter.disconnect_all(sockets, close_transport);
        }
        this.tell(&sockets, |to| Message::Disconnect { to, close: close_transport });
        0
    }

    /// Puts these sockets into rooms, on every node: `socketsJoin` of Socket.IO. On this node it is done when this returns, on
    /// the others when they hear of it. With recovery over Redis streams it has one place among all
    /// messages, and is done when its turn has come.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").to_user("ada").join(["staff", "alerts"]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "socketsJoin")]
    pub fn join(self, rooms: impl IntoRooms) {
        let rooms = rooms.into_rooms().into_vec();
        let this = self.of_today();
        let sockets = this.lowered();
        match this.start() {
            Start::Here(adapter) => adapter.join_all(sockets, rooms),
            Start::Elsewhere { .. } => this.tell(&sockets, |to| Message::Join { to, rooms }),
        }
    }

    /// Takes these sockets out of rooms, on every node: `socketsLeave` of Socket.IO.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").to_user("ada").leave(["staff"]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "socketsLeave")]
    pub fn leave(self, rooms: impl IntoRooms) {
        let rooms = rooms.into_rooms().into_vec();
        let this = self.of_today();
        let sockets = this.lowered();
        match this.start() {
            Start::Here(adapter) => adapter.leave_all(sockets, rooms),
            Start::Elsewhere { .. } => this.tell(&sockets, |to| Message::Leave { to, rooms }),
        }
    }

    /// The emitter with the namespace's present adapter: an emitter may be kept for longer than a
    /// namespace of a pattern lives.
    pub(super) fn of_today(mut self) -> Self {
        if let Place::Here(adapter) = &self.place
            && adapter.is_retired()
        {
            self.place = match adapter.successor() {
                Some(successor) => Place::Here(successor),
                None => Place::Elsewhere {
                    node: adapter.node().clone(),
                    namespace: adapter.namespace().as_str().into(),
                    peers: adapter.peers().cloned(),
                },
            };
        }
        self
    }

    fn start(&self) -> Start<'_> {
        match &self.place {
            Place::Here(adapter) => Start::Here(adapter),
            Place::Elsewhere { node, namespace, peers } => {
                Start::Elsewhere { node, namespace, peers: peers.as_ref() }
            }
        }
    }

    /// The audience as rooms.
    fn lowered(&self) -> BroadcastOptions {
        door::lower(self.start(), &self.audience, None)
    }

    /// Sends the other nodes a message about those of these sockets that they have.
    fn tell(&self, sockets: &BroadcastOptions, say: impl FnOnce(Selection) -> Message) {
        let start = self.start();
        if let Some((peers, to)) = start.peers().zip(door::others(start, sockets)) {
            peers.say(start.namespace(), &say(to));
        }
    }
}
