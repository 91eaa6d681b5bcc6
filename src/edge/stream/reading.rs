//! To the engine: when the client is read from, and what the engine reads first and last.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::{super::frames, EdgeIo};

/// Most bytes of one read from a client. The buffer belongs to the thread: its content is passed on
/// or gathered before the next client's turn. Whoever reads takes it, because handlers run meanwhile.
const READ_AT_ONCE: usize = 32 * 1024;

thread_local! {
    static READ: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Longest time for the engine to hear the farewell of a session that never joined a namespace.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

/// The client is not read from. Its answers to the engine's pings lie unread, too, so they are
/// given in its name as long as there are signs of life.
pub(super) struct Pause {
    timer: Pin<Box<Sleep>>,
    progress: u32,
}

/// The client has said its last word, or nobody listens any more.
pub(super) struct Ending {
    /// Its close frame, for the engine.
    pub(super) close: Option<Bytes>,
    /// The end of the stream for the engine.
    end: Result<(), io::ErrorKind>,
    farewell: Farewell,
}

/// The bytes behind the farewell of a session that goes on.
#[derive(Default)]
pub(super) struct Held {
    pub(super) ready: VecDeque<Bytes>,
    patience: Option<Pin<Box<Sleep>>>,
}

/// The packet that ends the engine's timer for a session that has not joined a namespace. The timer
/// would hold the session until it runs out.
enum Farewell {
    Due,
    Said(Pin<Box<Sleep>>),
    Over,
}

impl<S> EdgeIo<S> {
    /// Stops reading from the client. The first reason stays.
    pub(super) fn end(&mut self, end: Result<(), io::ErrorKind>) {
        if self.ending.is_none() {
            let ending = Ending { close: None, end, farewell: Farewell::Due };
            self.ending = Some(Box::new(ending));
            self.transport.load.reader.wake();
        }
    }

    /// Whether the packet behind the farewell still has to wait. Otherwise it is ready.
    fn holds(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(held) = &mut self.held else { return false };
        if self.transport.needs_farewell() {
            let patience = held.patience.get_or_insert_with(|| Box::pin(sleep(FAREWELL_PATIENCE)));
            if patience.as_mut().poll(cx).is_pending() {
                return true;
            }
        }
        self.ready.append(&mut held.ready);
        self.held = None;
        if let Some(sid) = self.transport.sid.get() {
            // the engine's timer has ended, and this one replaces it
            self.transports.cut_unless_joined(*sid, self.pace.connect_timeout);
        }
        false
    }

    /// Gives the engine the ready bytes: as much as fits, or the rest of a frame.
    fn serve(&mut self, buf: &mut ReadBuf<'_>, most: usize) {
        let mut most = most.min(buf.remaining());
        while most > 0
            && let Some(first) = self.ready.front_mut()
        {
            let part = first.split_to(first.len().min(most));
            if first.is_empty() {
                self.ready.pop_front();
            }
            most -= part.len();
            self.to_engine.advance(&part);
            buf.put_slice(&part);
        }
        if self.ready.is_empty() {
            self.ready = VecDeque::new(); // gives its memory back
        }
    }

    /// Serves a connection that is cut off: a frame that the engine has begun to read is read to
    /// its end, and later ones are dropped.
    fn serve_last(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.to_engine.between_messages() {
            self.ready.clear();
            return false;
        }
        self.serve(buf, self.to_engine.until_boundary().max(1));
        true
    }

    /// Waits while the client is not read from. Only a pong in its name comes from time to time.
    fn pause(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let load = &self.transport.load;
        if !load.is_paused() {
            // the pause ended before the waker was set
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.to_engine.between_messages() {
            self.serve(buf, self.to_engine.until_boundary().max(1));
            return Poll::Ready(Ok(()));
        }
        // twice in the time for an answer
        let interval = self.pace.ping_timeout / 2;
        let progress = load.progress();
        let pause = self.paused.get_or_insert_with(|| {
            // the pause itself is a sign of life: bytes came
            let progress = progress.wrapping_sub(1);
            Box::new(Pause { timer: Box::pin(sleep(interval)), progress })
        });
        ready!(pause.timer.as_mut().poll(cx));
        pause.timer.as_mut().reset(Instant::now() + interval);
        let alive = std::mem::replace(&mut pause.progress, progress) != progress;
        if !alive {
            // registers the waker for the timer that was set again
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // before the ready bytes, which begin with a message
        let mut pong = Vec::with_capacity(7);
        frames::client_frame(frames::TEXT, b"3", &mut pong);
        let len = pong.len();
        self.ready.push_front(pong.into());
        self.serve(buf, len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> EdgeIo<S> {
    /// Reads from the client. Returns whether events have gone past the engine.
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<bool> {
        if !self.unread.is_empty() {
            let mut unread = std::mem::take(&mut self.unread);
            return Poll::Ready(self.take(&mut unread, buf));
        }
        let mut read = READ.take().unwrap_or_else(|| vec![0; READ_AT_ONCE].into());
        let mut came = ReadBuf::new(&mut read);
        let have_passed = match Pin::new(&mut self.inner).poll_read(cx, &mut came) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => {
                self.end(Err(error.kind()));
                Poll::Ready(false)
            }
            Poll::Ready(Ok(())) if came.filled().is_empty() => {
                self.end(Ok(()));
                Poll::Ready(false)
            }
            Poll::Ready(Ok(())) => {
                let came = came.filled_mut();
                self.transports.counted(|traffic| traffic.came(came.len()));
                Poll::Ready(self.take(came, buf))
            }
        };
        READ.set(Some(read));
        have_passed
    }

    fn read_on(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        before: usize,
        mut was_at_work: bool,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.transport.is_killed() {
                // waiting writes are not waited for
                self.end(Err(io::ErrorKind::ConnectionReset));
                if let Some(ending) = &mut self.ending {
                    ending.end = Err(io::ErrorKind::ConnectionReset);
                }
                return self.last(cx, buf);
            }
            let has_words = self.slow.as_ref().is_some_and(|slow| slow.has_to_write());
            // What was just answered waits for the other clients' turns: their events may bring more
            // for this client, and it leaves together.
            let is_paused = self.transport.load.is_paused();
            let waits = was_at_work && self.held.is_none() && !is_paused;
            let has_frames = self.sending.is_some() || self.transport.load.has_outgoing();
            if has_words || (has_frames && !waits) {
                if let Poll::Ready(said) = self.say_now(cx) {
                    said?;
                }
                // while our own words wait for the client, it is not read from
                if self.slow.as_ref().is_some_and(|slow| slow.has_to_write()) {
                    return Poll::Pending;
                }
            }
            // the client's words before its last one are heard
            if self.ending.is_some() && self.ready.is_empty() && self.held.is_none() {
                return self.last(cx, buf);
            }
            if is_paused {
                return self.pause(cx, buf);
            }
            self.paused = None;
            if self.ready.is_empty() && self.holds(cx) {
                return Poll::Pending;
            }
            if !self.ready.is_empty() {
                self.serve(buf, usize::MAX);
                return Poll::Ready(Ok(()));
            }
            if self.ending.is_some() {
                return self.last(cx, buf);
            }
            match self.read(cx, buf) {
                Poll::Pending => {
                    if has_frames && waits {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
                Poll::Ready(false) => {}
                Poll::Ready(true) => {
                    // as if the engine had handled them, and asked for more
                    was_at_work = true;
                    self.transport.load.reader_is_awake(false);
                }
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            // nothing for the engine came; its consequences come next
        }
    }

    /// The last reads of the engine: the farewell, the client's close frame, the end.
    fn last(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.serve_last(buf) {
            return Poll::Ready(Ok(()));
        }
        let Some(ending) = &mut self.ending else { return Poll::Ready(Ok(())) };
        match &mut ending.farewell {
            Farewell::Due => {
                let farewell = self.transports.farewell_frame(&self.transport);
                ending.farewell = match &farewell {
                    Some(_) => Farewell::Said(Box::pin(sleep(FAREWELL_PATIENCE))),
                    None => Farewell::Over,
                };
                if let Some(frame) = farewell {
                    self.ready.push_back(frame);
                    self.serve(buf, usize::MAX);
                    return Poll::Ready(Ok(()));
                }
            }
            Farewell::Said(patience) => {
                if self.transport.needs_farewell() && patience.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                ending.farewell = Farewell::Over;
            }
            Farewell::Over => {}
        }
        if let Some(close) = ending.close.take() {
            self.ready.push_back(close);
            self.serve(buf, usize::MAX);
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(ending.end.map_err(io::Error::from))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for EdgeIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        this.transport.load.reader.register(cx.waker());
        let was_at_work = this.transport.load.reader_is_awake(false);
        let read = this.read_on(cx, buf, before, was_at_work);
        if matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() > before {
            // the engine asks for more when it has handled this
            this.transport.load.reader_is_awake(true);
        }
        read
    }
}
