//! One websocket of a Socket.IO client: from the upgrade to the packets of its namespace.

use std::io::{ErrorKind, Read, Write};

use mio::{event::Event, net::TcpStream};

use crate::{frame, result::Result};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for the answer to the websocket upgrade.
    Upgrading,
    /// Waits for the open packet of Engine.IO.
    Opening,
    /// Waits for the connect packet of Socket.IO.
    Joining,
    Ready,
}

pub(crate) struct Client {
    stream: TcpStream,
    state: State,
    /// The start of a frame that has not arrived completely.
    input: Vec<u8>,
    output: Vec<u8>,
    /// Whether a flush waits for the stream to become writable.
    blocked: bool,
    /// Whether the client is in the list of those to flush.
    dirty: bool,
}

impl Client {
    /// One that opens a websocket, with a browser's headers or without.
    pub(crate) fn new(stream: TcpStream, browser: bool) -> Self {
        let target = "/socket.io/?EIO=4&transport=websocket";
        Self {
            stream,
            state: State::Upgrading,
            input: Vec::new(),
            output: frame::upgrade(target, browser),
            // Written when the connection is there.
            blocked: true,
            dirty: false,
        }
    }

    /// One whose websocket is open and whose namespace is connected.
    pub(crate) fn connected(stream: TcpStream) -> Self {
        Self {
            stream,
            state: State::Ready,
            input: Vec::new(),
            output: Vec::new(),
            blocked: false,
            dirty: false,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Takes a packet to write later; true if the caller has now to see to a [`Client::flush`].
    pub(crate) fn queue(&mut self, packet: &[u8]) -> bool {
        frame::put_frame(&mut self.output, packet);
        !std::mem::replace(&mut self.dirty, true)
    }

    /// Writes what was queued, unless the stream has first to become writable.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.dirty = false;
        if self.blocked { Ok(()) } else { self.write() }
    }

    /// Reads and writes what can be. `auth` is the payload of CONNECT; each packet of the namespace
    /// goes to `take`, the answer to CONNECT first.
    pub(crate) fn on_event(
        &mut self,
        event: &Event,
        scratch: &mut [u8],
        auth: impl Fn() -> String,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if event.is_readable() {
            loop {
                let length = match self.stream.read(scratch) {
                    Ok(0) => return Err("the server closed the connection".into()),
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                self.on_bytes(&scratch[..length], &auth, &mut take)?;
                // A read that does not fill the buffer has emptied the stream.
                if length < scratch.len() {
                    break;
                }
            }
        }
        if event.is_writable() && self.blocked || !self.output.is_empty() && !self.dirty {
            self.write()?;
        }
        Ok(())
    }

    fn on_bytes(
        &mut self,
        bytes: &[u8],
        auth: &impl Fn() -> String,
        take: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if self.input.is_empty() {
            let used = self.on_frames(bytes, auth, take)?;
            self.input.extend_from_slice(&bytes[used..]);
        } else {
            let mut input = std::mem::take(&mut self.input);
            input.extend_from_slice(bytes);
            let used = self.on_frames(&input, auth, take)?;
            input.drain(..used);
            self.input = input;
        }
        Ok(())
    }

    /// Handles all complete frames, and returns how many bytes they were.
    fn on_frames(
        &mut self,
        bytes: &[u8],
        auth: &impl Fn() -> String,
        take: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<usize> {
        let mut used = 0;
        if self.state == State::Upgrading {
            let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                let answer = String::from_utf8_lossy(bytes);
                return Err(format!("the server refused the websocket: {answer}").into());
            }
            self.state = State::Opening;
            used = end + 4;
        }
        while let Some((packet, length)) = frame::next_frame(&bytes[used..])? {
            used += length;
            match (self.state, packet.first()) {
                (_, Some(b'2')) => frame::put_frame(&mut self.output, b"3"),
                (State::Opening, Some(b'0')) => {
                    self.state = State::Joining;
                    frame::put_frame(&mut self.output, format!("40{}", auth()).as_bytes());
                }
                (State::Joining, _) if packet.starts_with(b"40") => {
                    self.state = State::Ready;
                    take(packet)?;
                }
                // Node.js says what was missed before it answers CONNECT.
                (State::Ready | State::Joining, Some(b'4')) => take(packet)?,
                _ => {
                    let packet = String::from_utf8_lossy(packet);
                    return Err(format!("unexpected packet {packet:?}").into());
                }
            }
        }
        Ok(used)
    }

    fn write(&mut self) -> Result<()> {
        let mut written = 0;
        self.blocked = false;
        while written < self.output.len() {
            match self.stream.write(&self.output[written..]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.output.drain(..written);
        Ok(())
    }
}
