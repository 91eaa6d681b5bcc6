//! To the client: the engine's bytes, looked at where needed, the frames that go past the engine,
//! and our own words.
//!
//! Two tasks write. The engine's writer writes whatever there is. The engine's reader writes what is
//! ours, for it is the one that is woken when a frame is appended. Only the one that asked last is
//! woken by the connection, so each of them wakes the other when it has got further.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use tokio::io::AsyncWrite;

use super::{
    super::{
        frames::{self, Header},
        outgoing::{Chunk, Fence},
        rewrite,
        size::Size,
        stall::Stall,
        transport::Verdict,
    },
    EdgeIo,
};

/// The task that writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The engine's reader.
    Reader,
    /// The engine's writer.
    Writer,
}

/// A chunk that is being written.
pub(super) struct Sending {
    chunk: Chunk,
    written: usize,
}

/// Longest frame that is always gathered. A longer one passes, unless it starts as an answer to a
/// CONNECT: that is as long as the namespace's name and the refusal's text.
const LONGEST_JUDGED: usize = 64 * 1024;

impl<S> EdgeIo<S> {
    /// The client takes nothing now. Pending, until it has taken too little for too long.
    fn stall<T>(&mut self, cx: &mut Context<'_>, by: By) -> Poll<io::Result<T>> {
        self.was_blocked = true;
        if by == By::Writer {
            self.transport.writer.register(cx.waker());
        }
        self.check()?; // a kill may have come before the waker was set
        let (patience, written) = (self.pace.patience, self.written);
        let stalled = self.stalled.get_or_insert_with(|| Box::new(Stall::new(patience, written)));
        let reason = ready!(stalled.poll(cx, patience, written));
        // the engine's writer ignores errors, so its reader must see one
        self.transports.kill_transport(&self.transport, reason);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Everything is written.
    fn caught_up(&mut self) {
        self.stalled = None;
        // Where the engine had to wait, it flushes before it takes more from its queue. Where it
        // did not, its queue is empty.
        if !std::mem::take(&mut self.was_blocked) {
            self.transport.load.all_taken();
        }
    }

    fn wrote(&mut self, n: usize) {
        self.written += n as u64;
        self.transports.counted(|traffic| traffic.went(n));
    }

    /// A connection that takes nothing any more has ended, and the engine's reader must hear of it.
    fn broke<T>(&mut self, error: io::Error) -> Poll<io::Result<T>> {
        self.end(Err(error.kind()));
        Poll::Ready(Err(error))
    }

    /// Takes bytes until a frame is complete, then judges it. Returns the number of taken bytes.
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
            let start = header.len + rewrite::ANSWER_START;
            let (taken, after) =
                rest.split_at(rest.len().min(start.saturating_sub(slow.gathered.len())));
            slow.gathered.extend_from_slice(taken);
            rest = after;
            if slow.gathered.len() < start {
                return bytes.len();
            }
        }
        if header.total() > LONGEST_JUDGED && !rewrite::may_be_answer(&slow.gathered[header.len..])
        {
            let passed = self.to_client.advance(&slow.gathered);
            self.transport.load.taken(passed);
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
        let payload = &frame[header.len..];
        if self.transport.load.is_fenced()
            && let Some(fence) = Fence::of(payload)
        {
            return self.transport.load.passed(fence);
        }
        let verdict = match self.transports.takes_farewell_answer(&self.transport, payload) {
            true => Verdict::Drop,
            false => self.transport.judge(header.opcode, payload),
        };
        // not written yet, but no longer in the engine's queue
        self.transport.load.taken(Size { packets: 1, bytes: frame.len() - header.len });
        let slow = self.slow.get_or_insert_default();
        match verdict {
            Verdict::Pass => slow.pending.extend_from_slice(frame),
            Verdict::Opened(sid) => {
                slow.pending.extend_from_slice(frame);
                self.transports.register(sid, &self.transport);
            }
            Verdict::Replace(payload) => {
                let mut frame = Vec::with_capacity(payload.len() + 10);
                frames::server_frame(header.opcode, &payload, &mut frame);
                slow.pending.extend_from_slice(&frame);
            }
            Verdict::Drop => {}
            Verdict::Answer(payload) => self.answer(payload),
        }
    }

