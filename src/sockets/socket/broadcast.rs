//! Emits of a socket to others, and its modifiers.

use super::Socket;
use crate::{
    id::UserId,
    sockets::{emitter::Emitter, target::IntoTargets},
};

impl Socket {
    /// Emits to others of this namespace: the members of rooms, or sockets by their ids. This socket
    /// is left out, as in Node.js.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on_connect(async |socket: Socket| {
    ///     socket.to(["lobby", "garden"]).emit("joined", &socket.id()).expect("an id can be encoded");
    /// });
    /// ```
    #[doc(alias("in", "within"))]
    pub fn to(&self, targets: impl IntoTargets) -> Emitter {
        self.broadcast().to(targets)
    }

    /// Emits to the sockets of a user, without this one.
    ///
    /// ```
    /// use switchboard::{Data, Fault, Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("read", async |socket: Socket, Data(id): Data<u64>| {
    ///     match socket.user() {
    ///         // The other tabs.
    ///         Some(user) => socket.to_user(user).emit("read", &id).map_err(Fault::from),
    ///         None => Ok(()),
    ///     }
    /// });
    /// ```
    pub fn to_user(&self, user: impl Into<UserId>) -> Emitter {
        self.broadcast().to_user(user)
    }

    /// Emits to all authenticated sockets of this namespace, without this one.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("wave", async |socket: Socket| {
    ///     socket.to_authenticated().emit("waved", &socket.user()).map_err(Fault::from)
    /// });
    /// ```
    pub fn to_authenticated(&self) -> Emitter {
        self.broadcast().to_authenticated()
    }

    /// Emits to everybody in this namespace, without this socket: `socket.broadcast` of Node.js.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on_connect(async |socket: Socket| {
    ///     socket.broadcast().emit("joined", &socket.id()).expect("an id can be encoded");
    /// });
    /// ```
    pub fn broadcast(&self) -> Emitter {
        Emitter::here(self.adapter().clone()).from(self.described_by()).except(self.id())
    }

    /// Emits to everybody in this namespace, without these and without this socket.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("typing", async |socket: Socket| {
    ///     socket.except("muted").volatile().emit("types", &socket.id()).map_err(Fault::from)
    /// });
    /// ```
    pub fn except(&self, targets: impl IntoTargets) -> Emitter {
        self.broadcast().except(targets)
    }

    /// Emits to everybody in this namespace, without the sockets of a user and without this one.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("hide", async |socket: Socket| {
    ///     socket.except_user("ada").emit("hidden", &socket.id()).map_err(Fault::from)
    /// });
    /// ```
    pub fn except_user(&self, user: impl Into<UserId>) -> Emitter {
        self.broadcast().except_user(user)
    }

    /// Emits to everybody of this namespace on this node, without this socket.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("near", async |socket: Socket| {
    ///     socket.local().emit("near", &socket.id()).map_err(Fault::from)
    /// });
    /// ```
    pub fn local(&self) -> Emitter {
        self.broadcast().local()
    }

    /// Emits to this socket if it is ready, and else not at all: nothing waits for its client, and
    /// if the client polls, it has an open poll. If others are named behind it, the emit is for
    /// these, as in Node.js.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("move", async |socket: Socket| {
    ///     socket.volatile().emit("position", &(12, 3))?;
    ///     socket.volatile().to("game").emit("moved", &socket.id())?;
    ///     Ok::<_, Fault>(())
    /// });
    /// ```
    pub fn volatile(&self) -> Emitter {
        let emitter = Emitter::itself(self.adapter().clone(), self.id());
        emitter.from(self.described_by()).volatile()
    }
}
