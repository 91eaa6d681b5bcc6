//! The audience of a reply: the words of Socket.IO, and those for users.

use super::{Addressee, Reply};
use crate::{
    id::UserId,
    sockets::{
        audience::Audience,
        target::{IntoTargets, Target},
    },
};

impl Reply {
    /// Sends it to this audience, the sender included if it belongs to it.
    ///
    /// ```
    /// use switchboard::{Audience, Reply};
    ///
    /// let reply = Reply::event("said", "hello").audience(Audience::everybody().to("lobby").local());
    /// ```
    #[must_use]
    pub fn audience(mut self, audience: Audience) -> Self {
        self.addressee = Addressee::Audience(audience);
        self
    }

    /// Sends it to the members of rooms, or to sockets by their ids, once to each; the sender
    /// included if it is one of them. What was named before by a method that begins with `to` stays:
    /// each widens the audience. An empty list is nobody. A room with a history keeps the event, in the
    /// name of the sender's user.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let to_two_rooms = Reply::event("said", "hello").to("lobby").to("garden");
    /// let without_the_sender = Reply::event("said", "hello").to(["lobby", "garden"]).except_sender();
    /// ```
    #[doc(alias("in", "within"))]
    #[must_use]
    pub fn to(self, targets: impl IntoTargets) -> Self {
        self.widen(|audience| audience.to(targets))
    }

    /// Sends it to all sockets of `user`, on every node.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let to_both = Reply::event("call", "started").to_user("ada").to_user("bob");
    /// ```
    #[must_use]
    pub fn to_user(self, user: impl Into<UserId>) -> Self {
        self.widen(|audience| audience.to_user(user))
    }

    /// Sends it to the other sockets of the sender's user, on every node.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// // The other tabs of whoever has read it.
    /// let reply = Reply::event("read", &7).to_user_others();
    /// ```
    #[must_use]
    pub fn to_user_others(mut self) -> Self {
        self.addressee = Addressee::UserOthers;
        self
    }

    /// Sends it to all authenticated sockets of the namespace.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let to_members = Reply::event("news", "for members").to_authenticated();
    /// ```
    #[must_use]
    pub fn to_authenticated(self) -> Self {
        self.widen(Audience::to_authenticated)
    }

    /// Sends it to all sockets of the namespace.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// // As `io.emit`, and as `socket.broadcast.emit` of Node.js.
    /// let to_all = Reply::event("said", "hello").to_all();
    /// let to_the_others = Reply::event("said", "hello").to_all().except_sender();
    /// ```
    #[must_use]
    pub fn to_all(self) -> Self {
        self.audience(Audience::everybody())
    }

    /// Adds to the audience. The sender, to whom an event goes by default, is none that was named.
    fn widen(self, by: impl FnOnce(Audience) -> Audience) -> Self {
        let Self { addressee, .. } = self;
        let audience = match addressee {
            Addressee::Audience(audience) => audience,
            Addressee::Ack | Addressee::Sender | Addressee::UserOthers => Audience::nobody(),
        };
        Self { addressee: Addressee::Audience(by(audience)), ..self }
    }

    /// Leaves out the members of rooms, or sockets by their ids.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let reply = Reply::event("said", "hello").to("lobby").except(["muted", "away"]);
    /// ```
    #[must_use]
    pub fn except(mut self, targets: impl IntoTargets) -> Self {
        self.except.extend(targets.into_targets());
        self
    }

    /// Leaves out the sockets of a user.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let reply = Reply::event("said", "hello").to("lobby").except_user("ada");
    /// ```
    #[must_use]
    pub fn except_user(self, user: impl Into<UserId>) -> Self {
        self.except(Target::User(user.into()))
    }

    /// Leaves out the socket that sent the event, as `socket.to(room)` does in Socket.IO.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let reply = Reply::event("said", "hello").to("lobby").except_sender();
    /// ```
    #[must_use]
    pub fn except_sender(mut self) -> Self {
        self.except_sender = true;
        self
    }

    /// Keeps only sockets of this node.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let reply = Reply::event("cached", &7).to_all().local();
    /// ```
    #[must_use]
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// Skips sockets that are not ready instead of queueing the event for them. A socket is not
    /// ready if something waits for its client, or if the client polls and has no open poll. As in
    /// Node.js.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let reply = Reply::event("position", &(12, 3)).to("game").volatile();
    /// ```
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }
}