    /// Puts our own words between two frames, if this is such a place.
    fn say(&mut self) {
        let Some(slow) = &mut self.slow else { return };
        if self.to_client.at_boundary() {
            for said in [slow.pong.take(), slow.close.take()].into_iter().flatten() {
                slow.pending.extend_from_slice(&said);
                slow.unflushed = true;
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> EdgeIo<S> {
    /// Writes the engine's bytes unchanged.
    fn pass(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, bytes) {
            Poll::Ready(Ok(n)) => {
                let passed = self.to_client.advance(&bytes[..n]);
                self.transport.load.taken(passed);
                self.wrote(n);
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => self.broke(error),
            Poll::Pending => self.stall(cx, By::Writer),
        }
    }

    /// Nothing but the engine's bytes is to be written now.
    #[inline]
    fn is_plain(&self) -> bool {
        self.slow.is_none()
            && self.sending.is_none()
            && !self.transport.load.has_outgoing()
            && !self.transport.expects_anything()
    }

    #[cold]
    fn write_judged(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.write_ours(cx, By::Writer))?;
        // the rest of a frame that began to pass unseen passes unseen
        match self.to_client.until_boundary() {
            0 => {}
            n => return self.pass(cx, &bytes[..n.min(bytes.len())]),
        }
        let gathering = self.slow.as_ref().is_some_and(|slow| !slow.gathered.is_empty());
        if !gathering && !self.transport.expects_anything() && !self.transport.load.is_fenced() {
            self.drop_slow_path();
            return self.pass(cx, bytes);
        }
        let taken = self.gather(bytes);
        match self.write_ours(cx, By::Writer) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    /// Writes what is ours: our own words, judged frames, and what waits past the engine. Ready
    /// when there is no more, or when more has to wait for the engine: for the rest of its frame,
    /// or for a marker.
    fn write_ours(&mut self, cx: &mut Context<'_>, by: By) -> Poll<io::Result<()>> {
        loop {
            ready!(self.write_chunk(cx, by))?;
            self.say();
            ready!(self.write_pending(cx, by))?;
            if !self.transport.load.has_outgoing() || !self.to_client.between_messages() {
                break;
            }
            let Some(chunk) = self.transport.load.take_outgoing() else { break };
            self.sending = Some(Sending { chunk, written: 0 });
        }
        self.drop_slow_path();
        Poll::Ready(Ok(()))
    }

    fn write_chunk(&mut self, cx: &mut Context<'_>, by: By) -> Poll<io::Result<()>> {
        while let Some(Sending { chunk, written }) = &mut self.sending {
            let rest = &chunk.bytes()[*written..];
            match Pin::new(&mut self.inner).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return self.broke(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    let passed = self.to_client.advance(&rest[..n]);
                    *written += n;
                    if n == rest.len() {
                        self.sending = None;
                    }
                    self.transport.load.taken(passed);
                    self.is_unflushed = true;
                    self.wrote(n);
                }
                Poll::Ready(Err(error)) => return self.broke(error),
                Poll::Pending => return self.stall(cx, by),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn write_pending(&mut self, cx: &mut Context<'_>, by: By) -> Poll<io::Result<()>> {
        while let Some(slow) = &mut self.slow
            && !slow.pending.is_empty()
        {
            match Pin::new(&mut self.inner).poll_write(cx, &slow.pending) {
                Poll::Ready(Ok(0)) => return self.broke(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    slow.pending.advance(n);
                    self.wrote(n);
                }
                Poll::Ready(Err(error)) => return self.broke(error),
                Poll::Pending => return self.stall(cx, by),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes and flushes what is ours, on the engine's reader. Also ready if it has to wait for a
    /// place between two frames of the engine: the engine's writer writes it then.
    pub(super) fn say_now(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_ours(cx, By::Reader))?;
        if self.is_unflushed || self.slow.as_ref().is_some_and(|slow| slow.unflushed) {
            match Pin::new(&mut self.inner).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed?;
                    self.flushed();
                }
                Poll::Pending => return self.stall(cx, By::Reader),
            }
        }
        if self.stalled.take().is_some() {
            // the engine's writer may wait as well, and was not woken
            self.transport.writer.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn flushed(&mut self) {
        self.is_unflushed = false;
        if let Some(slow) = &mut self.slow
            && std::mem::take(&mut slow.unflushed)
        {
            // the reading side waits for it
            self.transport.load.reader.wake();
            self.drop_slow_path();
        }
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
        if this.is_plain() {
            return this.pass(cx, bytes);
        }
        this.write_judged(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        ready!(this.write_ours(cx, By::Writer))?;
        match Pin::new(&mut this.inner).poll_flush(cx) {
            Poll::Pending => this.stall(cx, By::Writer),
            Poll::Ready(Err(error)) => this.broke(error),
            Poll::Ready(Ok(())) => {
                this.flushed();
                this.caught_up();
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.transport.is_killed() {
            return Poll::Ready(Ok(())); // a broken connection needs no goodbye
        }
        ready!(this.write_ours(cx, By::Writer))?;
        match Pin::new(&mut this.inner).poll_shutdown(cx) {
            Poll::Pending => this.stall(cx, By::Writer),
            Poll::Ready(done) => Poll::Ready(done),
        }
    }
}
