//! The stream that the engine takes for its client's connection. The edge keeps the client's side
//! of the websocket: the engine sees whole messages, and nothing else of the protocol.
//!
//! To the engine ([`taking`]): frames become messages in a form that the engine reads, and plain events go
//! past it. Pings are answered here, and a violation of the protocol ends the connection. The client is
//! not read from ([`reading`]) while too much waits because of it, or while our own words to it wait.
//!
//! To the client ([`writing`]): in the ordinary case the engine's bytes pass through, and only the
//! header of each frame is looked at. While an answer to a CONNECT or the like is expected, whole
//! frames are gathered and judged. Between the engine's frames go those that were appended past it
//! ([`outgoing`](super::outgoing)). A client that reads too slowly is cut.
//!
//! Buffers exist only while they are needed: an idle connection has none.

mod messages;
mod reading;
mod taking;
mod writing;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use messages::Messages;

use super::{
    frames::{self, Tracker},
    inbound::Reader,
    stall::{Patience, Stall},
    transport::Transport,
    transports::Transports,
};
use reading::{Ending, Held, Pause};
use writing::Sending;

/// The most that a client may send, and its slowest reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Largest message, in bytes.
    pub(super) max_message: usize,
    /// The slowest allowed reading.
    pub(super) patience: Patience,
    /// The time for the client to join its first namespace.
    pub(super) connect_timeout: Duration,
    /// How long the engine waits for the answer to its ping.
    pub(super) ping_timeout: Duration,
}

/// Bytes from before the engine has the stream.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Whole frames that the engine reads first.
    pub(super) to_engine: Vec<u8>,
    /// Bytes that were already read from the client.
    pub(super) from_client: Vec<u8>,
    /// Whole frames that the client gets first.
    pub(super) to_client: Vec<u8>,
}

/// A client's connection, as the engine sees it.
pub(super) struct EdgeIo<S> {
    inner: S,
    transport: Arc<Transport>,
    transports: Transports,
    pace: Arc<Pace>,
    to_client: Tracker,
    to_engine: Tracker,
    messages: Messages,
    reader: Reader,
    /// Bytes that the engine reads next, before any from the client.
    ready: VecDeque<Bytes>,
    /// Set only until the engine has heard the farewell before it.
    held: Option<Box<Held>>,
    /// Read from the client, and not looked at yet.
    unread: Vec<u8>,
    /// Frames past the engine, while they are written.
    sending: Option<Sending>,
    /// Set only while frames are looked at, or our own words wait.
    slow: Option<Box<Slow>>,
    /// Set only while the client does not take written bytes.
    stalled: Option<Box<Stall>>,
    /// Set only while the client is not read from.
    paused: Option<Box<Pause>>,
    /// Set once the client has said its last word.
    ending: Option<Box<Ending>>,
    /// Some of the engine's bytes have had to wait since everything was last written.
    was_blocked: bool,
    /// Frames past the engine are written and not flushed.
    is_unflushed: bool,
    written: u64,
}

#[derive(Default)]
struct Slow {
    /// The beginning of an incomplete frame to the client.
    gathered: Vec<u8>,
    /// Judged frames that are taken from the engine and not written yet, and our own words.
    pending: BytesMut,
    /// The answer to the client's last ping. Those before it need none (RFC 6455, section 5.5.3).
    pong: Option<Vec<u8>>,
    /// A close frame of ours.
    close: Option<Vec<u8>>,
    /// Some of our own words are written and not flushed.
    unflushed: bool,
}

impl Slow {
    fn is_empty(&self) -> bool {
        self.gathered.is_empty() && !self.has_to_write()
    }

    /// Whether our own words to the client wait.
    fn has_to_write(&self) -> bool {
        !self.pending.is_empty() || self.pong.is_some() || self.close.is_some() || self.unflushed
    }
}

impl<S> EdgeIo<S> {
    pub(super) fn new(
        inner: S,
        transport: Arc<Transport>,
        transports: Transports,
        pace: Arc<Pace>,
        before: Before,
    ) -> Self {
        let mut reader = transport.take_reader();
        reader.tell(transports.connects());
        reader.hear(transports.answers_of(&transport));
        reader.expect(transports.format());
        let mut io = Self {
            inner,
            transport,
            transports,
            messages: Messages::new(pace.max_message),
            pace,
            to_client: Tracker::default(),
            to_engine: Tracker::default(),
            reader,
            ready: VecDeque::new(),
            held: None,
            unread: before.from_client,
            sending: None,
            slow: None,
            stalled: None,
            paused: None,
            ending: None,
            was_blocked: false,
            is_unflushed: false,
            written: 0,
        };
        if !io.transport.v3 {
            io.transport.load.open_outgoing(io.transport.polling.is_some());
        }
        if !before.to_engine.is_empty() {
            io.ready.push_back(before.to_engine.into());
        }
        if !before.to_client.is_empty() {
            io.slow.get_or_insert_default().pending.extend_from_slice(&before.to_client);
        }
        io
    }

    fn check(&self) -> io::Result<()> {
        if self.transport.is_killed() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    fn drop_slow_path(&mut self) {
        if self.slow.as_ref().is_some_and(|slow| slow.is_empty())
            && !self.transport.expects_anything()
        {
            self.slow = None;
        }
    }

    /// Gives the engine an answer in the client's name.
    fn answer(&mut self, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + 6);
        frames::client_frame(frames::TEXT, payload, &mut frame);
        self.ready.push_back(frame.into());
        self.transport.load.reader.wake();
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
        self.transport.load.holds(0, self.messages.held());
        self.transport.load.close_outgoing();
        self.transports.stream_ended(&self.transport);
    }
}

#[cfg(test)]
#[path = "stream/tests.rs"]
mod tests;
