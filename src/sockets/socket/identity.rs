//! Whose socket it is, and until when.

use std::time::SystemTime;

use super::Socket;
use crate::{auth::Identity, fault::Fault, id::UserId};

impl Socket {
    /// The user. `None` for an anonymous socket.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/").on("me", async |socket: Socket| socket.user());
    /// ```
    pub fn user(&self) -> Option<UserId> {
        self.0.identity.read().user_id().cloned()
    }

    /// The client's identity, with all claims of its token.
    ///
    /// ```
    /// use switchboard::{Gateway, Socket};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on("name", async |socket: Socket| socket.identity().claims().get("name").cloned());
    /// ```
    pub fn identity(&self) -> Identity {
        self.0.identity.read().clone()
    }

    /// When the token expires, if it does.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.identity.read().expires_at()
    }

    /// Replaces the token by a newer one of the same user.
    ///
    /// ```
    /// use switchboard::{Authenticate, Data, Gateway, Jwt, Reply, Socket};
    ///
    /// let authenticate = Authenticate::required(Jwt::hs256("a secret of at least 32 bytes, please"));
    /// let gateway = Gateway::new("/").middleware(authenticate.clone()).on(
    ///     "token",
    ///     move |socket: Socket, Data(token): Data<String>| {
    ///         let authenticate = authenticate.clone();
    ///         async move {
    ///             socket.refresh(authenticate.verify(&token).await?)?;
    ///             Ok::<_, switchboard::Fault>(Reply::ack(&true))
    ///         }
    ///     },
    /// );
    /// ```
    ///
    /// # Errors
    /// `forbidden` if it is anonymous or another user's. Nothing is changed then.
    pub fn refresh(&self, identity: Identity) -> Result<(), Fault> {
        {
            let mut current = self.0.identity.write();
            if identity.is_anonymous() || identity.user_id() != current.user_id() {
                return Err(Fault::forbidden("the token belongs to another user"));
            }
            *current = identity;
        }
        self.0.adapter.has_changed(self.0.sid);
        self.watch_token();
        Ok(())
    }

    /// Counts that the client shows a token. False: it has done so too often.
    pub(crate) fn may_show_token(&self) -> bool {
        self.0.adapter.node().transports().may_ask(self.0.sid)
    }

    /// The socket does not outlive its token from now on.
    pub(crate) fn watch_token(&self) {
        if let Some(expiry) = &self.0.expiry {
            expiry.watch_token_of(self);
        }
    }

    pub(crate) fn set_identity(&self, identity: Identity) {
        *self.0.identity.write() = identity;
    }
}
