//! The audience of an emit: the words of Socket.IO, and those for users.

use super::Emitter;
use crate::{
    id::{SocketId, UserId, connection_known_as},
    sockets::{audience::Audience, target::IntoTargets},
};

impl Emitter {
    /// Replaces the audience so far by this one.
    ///
    /// ```
    /// use switchboard::{Audience, Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let staff = Audience::everybody().to("staff").volatile();
    /// server.of("/").audience(staff).emit("load", &0.7)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn audience(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self.itself = None;
        self
    }

    /// Adds the members of rooms, or sockets by their ids: `to` and `in` of Socket.IO. An empty list
    /// adds nobody, so that without other targets the emit is for nobody.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").to(["lobby", "garden"]).to("kitchen").emit("dinner", &())?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("in", "within"))]
    pub fn to(self, targets: impl IntoTargets) -> Self {
        self.with(|audience| audience.to(targets))
    }

    /// Adds the sockets of a user.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").to_user("ada").emit("order:paid", &7)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_user(self, user: impl Into<UserId>) -> Self {
        self.with(|audience| audience.to_user(user))
    }

    /// Adds one socket by its client's `socket.id`. A client of version 2 sees the id of its
    /// connection instead of the public one. Its socket is found by that, too, on whatever node.
    ///
    /// ```
    /// use switchboard::{Fault, Switchboard};
    ///
    /// /// The client has told another program its `socket.id`.
    /// fn tell(server: &Switchboard, id: &str) -> Result<(), Fault> {
    ///     Ok(server.of("/").to_known_as(id).emit("progress", &0.5)?)
    /// }
    /// ```
    pub fn to_known_as(self, id: &str) -> Self {
        if let Some(id) = SocketId::of_ours(id) {
            return self.to(id);
        }
        let namespace = self.start().namespace();
        match connection_known_as(id, namespace) {
            Some(sid) => {
                let id = SocketId::of_connection(sid, namespace);
                self.to(id)
            }
            // It may be the id of a Node.js node's socket.
            None => self.to(id),
        }
    }

    /// Adds all authenticated sockets.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").to_authenticated().emit("news", "for members")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_authenticated(self) -> Self {
        self.with(Audience::to_authenticated)
    }

    /// Leaves out the members of rooms, or sockets by their ids.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, id::SocketId};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let author: SocketId = "WE593V5owfuuoPohQduk".parse()?;
    /// server.of("/").to("lobby").except(["muted", "away"]).except(author).emit("said", "hello")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn except(self, targets: impl IntoTargets) -> Self {
        self.with(|audience| audience.except(targets))
    }

    /// Leaves out the sockets of a user.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").except_user("ada").emit("joined", "ada")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn except_user(self, user: impl Into<UserId>) -> Self {
        self.with(|audience| audience.except_user(user))
    }

    /// Skips sockets that are not ready: something waits for their client, or it polls and has no
    /// open poll. As in Node.js.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").to("game:7").volatile().emit("position", &(12, 3))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn volatile(mut self) -> Self {
        self.audience = self.audience.volatile();
        self
    }

    /// Keeps only sockets of this node.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.of("/").local().emit("node", server.node())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn local(self) -> Self {
        self.with(Audience::local)
    }

    /// A socket's own emitter becomes one to others when these are named, as in Node.js.
    fn with(mut self, change: impl FnOnce(Audience) -> Audience) -> Self {
        if let Some(id) = self.itself.take() {
            let others = Audience::everybody().except(id);
            let is_volatile = self.audience.is_volatile();
            self.audience = if is_volatile { others.volatile() } else { others };
        }
        Self { audience: change(self.audience), ..self }
    }
}
