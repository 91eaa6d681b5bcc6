//! To the engine: the client's words, in whole messages that the engine can read.

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
use socketioxide_core::{Str, Value};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::{
    super::{
        frames,
        inbound::{Inbound, PlainEvent},
        packets,
    },
    EdgeIo,
    messages::{Messages, Said},
};

/// Most bytes of one read from a client. The buffer belongs to the thread: its content is passed on
/// or gathered before the next client's turn. Whoever reads takes it, because handlers run meanwhile.
const READ_AT_ONCE: usize = 32 * 1024;

thread_local! {
    static READ: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Longest time for the engine to hear the farewell of a session that never joined a namespace.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

/// "No status": an empty close frame, for a close without a reason.
const NO_STATUS: u16 = 1005;

/// "Invalid frame payload data": a text message that is no UTF-8.
const NOT_TEXT: u16 = 1007;

/// The client is not read from. Its answers to the engine's pings lie unread, too, so they are
/// given in its name as long as there are signs of life.
pub(super) struct Pause {
    timer: Pin<Box<Sleep>>,
    progress: u32,
}

/// The client has said its last word, or nobody listens any more.
pub(super) struct Ending {
    /// Its close frame, for the engine.
    close: Option<Bytes>,
    /// The end of the stream for the engine.
    end: Result<(), io::ErrorKind>,
    farewell: Farewell,
}

/// The bytes behind the farewell of a session that goes on.
#[derive(Default)]
pub(super) struct Held {
    ready: VecDeque<Bytes>,
    patience: Option<Pin<Box<Sleep>>>,
}

/// What one read gives the engine.
struct ForEngine<'a, 'b> {
    buf: &'a mut ReadBuf<'b>,
    /// The bytes in `buf` from before.
    before: usize,
    /// What is behind `buf`, or does not fit into it.
    more: Vec<u8>,
    /// Some events have gone past the engine.
    has_passed: bool,
}

impl<'a, 'b> ForEngine<'a, 'b> {
    fn new(buf: &'a mut ReadBuf<'b>) -> Self {
        Self { before: buf.filled().len(), buf, more: Vec::new(), has_passed: false }
    }

    fn is_empty(&self) -> bool {
        self.buf.filled().len() == self.before && self.more.is_empty()
    }
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

    /// Ends the connection with a close frame of ours.
    fn close(&mut self, status: u16) {
        let payload = if status == NO_STATUS { Vec::new() } else { status.to_be_bytes().to_vec() };
        let mut frame = Vec::with_capacity(payload.len() + 2);
        frames::server_frame(frames::CLOSE, &payload, &mut frame);
        self.slow.get_or_insert_default().close = Some(frame);
        self.end(Ok(()));
    }

    /// Takes the client's bytes. Fills `buf` with as much as fits, and puts the rest into `ready`. Events
    /// may go past the engine; returns whether some did.
    fn take(&mut self, mut bytes: &mut [u8], buf: &mut ReadBuf<'_>) -> bool {
        let mut messages = std::mem::replace(&mut self.messages, Messages::new(0));
        let held = messages.held();
        let mut engine = ForEngine::new(buf);
        while self.ending.is_none() {
            match messages.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Said::Here { opcode, payload })) => {
                    self.message(opcode, payload, &mut engine);
                }
                Ok(Some(Said::Gathered(message))) => {
                    self.message(message.opcode, &message.payload, &mut engine);
                }
                Ok(Some(Said::Ping(payload))) => {
                    let mut pong = Vec::with_capacity(payload.len() + 2);
                    frames::server_frame(frames::PONG, payload, &mut pong);
                    self.slow.get_or_insert_default().pong = Some(pong);
                }
                Ok(Some(Said::Close(payload))) => {
                    let mut close = Vec::with_capacity(payload.len() + 6);
                    frames::client_frame(frames::CLOSE, payload, &mut close);
                    self.end(Ok(()));
                    if let Some(ending) = &mut self.ending {
                        ending.close = Some(close.into());
                    }
                }
                Err(wrong) => self.close(wrong.status()),
            }
            if engine.has_passed && self.must_stop() {
                // The rest waits until the client is read from again, or is dropped with its stream.
                self.unread = bytes.to_vec();
                break;
            }
        }
        let ForEngine { mut more, has_passed, .. } = engine;
        self.queue_more(&mut more);
        self.transport.load.holds(messages.held(), held);
        self.messages = messages;
        has_passed
    }

    /// Whether the last event was one too many for now, or has ended the connection.
    fn must_stop(&self) -> bool {
        self.transport.load.is_paused() || self.transport.is_killed()
    }

    /// Queues frames for the engine behind the earlier ones.
    fn queue(&mut self, frames: Bytes) {
        match &mut self.held {
            Some(held) => held.ready.push_back(frames),
            None => self.ready.push_back(frames),
        }
    }

    fn queue_more(&mut self, more: &mut Vec<u8>) {
        if !more.is_empty() {
            self.queue(std::mem::take(more).into());
        }
    }

    /// Holds back a packet that joins nothing from a client that has joined nothing yet. The engine
    /// may end the session for it, and would keep the session for a while. The farewell ends its
    /// timer first, and the packet waits until that is heard.
    #[inline]
    fn look(&mut self, opcode: u8, payload: &[u8], more: &mut Vec<u8>) {
        if self.transport.needs_farewell() && self.held.is_none() {
            let is_ordinary = match opcode {
                frames::TEXT => packets::is_connect(payload),
                _ => packets::is_msgpack_connect(payload),
            };
            if !is_ordinary && let Some(farewell) = self.transports.farewell_frame(&self.transport)
            {
                self.queue_more(more);
                self.queue(farewell);
                self.held = Some(Box::default());
            }
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

    #[inline]
    fn message(&mut self, opcode: u8, payload: &[u8], engine: &mut ForEngine<'_, '_>) {
        if opcode != frames::TEXT {
            return match self.reader.binary(payload) {
                Inbound::Pass => self.put(opcode, payload, engine),
                other => self.give(opcode, other, engine),
            };
        }
        let Ok(text) = std::str::from_utf8(payload) else { return self.close(NOT_TEXT) };
        match self.reader.text(payload) {
            Inbound::Pass => match self.reader.plain_event(text) {
                Some(event) if self.past_engine(event, engine) => {}
                _ => self.put(opcode, payload, engine),
            },
            other => self.give(opcode, other, engine),
        }
    }

    /// Hands an event to its socket, past the engine. `false` if it has to go through the engine: behind
    /// packets that the engine has not read yet, or because no socket takes it.
    #[inline]
    fn past_engine(&mut self, event: PlainEvent<'_>, engine: &mut ForEngine<'_, '_>) -> bool {
        if !engine.is_empty() || !self.ready.is_empty() || self.held.is_some() {
            return false;
        }
        let Some(intake) = self.transport.intakes.of(event.namespace) else { return false };
        if !std::mem::replace(&mut engine.has_passed, true) {
            // What handlers send needs no waking: this task writes it.
            self.transport.load.reader_is_awake(true);
        }
        let arguments = Value::Str(Str::copy_from_slice(event.arguments), None);
        intake.take(arguments, event.ack_id);
        true
    }

    #[cold]
    fn give(&mut self, opcode: u8, inbound: Inbound, engine: &mut ForEngine<'_, '_>) {
        match inbound {
            Inbound::Text(text) => self.put(frames::TEXT, &text, engine),
            Inbound::Binary(bytes) => self.put(frames::BINARY, &bytes, engine),
            Inbound::Ignore => {}
            Inbound::Close => self.close(NO_STATUS),
            Inbound::Pass => tracing::error!(
                opcode,
                "a defect: an unchanged message was handled as a changed one"
            ),
        }
    }

    /// Puts a frame before the engine: at once if there is room and nothing is before it.
    fn put(&mut self, opcode: u8, payload: &[u8], engine: &mut ForEngine<'_, '_>) {
        let ForEngine { buf, more, .. } = engine;
        self.look(opcode, payload, more);
        if self.ready.is_empty()
            && more.is_empty()
            && self.held.is_none()
            && payload.len() <= frames::LONGEST_FRAME
            && payload.len() + frames::LONGEST_HEADER <= buf.remaining()
        {
            let (header, len) = frames::client_header(opcode, payload.len());
            buf.put_slice(&header[..len]);
            buf.put_slice(payload);
        } else {
            frames::client_message(opcode, payload, more);
        }
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
