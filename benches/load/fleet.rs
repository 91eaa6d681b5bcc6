//! The clients: many websockets on one thread.
//!
//! One edge-triggered poll, no task and no future for a socket, one buffer for all reads. What a
//! scenario sends while it handles a batch of events leaves in one write for each socket.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream};

use crate::{Result, wire};

/// How many handshakes are under way at once.
const HANDSHAKES: usize = 128;
/// How long all clients together may take to connect.
const PATIENCE: Duration = Duration::from_secs(60);

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

struct Client {
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

pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    dirty: Vec<usize>,
    scratch: Box<[u8]>,
    ready: usize,
}

impl Fleet {
    /// Connects `count` clients; `address` says to whom, `auth` gives the CONNECT payload of each.
    pub(crate) fn connect(
        address: &dyn Fn(usize) -> SocketAddr,
        count: usize,
        auth: &dyn Fn(usize) -> String,
    ) -> Result<Self> {
        let mut fleet = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::with_capacity(count),
            dirty: Vec::new(),
            scratch: vec![0; 1 << 18].into(),
            ready: 0,
        };
        let deadline = Instant::now() + PATIENCE;
        while fleet.ready < count {
            while fleet.clients.len() < count.min(fleet.ready + HANDSHAKES) {
                fleet.add(address(fleet.clients.len()))?;
            }
            let unexpected = |client: usize, packet: &[u8]| {
                let packet = String::from_utf8_lossy(packet);
                Err(format!("client {client} got {packet:?} before all were connected").into())
            };
            fleet.turn(Duration::from_millis(100), auth, unexpected)?;
            if Instant::now() > deadline {
                return Err(format!("only {} of {count} clients connected", fleet.ready).into());
            }
        }
        Ok(fleet)
    }

    fn add(&mut self, address: SocketAddr) -> Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(self.clients.len()), interest)?;
        self.clients.push(Client {
            stream,
            state: State::Upgrading,
            input: Vec::new(),
            output: wire::UPGRADE.to_vec(),
            // Written when the connection is there.
            blocked: true,
            dirty: false,
        });
        Ok(())
    }

    /// Puts a packet into the queue of a client. It leaves with [`Fleet::flush`].
    pub(crate) fn send(&mut self, client: usize, packet: &[u8]) {
        let sender = &mut self.clients[client];
        wire::put_frame(&mut sender.output, packet);
        if !std::mem::replace(&mut sender.dirty, true) {
            self.dirty.push(client);
        }
    }

    /// Writes what was queued.
    pub(crate) fn flush(&mut self) -> Result<()> {
        for client in self.dirty.drain(..) {
            let client = &mut self.clients[client];
            client.dirty = false;
            if !client.blocked {
                client.flush()?;
            }
        }
        Ok(())
    }

    /// Waits for packets of the server, at most `timeout`, and gives each to `take`.
    pub(crate) fn receive(
        &mut self,
        timeout: Duration,
        take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.turn(timeout, &|_| String::new(), take)
    }

    fn turn(
        &mut self,
        timeout: Duration,
        auth: &dyn Fn(usize) -> String,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let number = event.token().0;
            let client = &mut self.clients[number];
            let before = client.state;
            client
                .on_event(event, &mut self.scratch, || auth(number), |packet| take(number, packet))
                .map_err(|error| format!("client {number}: {error}"))?;
            if before != State::Ready && client.state == State::Ready {
                self.ready += 1;
            }
        }
        Ok(())
    }
}

impl Client {
    fn on_event(
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
            self.flush()?;
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
        while let Some((packet, length)) = wire::next_frame(&bytes[used..])? {
            used += length;
            match (self.state, packet.first()) {
                (_, Some(b'2')) => wire::put_frame(&mut self.output, b"3"),
                (State::Opening, Some(b'0')) => {
                    self.state = State::Joining;
                    wire::put_frame(&mut self.output, format!("40{}", auth()).as_bytes());
                }
                (State::Joining, _) if packet.starts_with(b"40") => self.state = State::Ready,
                (State::Ready, Some(b'4')) => take(packet)?,
                _ => {
                    let packet = String::from_utf8_lossy(packet);
                    return Err(format!("unexpected packet {packet:?}").into());
                }
            }
        }
        Ok(used)
    }

    fn flush(&mut self) -> Result<()> {
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
