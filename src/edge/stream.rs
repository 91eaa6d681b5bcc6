//! The stream that the engine takes for its client's connection. The edge has the client's side of
//! the websocket: the engine sees whole messages, and nothing else of the protocol.
//!
//! To the engine ([`reading`]): frames become messages, each is put into a form that the engine
//! reads, pings are answered here, and what no client may send ends the connection. The client is
//! not read from while too much waits because of it, or while what we say to it waits.
//!
//! To the client ([`writing`]): in the steady state bytes pass through, and of each frame only the
//! header is looked at. While the [`Wire`] has an interest, whole frames are gathered and judged. A
//! client that reads too slowly has its wire cut.
//!
//! Buffers are there while they are needed: an idle connection has none.

mod messages;
mod reading;
mod writing;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use messages::Messages;

use super::{
    frames::{self, Tracker},
    inbound::Reader,
    stall::{Patience, Stall},
    transport::Wire,
    transports::Wires,
};
use reading::{Ending, Held, Pause};

/// How much a client may send, and how slowly it may read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes of a message.
    pub(super) max_message: usize,
    /// How slowly it may read.
    pub(super) patience: Patience,
    /// For the client to join its first namespace.
    pub(super) connect_timeout: Duration,
    /// How long the engine waits for the answer to its ping.
    pub(super) ping_timeout: Duration,
}

/// What was said before the engine has the stream.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// The engine reads this first: whole frames.
    pub(super) to_engine: Vec<u8>,
    /// What has been read from the client already.
    pub(super) from_client: Vec<u8>,
    /// The client gets this first: whole frames.
    pub(super) to_client: Vec<u8>,
}

/// A client's connection, as the engine sees it.
pub(super) struct EdgeIo<S> {
    inner: S,
    wire: Arc<Wire>,
    wires: Wires,
    pace: Arc<Pace>,
    to_client: Tracker,
    to_engine: Tracker,
    messages: Messages,
    reader: Reader,
    /// What the engine reads next, before anything that comes from the client.
    ready: VecDeque<Bytes>,
    /// Only until the engine has heard what comes before.
    held: Option<Box<Held>>,
    /// Read from the client, and not looked at yet.
    unread: Vec<u8>,
    /// Only while there is something to look at, or of ours to say.
    slow: Option<Box<Slow>>,
    /// Only while the client does not take what is written.
    stalled: Option<Box<Stall>>,
    /// Only while the client is not read from.
    paused: Option<Box<Pause>>,
    /// The client has said its last.
    ending: Option<Box<Ending>>,
    /// Of the bytes that the engine wants to write, some have had to wait since it was last done.
    was_blocked: bool,
    written: u64,
}

#[derive(Default)]
struct Slow {
    /// The beginning of a frame to the client that is not whole yet.
    gathered: Vec<u8>,
    /// Judged, and taken from the engine, but not written yet. What we say goes here, too.
    pending: BytesMut,
    /// The answer to the client's last ping. Those before it need none (RFC 6455, section 5.5.3).
    pong: Option<Vec<u8>>,
    /// A close frame of ours.
    close: Option<Vec<u8>>,
    /// Something of ours is written and not flushed.
    unflushed: bool,
}

impl Slow {
    fn is_empty(&self) -> bool {
        self.gathered.is_empty() && !self.has_to_write()
    }

    /// Whether what we say to the client waits.
    fn has_to_write(&self) -> bool {
        !self.pending.is_empty() || self.pong.is_some() || self.close.is_some() || self.unflushed
    }
}

impl<S> EdgeIo<S> {
    pub(super) fn new(
        inner: S,
        wire: Arc<Wire>,
        wires: Wires,
        pace: Arc<Pace>,
        before: Before,
    ) -> Self {
        let mut reader = wire.take_reader();
        reader.tell(wires.connects());
        let mut io = Self {
            inner,
            wire,
            wires,
            messages: Messages::new(pace.max_message),
            pace,
            to_client: Tracker::default(),
            to_engine: Tracker::default(),
            reader,
            ready: VecDeque::new(),
            held: None,
            unread: before.from_client,
            slow: None,
            stalled: None,
            paused: None,
            ending: None,
            was_blocked: false,
            written: 0,
        };
        if !before.to_engine.is_empty() {
            io.ready.push_back(before.to_engine.into());
        }
        if !before.to_client.is_empty() {
            io.slow.get_or_insert_default().pending.extend_from_slice(&before.to_client);
        }
        io
    }

    fn check(&self) -> io::Result<()> {
        if self.wire.is_killed() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    fn drop_slow_path(&mut self) {
        if self.slow.as_ref().is_some_and(|slow| slow.is_empty()) && !self.wire.has_interest() {
            self.slow = None;
        }
    }

    /// The engine hears this in the client's name.
    fn answer(&mut self, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + 6);
        frames::client_frame(frames::TEXT, payload, &mut frame);
        self.ready.push_back(frame.into());
        self.wire.reader.wake();
    }
}

#[cfg(any(test, fuzzing))]
impl<S> EdgeIo<S> {
    /// The connection itself.
    pub(super) fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S> Drop for EdgeIo<S> {
    fn drop(&mut self) {
        self.wire.load.holds(0, self.messages.held());
        self.wires.stream_ended(&self.wire);
    }
}

#[cfg(test)]
#[path = "stream/tests.rs"]
mod tests;
