//! The clients: many websockets on one thread.
//!
//! One edge-triggered poll, no task and no future for a socket, one buffer for all reads. What a
//! scenario sends while it handles a batch of events leaves in one write for each socket.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{client::Client, result::Result};

/// How many handshakes are under way at once.
const HANDSHAKES: usize = 128;
/// How long all clients together may take to connect.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connected clients, by number.
pub struct Fleet {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    dirty: Vec<usize>,
    scratch: Box<[u8]>,
    ready: usize,
}

impl Fleet {
    /// Connects `count` clients; `address` says to whom, `auth` gives the CONNECT payload of each.
    ///
    /// # Errors
    /// If one is refused, hears something else, or not all are connected within a minute.
    pub fn connect(
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
        self.clients.push(Client::new(stream));
        Ok(())
    }

    /// Puts a packet into the queue of a client. It leaves with [`Fleet::flush`].
    pub fn send(&mut self, client: usize, packet: &[u8]) {
        if self.clients[client].queue(packet) {
            self.dirty.push(client);
        }
    }

    /// Writes what was queued.
    ///
    /// # Errors
    /// If a connection is broken.
    pub fn flush(&mut self) -> Result<()> {
        for client in self.dirty.drain(..) {
            self.clients[client].flush()?;
        }
        Ok(())
    }

    /// Waits for packets of the server, at most `timeout`, and gives each to `take`.
    ///
    /// # Errors
    /// If a connection is broken or closed, or `take` says so.
    pub fn receive(
        &mut self,
        timeout: Duration,
        take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.turn(timeout, &|_| String::new(), take)
    }

    /// Waits for `length` and answers heartbeats.
    ///
    /// # Errors
    /// As [`Fleet::receive`], and if a client gets an event.
    pub fn stay_silent(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.receive(Duration::from_millis(50), |client, _| {
                Err(format!("client {client} got an event that nobody sent").into())
            })?;
        }
        Ok(())
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
            let before = client.is_ready();
            client
                .on_event(event, &mut self.scratch, || auth(number), |packet| take(number, packet))
                .map_err(|error| format!("client {number}: {error}"))?;
            self.ready += usize::from(!before && client.is_ready());
        }
        Ok(())
    }
}
