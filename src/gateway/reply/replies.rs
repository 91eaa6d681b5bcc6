//! Several replies of one handler, at hand or as a stream.

use std::{fmt, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Reply;
use crate::fault::Fault;

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
/// assert!(!replies.is_stream());
/// ```
#[derive(Clone, Default)]
pub struct Replies(Kind);

#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "a list of one is the ordinary case")]
enum Kind {
    List(SmallVec<[Reply; 1]>),
    Stream(Arc<Mutex<Option<Items>>>),
}

impl Default for Kind {
    fn default() -> Self {
        Self::List(SmallVec::new())
    }
}

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
    ///
    /// ```
    /// use switchboard::{Replies, Reply};
    ///
    /// let to_all = Replies::from(Reply::event("said", "hello")).map(Reply::to_all);
    /// ```
    #[must_use]
    pub fn map(self, change: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Self {
        self.each(move |reply| SmallVec::from_buf([change(reply)]))
    }

    /// Shows each reply to `look`; in a stream, as it comes. A panic in `look` changes nothing.
    ///
    /// ```
    /// use switchboard::{Replies, Reply};
    ///
    /// let replies = Replies::from(Reply::event("said", "hello"))
    ///     .inspect(|reply| println!("{:?} leaves", reply.event_name()));
    /// ```
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
    ///     .flat_map(|reply| [reply.clone(), reply.to("archive")]);
    /// assert_eq!(copied.list().len(), 2);
    /// ```
    #[must_use]
    pub fn flat_map<I: IntoIterator<Item = Reply>>(
        self,
        change: impl Fn(Reply) -> I + Send + Sync + 'static,
    ) -> Self {
        self.each(move |reply| change(reply).into_iter().collect())
    }

    fn each(self, change: impl Fn(Reply) -> SmallVec<[Reply; 1]> + Send + Sync + 'static) -> Self {
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

#[allow(clippy::large_enum_variant, reason = "a list of one is the ordinary case")]
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
