//! The stream that the engine takes for its client's connection.
//!
//! In the steady state bytes pass through, and of each frame only the header is looked at. While
//! the [`Wire`] has an interest, whole frames to the client are gathered and judged. Bytes from the
//! client are never changed; frames of ours go between its messages. A cut wire is a reset
//! connection, and a client that does not read for too long has its wire cut.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    frames::{self, Header, Tracker},
    splice,
    wire::{KillReason, Verdict, Wire},
    wires::Wires,
};

/// A longer frame passes without being gathered, unless it starts as an answer to a CONNECT: such a
/// one is as long as the namespace's name and the refusal's words.
const LONGEST_JUDGED: usize = 64 * 1024;

/// A client's connection, as the engine sees it.
pub(super) struct EdgeIo<S> {
    inner: S,
    wire: Arc<Wire>,
    wires: Wires,
    to_client: Tracker,
    to_engine: Tracker,
    /// What the engine reads before anything that comes from the client.
    ahead: Bytes,
    /// Only while there is something to look at, or to say in the client's name.
    slow: Option<Box<Slow>>,
    stall_timeout: Duration,
    /// Only while the client does not take what is written.
    stalled: Option<Pin<Box<Sleep>>>,
}

#[derive(Default)]
struct Slow {
    /// The beginning of a frame to the client that is not whole yet.
    gathered: Vec<u8>,
    /// Judged, and taken from the engine, but not written yet.
    pending: BytesMut,
    /// Whole frames in the client's name.
    answers: BytesMut,
    /// The engine has read a part of `answers`; the rest follows at once.
    answering: bool,
}

impl Slow {
    fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.pending.is_empty() && self.answers.is_empty()
    }
}

