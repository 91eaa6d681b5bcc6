//! What a handler answers: acknowledgements and events, each with the sockets it is for.
//!
//! Replies are plain values. Handlers make them, interceptors look at them or change them, and only
//! the dispatcher sends them.

use std::{fmt, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use serde::Serialize;
use smallvec::SmallVec;
use socketioxide_core::adapter::Room;

use crate::{
    fault::Fault,
    id::UserId,
    payload::{Payload, PayloadError},
    sockets::audience::Audience,
};

/// Who gets a reply, as the handler of an event says it.
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

/// One acknowledgement or one event, and who gets it.
///
/// ```
/// use switchboard::Reply;
///
/// let to_the_sender = Reply::event("saved", &("note", 7));
/// let to_the_room = Reply::event("said", "hello").to_room("lobby").except_sender();
/// let acknowledgement = Reply::ack(&true);
/// ```
#[derive(Debug, Clone)]
pub struct Reply {
    pub(crate) payload: Result<Payload, Arc<PayloadError>>,
    pub(crate) addressee: Addressee,
    pub(crate) except_sender: bool,
    pub(crate) volatile: bool,
}

impl Reply {
    fn new(payload: Result<Payload, PayloadError>, addressee: Addressee) -> Self {
        Self {
            payload: payload.map_err(Arc::new),
            addressee,
            except_sender: false,
            volatile: false,
        }
    }

    /// The acknowledgement's arguments: one, or several from a tuple. Only the first acknowledgement
    /// of an event is sent, and none if the client did not ask for it.
    pub fn ack<T: Serialize + ?Sized>(data: &T) -> Self {
        Self::new(Payload::ack(data), Addressee::Ack)
    }

    /// An acknowledgement with arguments that are encoded already.
    pub fn ack_payload(payload: Payload) -> Self {
        Self::new(Ok(payload), Addressee::Ack)
    }

    /// An event to the sender; other targets by the methods below. A tuple gives several arguments.
    ///
    /// A name that Socket.IO keeps for itself, or data that cannot be serialized, makes the event
    /// fail with the code `internal` when the reply is sent; the log names the cause.
    pub fn event<T: Serialize + ?Sized>(name: &str, data: &T) -> Self {
        Self::new(Payload::event(name, data), Addressee::Sender)
    }

    /// An event to the sender with arguments that are encoded already, such as those of an event
    /// that came in.
    pub fn event_payload(name: &str, payload: &Payload) -> Self {
        Self::new(payload.with_event(name), Addressee::Sender)
    }

    /// To an audience, the sender too if it belongs to it.
    #[must_use]
    pub fn to(mut self, audience: Audience) -> Self {
        self.addressee = Addressee::Audience(audience);
        self
    }

    /// To the members of `room`, the sender too if it is one.
    #[must_use]
    pub fn to_room(self, room: impl Into<Room>) -> Self {
        self.to_rooms([room])
    }

    /// To the members of `rooms`, each once.
    #[must_use]
    pub fn to_rooms(self, rooms: impl IntoIterator<Item = impl Into<Room>>) -> Self {
        let rooms = rooms.into_iter().map(Into::into);
        self.to(rooms.fold(Audience::nobody(), Audience::room))
    }

    /// To all sockets of `user`, on every node.
    #[must_use]
    pub fn to_user(self, user: impl Into<UserId>) -> Self {
        self.to(Audience::nobody().user(user))
    }

    /// To the other sockets of the sender's user, on every node.
    #[must_use]
    pub fn to_user_others(mut self) -> Self {
        self.addressee = Addressee::UserOthers;
        self
    }

    /// To everybody in the namespace who is authenticated.
    #[must_use]
    pub fn to_authenticated(self) -> Self {
        self.to(Audience::nobody().authenticated())
    }

    /// To everybody in the namespace.
    #[must_use]
    pub fn to_all(self) -> Self {
        self.to(Audience::everybody())
    }

    /// Not to the socket that sent the event, as `socket.to(room)` in Socket.IO.
    #[must_use]
    pub fn except_sender(mut self) -> Self {
        self.except_sender = true;
        self
    }

    /// Dropped for a socket that is not ready to take it, instead of being queued: something waits
    /// for its client already, or the client polls and no poll of its waits. As in Node.js.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Who gets it.
    pub fn addressee(&self) -> &Addressee {
        &self.addressee
    }

    /// The arguments; none if they could not be encoded.
    pub fn payload(&self) -> Option<&Payload> {
        self.payload.as_ref().ok()
    }

    /// The event's name; none for an acknowledgement.
    pub fn event_name(&self) -> Option<String> {
        self.payload().and_then(|payload| payload.event_name().map(|name| name.into_owned()))
    }
}

type Items = Pin<Box<dyn Stream<Item = Result<Reply, Fault>> + Send>>;

/// What a handler returned: nothing, some replies, or replies that come one by one.
///
/// Cloning replies that stream gives a second handle to the same stream: each item is seen once.
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

/// What became of an event: replies, or the error that its acknowledgement gets.
pub type Outcome = Result<Replies, Fault>;

impl Replies {
    /// Replies that are sent as the stream gives them. The socket's next event is handled when the
    /// stream has ended; a stream is dropped when its socket disconnects. An error ends it and
    /// becomes the error acknowledgement, if no acknowledgement was sent yet.
    pub fn stream(items: impl Stream<Item = Result<Reply, Fault>> + Send + 'static) -> Self {
        Self(Kind::Stream(Arc::new(Mutex::new(Some(Box::pin(items))))))
    }

    /// The replies at hand; none while they are still to come from a stream.
    pub fn list(&self) -> &[Reply] {
        match &self.0 {
            Kind::List(list) => list,
            Kind::Stream(_) => &[],
        }
    }

    /// Whether the replies come one by one.
    pub fn is_stream(&self) -> bool {
        matches!(self.0, Kind::Stream(_))
    }

    /// Each reply changed by `change`; in a stream while it streams. If `change` panics, the reply
    /// stays as it was.
    #[must_use]
    pub fn map(self, change: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Self {
        self.flat_map(move |reply| SmallVec::from_buf([change(reply)]))
    }

    /// Shows each reply to `look`; in a stream while it streams. A panic in `look` changes nothing.
    #[must_use]
    pub fn inspect(self, look: impl Fn(&Reply) + Send + Sync + 'static) -> Self {
        self.map(move |reply| {
            look(&reply);
            reply
        })
    }

    /// Puts any number of replies in the place of each. If `change` panics, the reply stays as it
    /// was.
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

/// Reads the one stream behind all clones of its handle.
pub(crate) struct Shared(Arc<Mutex<Option<Items>>>);

impl Stream for Shared {
    type Item = Result<Reply, Fault>;

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        // The stream is taken out while it is polled, so that a panic in it ends it for everybody
        // and the lock is never held across foreign code.
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

/// What a handler may return: `()`, a [`Reply`], several (tuple, `Vec`, `Option`), [`Replies`], or a
/// `Result` of these with a [`Fault`].
pub trait IntoOutcome {
    /// The outcome of the event.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for Replies {
    fn into_outcome(self) -> Outcome {
        Ok(self)
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Ok(Replies::default())
    }
}

impl IntoOutcome for Reply {
    fn into_outcome(self) -> Outcome {
        Ok(self.into())
    }
}

impl IntoOutcome for Option<Reply> {
    fn into_outcome(self) -> Outcome {
        Ok(self.into_iter().collect())
    }
}

impl IntoOutcome for Vec<Reply> {
    fn into_outcome(self) -> Outcome {
        Ok(self.into_iter().collect())
    }
}

impl IntoOutcome for (Reply, Reply) {
    fn into_outcome(self) -> Outcome {
        Ok([self.0, self.1].into_iter().collect())
    }
}

impl IntoOutcome for (Reply, Reply, Reply) {
    fn into_outcome(self) -> Outcome {
        Ok([self.0, self.1, self.2].into_iter().collect())
    }
}

macro_rules! results {
    ($($type:ty),*) => {$(
        impl IntoOutcome for Result<$type, Fault> {
            fn into_outcome(self) -> Outcome {
                self.and_then(IntoOutcome::into_outcome)
            }
        }
    )*};
}
results!((), Reply, Option<Reply>, Vec<Reply>, (Reply, Reply), (Reply, Reply, Reply));
