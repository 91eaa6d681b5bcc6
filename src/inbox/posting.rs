//! How a program keeps a message.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{Inbox, failed, names};
use crate::{
    fault::{Code, Fault},
    id::random_text,
    payload::{Payload, PayloadError},
    store::inbox::{Kept, NewMessage},
};

/// Longest id and collapse key, in bytes.
const LONGEST_NAME: usize = 512;

/// Longest id of a user, as in a token, in bytes.
pub(super) const LONGEST_USER: usize = 255;

/// Characters of an id that nobody has chosen.
const ID_LENGTH: usize = 20;

/// A message for a user, before it is [kept](Self::keep).
///
/// ```
/// use std::time::Duration;
/// use switchboard::{Fault, Switchboard};
///
/// async fn remind(server: &Switchboard, user: &str) -> Result<(), Fault> {
///     let Some(inbox) = server.inbox() else { return Ok(()) };
///     let posted = inbox
///         .to(user)
///         .namespace("/calendar")
///         .id("meeting-7")
///         .ttl(Duration::from_secs(24 * 3600))
///         .collapse("next meeting")
///         .keep("meeting", &("room 12", "9:30"))
///         .await?;
///     println!("{} is number {}", posted.id, posted.seq);
///     Ok(())
/// }
/// ```
#[must_use = "nothing is kept before `keep`"]
pub struct ForUser {
    inbox: Inbox,
    user: String,
    namespace: String,
    id: Option<String>,
    ttl: Option<Duration>,
    collapse: Option<String>,
}

/// A message that is kept.
///
/// ```
/// use switchboard::{Fault, inbox::Inbox};
///
/// /// Asked for a second time, as after an answer that was lost, it keeps nothing again.
/// async fn invoice(inbox: &Inbox, number: u32) -> Result<(), Fault> {
///     let posted = inbox.to("bob").id(format!("invoice-{number}")).keep("invoice", &number).await?;
///     if posted.is_new {
///         println!("{} is number {}", posted.id, posted.seq);
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Posted {
    /// Its id: the one that was given, or a random one.
    pub id: String,
    /// Its number among the messages of the user.
    pub seq: u64,
    /// False: a message with this id was kept before, and nothing has changed.
    pub is_new: bool,
}

impl Inbox {
    /// A message for a user, on `/` unless [said otherwise](ForUser::namespace).
    pub fn to(&self, user: impl Into<String>) -> ForUser {
        ForUser {
            inbox: self.clone(),
            user: user.into(),
            namespace: "/".to_owned(),
            id: None,
            ttl: None,
            collapse: None,
        }
    }
}

impl ForUser {
    /// The namespace in which it is delivered.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Its id, up to 512 bytes. The same id is kept once for the user, within `inbox.ttl`.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// For how long it is kept. Default and maximum: `inbox.ttl`.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// It takes the place of the message of the same namespace that was kept with the same key, up to 512 bytes.
    pub fn collapse(mut self, key: impl Into<String>) -> Self {
        self.collapse = Some(key.into());
        self
    }

    /// Keeps it. After this it survives a crash, and the devices that are connected are being sent
    /// it. A tuple gives several arguments.
    ///
    /// # Errors
    /// `too_many_messages` if the user's inbox is full; `too_large` if the message alone is larger than an
    /// inbox; `unavailable` if the store cannot be reached; it may be kept nevertheless, so try again with the
    /// same [id](Self::id). `bad_request` for names that cannot be kept.
    pub async fn keep<T: Serialize + ?Sized>(self, event: &str, data: &T) -> Result<Posted, Fault> {
        self.keep_payload(&Payload::event(event, data).map_err(|error| refused(&error))?).await
    }

    /// As [`keep`](Self::keep), with an encoded event.
    ///
    /// ```
    /// use switchboard::{Event, Fault, Gateway, Switchboard};
    ///
    /// // What one user sends is kept for another one, undecoded.
    /// let gateway = Gateway::new("/").on("note", async |server: Switchboard, event: Event| {
    ///     let inbox = server.inbox().ok_or_else(Fault::internal)?;
    ///     let posted = inbox.to("bob").keep_payload(event.payload()).await?;
    ///     Ok::<_, Fault>(posted.seq)
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    pub async fn keep_payload(self, payload: &Payload) -> Result<Posted, Fault> {
        let Self { inbox, user, namespace, id, ttl, collapse } = self;
        let rules = &inbox.0.options;
        let Some(event) = payload.event_name().filter(|name| !name.is_empty()) else {
            return Err(Fault::bad_request("event: must not be empty"));
        };
        names::check("user", &user, LONGEST_USER)?;
        names::check("event", &event, usize::MAX)?;
        names::check("namespace", &namespace, LONGEST_NAME)?;
        if !namespace.starts_with('/') {
            return Err(Fault::bad_request("namespace: must start with a slash"));
        }
        if let Some(id) = &id {
            names::check("id", id, LONGEST_NAME)?;
        }
        if let Some(key) = &collapse {
            names::check("collapse", key, LONGEST_NAME)?;
        }
        let ttl = ttl.unwrap_or(rules.ttl);
        if ttl.is_zero() || ttl > rules.ttl {
            return Err(Fault::bad_request("ttl: must be more than 0 and at most inbox.ttl"));
        }
        let id = id.unwrap_or_else(|| random_text(ID_LENGTH));
        let new = NewMessage {
            user: user.into(),
            id: id.clone(),
            namespace,
            event: event.into_owned(),
            args: payload.to_stored().map_err(|error| refused(&error))?,
            ttl,
            collapse,
        };
        if rules.max_bytes > 0 && new.size() > rules.max_bytes {
            let message =
                format!("a message of {} bytes is larger than inbox.max_bytes", new.size());
            return Err(Fault::new(Code::TooLarge, message));
        }
        match inbox.0.queues.keep(new).await.map_err(|error| failed(&error))? {
            Kept::New { seq, .. } => Ok(Posted { id, seq, is_new: true }),
            Kept::Known { seq } => Ok(Posted { id, seq, is_new: false }),
            Kept::Full => Err(Fault::new(Code::TooManyMessages, "the inbox of this user is full")),
        }
    }
}

fn refused(error: &PayloadError) -> Fault {
    Fault::bad_request(error.to_string())
}

impl fmt::Debug for ForUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForUser").field("user", &self.user).finish_non_exhaustive()
    }
}
