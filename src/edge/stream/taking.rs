//! What has come from the client: bytes become messages, and each goes to the engine in a form that it can
//! read, or past it to the socket that it is for.

use bytes::Bytes;
use socketioxide_core::{Str, Value};
use tokio::io::ReadBuf;

use super::{
    super::{
        frames,
        inbound::{Inbound, PlainEvent},
        packets,
    },
    EdgeIo,
    messages::{Messages, Said},
};

/// "No status": an empty close frame, for a close without a reason.
const NO_STATUS: u16 = 1005;

/// "Invalid frame payload data": a text message that is no UTF-8.
const NOT_TEXT: u16 = 1007;

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

impl<S> EdgeIo<S> {
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
    pub(super) fn take(&mut self, mut bytes: &mut [u8], buf: &mut ReadBuf<'_>) -> bool {
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
}
