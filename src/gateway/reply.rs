//! Replies of a handler: acknowledgements and events, each with its audience.
//!
//! Replies are plain values. Handlers make them, interceptors look at them or change them, and only
//! the queue of the socket sends them.

mod audience;
mod outcome;
mod replies;

use std::{sync::Arc, time::Duration};

use serde::Serialize;

pub use outcome::{AsAck, AsPayload, AsReplies, Fallible, IntoOutcome};
pub(crate) use replies::Parts;
pub use replies::Replies;

use crate::{
    fault::Fault,
    payload::{Payload, PayloadError},
    sockets::{audience::Audience, target::Target},
};

/// The receivers of a reply, in the handler's terms.
///
/// ```
/// use switchboard::{Reply, gateway::reply::Addressee};
///
/// assert_eq!(Reply::ack(&true).addressee(), &Addressee::Ack);
/// assert_eq!(Reply::event("saved", &7).addressee(), &Addressee::Sender);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Addressee {
    /// The acknowledgement of the event, if the client asked for one.
    Ack,
    /// The socket that sent the event.
    Sender,
    /// The other sockets of the sender's user, on every node. Nobody if the sender is anonymous.
    UserOthers,
    /// These sockets of the namespace.
    Audience(Audience),
}

/// One acknowledgement or one event, and its receivers.
///
/// ```
/// use switchboard::{Reply, gateway::reply::Addressee};
///
/// let to_the_sender = Reply::event("saved", &("note", 7));
/// let to_the_room = Reply::event("said", "hello").to("lobby").except_sender();
/// let acknowledgement = Reply::ack(&true);
///
/// // What an interceptor sees of it.
/// assert_eq!(to_the_sender.event_name().as_deref(), Some("saved"));
/// assert_eq!(acknowledgement.addressee(), &Addressee::Ack);
/// let arguments = to_the_sender.payload().expect("it can be encoded");
/// assert_eq!(arguments.decode::<(String, u32)>()?, ("note".into(), 7));
/// # Ok::<(), switchboard::payload::PayloadError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Reply {
    pub(crate) payload: Result<Payload, Arc<PayloadError>>,
    pub(crate) addressee: Addressee,
    /// Left out, beside the exceptions of the audience.
    pub(crate) except: Vec<Target>,
    pub(crate) except_sender: bool,
    pub(crate) local: bool,
    pub(crate) volatile: bool,
    /// For how long it is kept for the users that it is for.
    pub(crate) kept: Option<Duration>,
}

impl Reply {
    fn new(payload: Result<Payload, PayloadError>, addressee: Addressee) -> Self {
        Self {
            payload: payload.map_err(Arc::new),
            addressee,
            except: Vec::new(),
            except_sender: false,
            local: false,
            volatile: false,
            kept: None,
        }
    }

    /// An acknowledgement with these arguments: one, or several from a tuple. Only the first
    /// acknowledgement of an event is sent, and none if the client did not ask for it.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let one = Reply::ack(&true);
    /// let several = Reply::ack(&("saved", 7));
    /// ```
    pub fn ack<T: Serialize + ?Sized>(data: &T) -> Self {
        Self::new(Payload::ack(data), Addressee::Ack)
    }

    /// An acknowledgement with encoded arguments.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Payload, Reply};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on("echo", async |payload: Payload| Ok::<_, Fault>(Reply::ack_payload(payload.into_ack()?)));
    /// ```
    pub fn ack_payload(payload: Payload) -> Self {
        Self::new(Ok(payload), Addressee::Ack)
    }

    /// An event to the sender. The methods below choose other receivers. A tuple gives several
    /// arguments.
    ///
    /// A reserved name, or data that cannot be serialized, makes the event fail with the code
    /// `internal` when the reply is sent. The log names the cause.
    ///
    /// ```
    /// use switchboard::Reply;
    ///
    /// let reply = Reply::event("saved", &("note", 7));
    /// assert_eq!(reply.event_name().as_deref(), Some("saved"));
    /// ```
    pub fn event<T: Serialize + ?Sized>(name: &str, data: &T) -> Self {
        Self::new(Payload::event(name, data), Addressee::Sender)
    }

    /// An event to the sender with encoded arguments, such as those of the event being handled.
    ///
    /// ```
    /// use switchboard::{Gateway, Payload, Reply};
    ///
    /// let gateway = Gateway::new("/")
    ///     .on("say", async |payload: Payload| Reply::event_payload("said", &payload).to_all());
    /// ```
    pub fn event_payload(name: &str, payload: &Payload) -> Self {
        Self::new(payload.with_event(name), Addressee::Sender)
    }

    /// Keeps the event for the users that it is for, until each of their devices has acknowledged it or
    /// this time is over: see [`Inbox`](crate::inbox::Inbox). It is for users alone, or for the sender's
    /// user. The replies behind it wait until it is kept, so an acknowledgement behind it says so.
    ///
    /// If it cannot be kept, the event fails: with `too_many_messages` if the inbox of a user is full, with
    /// `unavailable` if the store is away, with `internal` where there is no inbox or the reply is for
    /// others than users; the log says which.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Data, Gateway, Reply};
    ///
    /// const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    /// let gateway = Gateway::new("/").on("ask", async |Data((who, question)): Data<(String, String)>| {
    ///     [Reply::event("question", &question).to_user(who).kept(WEEK), Reply::ack(&"it will be heard")]
    /// });
    /// ```
    #[must_use]
    pub fn kept(mut self, ttl: Duration) -> Self {
        self.kept = Some(ttl);
        self
    }

    /// The receivers.
    pub fn addressee(&self) -> &Addressee {
        &self.addressee
    }

    /// The arguments. `None` if they could not be encoded.
    pub fn payload(&self) -> Option<&Payload> {
        self.payload.as_ref().ok()
    }

    /// The event's name. `None` for an acknowledgement.
    pub fn event_name(&self) -> Option<String> {
        self.payload().and_then(|payload| payload.event_name().map(|name| name.into_owned()))
    }
}

/// The outcome of an event: replies, or the fault for its acknowledgement.
///
/// ```
/// use switchboard::{Fault, gateway::reply::Outcome};
///
/// fn is_lost(outcome: &Outcome) -> bool {
///     outcome.as_ref().is_err_and(Fault::retry)
/// }
/// ```
pub type Outcome = Result<Replies, Fault>;