impl<S> EdgeIo<S> {
    pub(super) fn new(
        inner: S,
        wire: Arc<Wire>,
        wires: Wires,
        ahead: Bytes,
        stall_timeout: Duration,
    ) -> Self {
        Self {
            inner,
            wire,
            wires,
            to_client: Tracker::default(),
            to_engine: Tracker::default(),
            ahead,
            slow: None,
            stall_timeout,
            stalled: None,
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.wire.is_killed() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    /// The client takes nothing right now. Pending, until it takes too long.
    fn stall<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.wire.writer.register(cx.waker());
        self.check()?; // a kill may have come before the waker was there
        let timeout = self.stall_timeout;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        // the engine's writer ignores errors: its reader has to see one
        self.wires.kill_wire(&self.wire, KillReason::Stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn progress(&mut self) {
        if self.stalled.is_some() {
            self.stalled = None;
        }
    }

    fn drop_slow_path(&mut self) {
        if self.slow.as_ref().is_some_and(|slow| slow.is_empty()) && !self.wire.has_interest() {
            self.slow = None;
        }
    }

    /// Takes bytes until a frame is whole, then judges it. Returns how many were taken.
    fn gather(&mut self, bytes: &[u8]) -> usize {
        let slow = self.slow.get_or_insert_default();
        let mut rest = bytes;
        let header = loop {
            if let Some(header) = Header::parse(&slow.gathered) {
                break header;
            }
            let Some((byte, after)) = rest.split_first() else { return bytes.len() };
            slow.gathered.push(*byte);
            rest = after;
        };
        if header.total() > LONGEST_JUDGED {
            let start = header.len + splice::ANSWER_START;
            let (taken, after) =
                rest.split_at(rest.len().min(start.saturating_sub(slow.gathered.len())));
            slow.gathered.extend_from_slice(taken);
            rest = after;
            if slow.gathered.len() < start {
                return bytes.len();
            }
        }
        if header.total() > LONGEST_JUDGED && !splice::may_be_answer(&slow.gathered[header.len..]) {
            self.to_client.advance(&slow.gathered);
            slow.pending.extend_from_slice(&slow.gathered);
            slow.gathered = Vec::new();
            return bytes.len() - rest.len();
        }
        let (taken, rest) = rest.split_at(rest.len().min(header.total() - slow.gathered.len()));
        slow.gathered.extend_from_slice(taken);
        if slow.gathered.len() == header.total() {
            let frame = std::mem::take(&mut slow.gathered);
            self.judge(header, &frame);
        }
        bytes.len() - rest.len()
    }

    fn judge(&mut self, header: Header, frame: &[u8]) {
        let verdict = self.wire.judge(header.opcode, &frame[header.len..]);
        let slow = self.slow.get_or_insert_default();
        match verdict {
            Verdict::Pass => slow.pending.extend_from_slice(frame),
            Verdict::Opened(sid) => {
                slow.pending.extend_from_slice(frame);
                self.wires.register(sid, &self.wire);
            }
            Verdict::Replace(payload) => {
                let mut frame = Vec::with_capacity(payload.len() + 10);
                frames::server_frame(header.opcode, &payload, &mut frame);
                slow.pending.extend_from_slice(&frame);
            }
            Verdict::Drop => {}
            Verdict::Answer(payload) => {
                let mut frame = Vec::with_capacity(payload.len() + 6);
                frames::client_frame(frames::TEXT, payload, &mut frame);
                slow.answers.extend_from_slice(&frame);
                self.wire.reader.wake();
            }
        }
    }
}

#[cfg(fuzzing)]
impl EdgeIo<super::fuzzing::Memory> {
    /// What the client has got.
    pub(super) fn written(&self) -> Vec<u8> {
        self.inner.written.clone()
    }
}

impl<S: AsyncWrite + Unpin> EdgeIo<S> {
    /// Writes as it is.
    fn pass(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, bytes) {
            Poll::Ready(Ok(n)) => {
                self.to_client.advance(&bytes[..n]);
                self.wires.counted(|traffic| traffic.went(n));
                self.progress();
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.stall(cx),
        }
    }

    #[cold]
    fn write_judged(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.write_pending(cx))?;
        // of a frame that began to pass unseen the rest passes unseen
        match self.to_client.until_boundary() {
            0 => {}
            n => return self.pass(cx, &bytes[..n.min(bytes.len())]),
        }
        let gathering = self.slow.as_ref().is_some_and(|slow| !slow.gathered.is_empty());
        if !gathering && !self.wire.has_interest() {
            self.drop_slow_path();
            return self.pass(cx, bytes);
        }
        let taken = self.gather(bytes);
        match self.write_pending(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn write_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(slow) = &mut self.slow
            && !slow.pending.is_empty()
        {
            match Pin::new(&mut self.inner).poll_write(cx, &slow.pending) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    slow.pending.advance(n);
                    self.wires.counted(|traffic| traffic.went(n));
                    self.progress();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.stall(cx),
            }
        }
        self.drop_slow_path();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EdgeIo<S> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        if this.slow.is_none() && !this.wire.has_interest() {
            return this.pass(cx, bytes);
        }
        this.write_judged(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        ready!(this.write_pending(cx))?;
        match Pin::new(&mut this.inner).poll_flush(cx) {
            Poll::Pending => this.stall(cx),
            ready => ready,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.wire.is_killed() {
            return Poll::Ready(Ok(())); // nothing to be polite about
        }
        ready!(this.write_pending(cx))?;
        match Pin::new(&mut this.inner).poll_shutdown(cx) {
            Poll::Pending => this.stall(cx),
            ready => ready,
        }
    }
}

impl<S: AsyncRead + Unpin> EdgeIo<S> {
    /// Reads no further than to the end of the frame, so that the answer's turn comes.
    fn read_to_boundary(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = self.to_engine.until_boundary().max(1).min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(n));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        self.to_engine.advance(part.filled());
        let n = part.filled().len();
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EdgeIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.wire.reader.register(cx.waker());
        this.check()?;
        if !this.ahead.is_empty() {
            let ahead = this.ahead.split_to(this.ahead.len().min(buf.remaining()));
            if this.ahead.is_empty() {
                this.ahead = Bytes::new(); // lets go of what it was a part of
            }
            this.to_engine.advance(&ahead);
            buf.put_slice(&ahead);
            return Poll::Ready(Ok(()));
        }
        if let Some(slow) = &mut this.slow
            && !slow.answers.is_empty()
        {
            if !slow.answering && !this.to_engine.between_messages() {
                return this.read_to_boundary(cx, buf);
            }
            let n = slow.answers.len().min(buf.remaining());
            buf.put_slice(&slow.answers.split_to(n));
            slow.answering = !slow.answers.is_empty();
            this.drop_slow_path();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let came = &buf.filled()[before..];
        this.to_engine.advance(came);
        this.wires.counted(|traffic| traffic.came(came.len()));
        Poll::Ready(Ok(()))
    }
}

impl<S> Drop for EdgeIo<S> {
    fn drop(&mut self) {
        self.wires.stream_ended(&self.wire);
    }
}

#[cfg(test)]
#[path = "stream/tests.rs"]
mod tests;
