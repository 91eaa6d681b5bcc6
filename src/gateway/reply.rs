//! Replies of a handler: acknowledgements and events, each with its audience.
//!
//! Replies are plain values. Handlers make them, interceptors look at them or change them, and only
//! the queue of the socket sends them.

mod outcome;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use serde::Serialize;
use smallvec::SmallVec;

pub use outcome::{AsAck, AsPayload, AsReplies, Fallible, IntoOutcome};

use crate::{
    fault::Fault,
    id::UserId,
    payload::{Payload, PayloadError},
    sockets::{
        audience::Audience,
        target::{IntoTargets, Target},
    },
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
/// use switchboard::Reply;
///
/// let to_the_sender = Reply::event("saved", &("note", 7));
/// let to_the_room = Reply::event("said", "hello").to("lobby").except_sender();
/// let acknowledgement = Reply::ack(&true);
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
    pub fn event_payload(name: &str, payload: &Payload) -> Self {
        Self::new(payload.with_event(name), Addressee::Sender)
    }

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
    /// each widens the audience. An empty list is nobody.
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
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
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

type Items = Pin<Box<dyn Stream<Item = Result<Reply, Fault>> + Send>>;

/// The result of a handler: no replies, some, or a stream of them.
///
/// A clone of streaming replies is a second handle to the same stream: each item is seen once.
///
/// ```
/// use switchboard::{Replies, Reply};
///
/// let replies: Replies = (1..=3).map(|n| Reply::event("count", &n)).collect();
/// let replies = replies.map(Reply::to_all);
/// assert_eq!(replies.list().len(), 3);
/// ```
#[derive(Clone, Default)]
pub struct Replies(Kind);

#[derive(Clone)]
enum Kind {
    List(SmallVec<[Reply; 1]>),
    Stream(Arc<Mutex<Option<Items>>>),
}

impl Default for Kind {
    fn default() -> Self {
        Self::List(SmallVec::new())
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

impl Replies {
    /// Replies that are sent as the stream yields them. The socket's next event is handled after
    /// the end of the stream. The stream is dropped when its socket disconnects. An error ends it
    /// and becomes the error acknowledgement, unless an acknowledgement was already sent.
    ///
    /// ```
    /// use futures_util::stream;
    /// use switchboard::{Gateway, Replies, Reply};
    ///
    /// let gateway = Gateway::new("/").on("count", async || {
    ///     Replies::stream(stream::iter((1..=3).map(|n| Ok(Reply::event("number", &n)))))
    /// });
    /// ```
    pub fn stream(items: impl Stream<Item = Result<Reply, Fault>> + Send + 'static) -> Self {
        Self(Kind::Stream(Arc::new(Mutex::new(Some(Box::pin(items))))))
    }

    /// The replies at hand. Empty for a stream.
    pub fn list(&self) -> &[Reply] {
        match &self.0 {
            Kind::List(list) => list,
            Kind::Stream(_) => &[],
        }
    }

    /// Whether the replies come from a stream.
    pub fn is_stream(&self) -> bool {
        matches!(self.0, Kind::Stream(_))
    }

    /// Changes each reply by `change`; in a stream, as it comes. If `change` panics, the reply
    /// stays as it was.
    #[must_use]
    pub fn map(self, change: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Self {
        self.flat_map(move |reply| SmallVec::from_buf([change(reply)]))
    }

    /// Shows each reply to `look`; in a stream, as it comes. A panic in `look` changes nothing.
    #[must_use]
    pub fn inspect(self, look: impl Fn(&Reply) + Send + Sync + 'static) -> Self {
        self.map(move |reply| {
            look(&reply);
            reply
        })
    }

    /// Replaces each reply by any number of others. If `change` panics, the reply stays as it was.
    ///
    /// ```
    /// use switchboard::{Replies, Reply};
    ///
    /// let copied = Replies::from(Reply::event("said", "hello"))
    ///     .flat_map(|reply| [reply.clone(), reply.to("archive")].into_iter().collect());
    /// assert_eq!(copied.list().len(), 2);
    /// ```
    #[must_use]
    pub fn flat_map(
        self,
        change: impl Fn(Reply) -> SmallVec<[Reply; 1]> + Send + Sync + 'static,
    ) -> Self {
        match self.0 {
            Kind::List(list) => Self(Kind::List(
                list.into_iter().flat_map(|reply| guarded(&change, reply)).collect(),
            )),
            Kind::Stream(items) => {
                let items = Shared(items).flat_map(move |item| {
                    let changed: SmallVec<[Result<Reply, Fault>; 1]> = match item {
                        Ok(reply) => guarded(&change, reply).into_iter().map(Ok).collect(),
                        Err(fault) => SmallVec::from_buf([Err(fault)]),
                    };
                    futures_util::stream::iter(changed)
                });
                Self::stream(items)
            }
        }
    }

    pub(crate) fn into_parts(self) -> Parts {
        match self.0 {
            Kind::List(list) => Parts::List(list),
            Kind::Stream(items) => Parts::Stream(Shared(items)),
        }
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::List(list) => f.debug_list().entries(list).finish(),
            Kind::Stream(_) => f.write_str("Stream"),
        }
    }
}

pub(crate) enum Parts {
    List(SmallVec<[Reply; 1]>),
    Stream(Shared),
}

/// The one stream behind all clones of its handle.
pub(crate) struct Shared(Arc<Mutex<Option<Items>>>);

impl Stream for Shared {
    type Item = Result<Reply, Fault>;

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        // The stream is taken out while it is polled. So a panic in it ends it for all clones, and
        // the lock is never held across foreign code.
        let Some(mut items) = self.0.lock().take() else { return std::task::Poll::Ready(None) };
        let polled = items.as_mut().poll_next(cx);
        if !matches!(polled, std::task::Poll::Ready(None)) {
            *self.0.lock() = Some(items);
        }
        polled
    }
}

fn guarded(change: &impl Fn(Reply) -> SmallVec<[Reply; 1]>, reply: Reply) -> SmallVec<[Reply; 1]> {
    let kept = reply.clone();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change(reply))).unwrap_or_else(|_| {
        tracing::error!("an interceptor panicked over a reply, which is sent unchanged");
        SmallVec::from_buf([kept])
    })
}

impl From<Reply> for Replies {
    fn from(reply: Reply) -> Self {
        Self(Kind::List(SmallVec::from_buf([reply])))
    }
}

impl FromIterator<Reply> for Replies {
    fn from_iter<I: IntoIterator<Item = Reply>>(replies: I) -> Self {
        Self(Kind::List(replies.into_iter().collect()))
    }
}
