//! Answers to requests that their client does not read.
//!
//! [`Impatient`] wraps the connection, below HTTP. It gives up a peer that takes too little.
//! [`Unread`] is the answer to a poll until its last byte is written. It counts for its session; if
//! the connection ends before, the session ends, too, because part of the answer is lost. A
//! [`Conversation`] connects the two.
//!
//! A websocket has a stream of its own for this, and is left alone here.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    reasons::KillReason,
    stall::{Patience, Stall},
    transport::Transport,
    transports::Transports,
};

/// An answer to a poll that is not fully written yet.
pub(super) struct Unread {
    of: Session,
    bytes: usize,
    /// The session had been cut before: this is its last answer.
    is_last: bool,
}

/// The session of an answer.
enum Session {
    Here(Arc<Transport>),
    /// Another node holds it, and is told by this when the answer is lost.
    Elsewhere(Box<dyn Fn(KillReason) + Send + Sync>),
}

impl Unread {
    /// Counts the answer for its session from now on, until its last byte is written or dropped.
    pub(super) fn answer(transport: &Arc<Transport>, response: Response<Bytes>) -> Response<Bytes> {
        let (mut head, body) = response.into_parts();
        let bytes = body.len();
        transport.load.answering(bytes);
        let of = Session::Here(Arc::clone(transport));
        let unread = Arc::new(Self { of, bytes, is_last: transport.is_killed() });
        head.extensions.insert(OnItsWay(Arc::downgrade(&unread)));
        let body = unread.counted(body);
        Response::from_parts(head, body)
    }

    /// The answer that begins with this response.
    pub(super) fn of<B>(response: &Response<B>) -> Option<Arc<Self>> {
        let OnItsWay(unread) = response.extensions().get()?;
        unread.upgrade()
    }

    /// Whether another node holds the session, and the answer comes from there piece by piece.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.transport().is_none()
    }

    /// A copy of a piece of the answer. It counts on its own until it is written or dropped, so that
    /// it can outlive the answer.
    pub(super) fn piece(&self, bytes: &[u8]) -> Bytes {
        let Session::Here(transport) = &self.of else { return Bytes::copy_from_slice(bytes) };
        transport.load.answering(bytes.len());
        let of = Session::Here(Arc::clone(transport));
        let piece = Arc::new(Self { of, bytes: bytes.len(), is_last: self.is_last });
        piece.counted(Bytes::copy_from_slice(bytes))
    }

    /// Whether the session was cut after this answer had begun. If not, the task is woken when it
    /// is.
    pub(super) fn is_cut(&self, cx: &Context<'_>) -> bool {
        let Some(transport) = self.transport().filter(|_| !self.is_last) else { return false };
        if let Some(polling) = &transport.polling {
            polling.unread.register(cx.waker());
        }
        transport.is_killed()
    }

    /// An answer that another node has given. It counts for its session there, and `lost` is called
    /// if it is lost here.
    pub(super) fn elsewhere(lost: impl Fn(KillReason) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { of: Session::Elsewhere(Box::new(lost)), bytes: 0, is_last: false })
    }

    /// This response is the answer, or its beginning.
    pub(super) fn travels_with<B>(self: &Arc<Self>, response: &mut Response<B>) {
        response.extensions_mut().insert(OnItsWay(Arc::downgrade(self)));
    }

    /// A part of the answer: until it is written or dropped, the answer is unread.
    pub(super) fn counted(self: &Arc<Self>, body: Bytes) -> Bytes {
        Bytes::from_owner(Counted { body, _unread: self.clone() })
    }

    /// The answer, or a part of it, does not reach the client.
    pub(super) fn is_lost(&self, transports: &Transports, reason: KillReason) {
        match &self.of {
            Session::Here(transport) => _ = transports.kill_transport(transport, reason),
            Session::Elsewhere(lost) => lost(reason),
        }
    }

    fn transport(&self) -> Option<&Transport> {
        match &self.of {
            Session::Here(transport) => Some(transport),
            Session::Elsewhere(_) => None,
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(transport) = self.transport() {
            transport.load.answered(self.bytes);
        }
    }
}

/// Bytes that keep an [`Unread`] alive.
struct Counted {
    body: Bytes,
    _unread: Arc<Unread>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Travels with a response to the connection that writes it.
#[derive(Clone)]
struct OnItsWay(Weak<Unread>);

/// The link between a connection and the requests on it. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Conversation(Arc<State>);

#[derive(Default)]
struct State {
    /// The connection speaks HTTP no more.
    is_upgraded: AtomicBool,
    unread: Mutex<Weak<Unread>>,
    given_up: Mutex<Option<KillReason>>,
}

impl Conversation {
    /// This response is about to be written.
    pub(super) fn answers<B>(&self, response: &Response<B>) {
        if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            self.0.is_upgraded.store(true, Ordering::Release);
        }
        if let Some(OnItsWay(unread)) = response.extensions().get() {
            *self.0.unread.lock() = unread.clone();
        }
    }

    /// The answer that is not fully written yet.
    pub(super) fn unread(&self) -> Option<Arc<Unread>> {
        self.0.unread.lock().upgrade()
    }

    /// Why the peer was given up, if it was.
    pub(super) fn given_up(&self) -> Option<KillReason> {
        *self.0.given_up.lock()
    }

    fn is_upgraded(&self) -> bool {
        self.0.is_upgraded.load(Ordering::Acquire)
    }
}

/// A connection that is given up when its peer does not take what is written to it.
pub(crate) struct Impatient<S> {
    inner: S,
    patience: Patience,
    conversation: Conversation,
    written: u64,
    /// Set only while the peer does not take written bytes.
    stalled: Option<Box<Stall>>,
}

impl<S> Impatient<S> {
    pub(crate) fn new(inner: S, patience: Patience, conversation: Conversation) -> Self {
        Self { inner, patience, conversation, written: 0, stalled: None }
    }

    pub(super) fn into_inner(self) -> S {
        self.inner
    }

    /// The peer takes nothing now. Pending, until it has taken too little for too long, or the
    /// session of the answer is cut.
    fn stall<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.conversation.is_upgraded() {
            return Poll::Pending;
        }
        if self.conversation.unread().is_some_and(|unread| unread.is_cut(cx)) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let (patience, written) = (self.patience, self.written);
        let stalled = self.stalled.get_or_insert_with(|| Box::new(Stall::new(patience, written)));
        let reason = ready!(stalled.poll(cx, patience, written));
        *self.conversation.0.given_up.lock() = Some(reason);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        n: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match n {
            Poll::Ready(Ok(n)) => {
                self.written += n as u64;
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.stall(cx),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.wrote(cx, n)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.wrote(cx, n)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_flush(cx) {
            // HTTP flushes once it has written everything.
            Poll::Ready(flushed) => {
                this.stalled = None;
                Poll::Ready(flushed)
            }
            Poll::Pending => this.stall(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_shutdown(cx) {
            Poll::Pending => this.stall(cx),
            Poll::Ready(done) => Poll::Ready(done),
        }
    }
}
