//! The clients: many websockets on one thread.
//!
//! One edge-triggered poll, no task and no future for a socket, one buffer for all reads. What a
//! scenario sends while it handles a batch of events leaves in one write for each socket.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{client::Client, polling::Poller, result::Result};

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

/// How clients connect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// By polling, and then they upgrade.
    pub polls: bool,
    /// With the headers that a browser sends.
    pub browser: bool,
}

impl Fleet {
    /// Nobody yet.
    ///
    /// # Errors
    /// If the system has no poll.
    pub fn new() -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::new(),
            dirty: Vec::new(),
            scratch: vec![0; 1 << 18].into(),
            ready: 0,
        })
    }

    /// Connects `count` clients more; `address` says to whom, `auth` gives the CONNECT payload of each.
    ///
    /// # Errors
    /// If one is refused, hears something else, or not all are connected within a minute.
    pub fn connect(
        &mut self,
        way: Way,
        address: &(dyn Fn(usize) -> SocketAddr + Sync),
        count: usize,
        auth: &(dyn Fn(usize) -> String + Sync),
    ) -> Result<()> {
        let all = self.clients.len() + count;
        if way.polls {
            for stream in upgraded(self.clients.len()..all, way.browser, address, auth)? {
                stream.set_nonblocking(true)?;
                self.add(TcpStream::from_std(stream), Client::connected)?;
                self.ready += 1;
            }
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        while self.ready < all {
            while self.clients.len() < all.min(self.ready + HANDSHAKES) {
                let stream = TcpStream::connect(address(self.clients.len()))?;
                self.add(stream, |stream| Client::new(stream, way.browser))?;
            }
            let unexpected = |client: usize, packet: &[u8]| {
                let packet = String::from_utf8_lossy(packet);
                Err(format!("client {client} got {packet:?} before all were connected").into())
            };
            self.turn(Duration::from_millis(100), auth, unexpected)?;
            if Instant::now() > deadline {
                return Err(format!("only {} of {all} clients connected", self.ready).into());
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        mut stream: TcpStream,
        client: impl FnOnce(TcpStream) -> Client,
    ) -> Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(self.clients.len()), interest)?;
        self.clients.push(client(stream));
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
                .on_event(
                    event,
                    &mut self.scratch,
                    || auth(number),
                    |packet| if packet.starts_with(b"40") { Ok(()) } else { take(number, packet) },
                )
                .map_err(|error| format!("client {number}: {error}"))?;
            self.ready += usize::from(!before && client.is_ready());
        }
        Ok(())
    }
}

/// The websockets of clients that have begun by polling. Some servers let each wait for a tenth of a
/// second, so many threads connect them.
fn upgraded(
    clients: Range<usize>,
    browser: bool,
    address: &(dyn Fn(usize) -> SocketAddr + Sync),
    auth: &(dyn Fn(usize) -> String + Sync),
) -> Result<Vec<std::net::TcpStream>> {
    let one = |client| {
        let poller = Poller::connect(address(client), browser, &auth(client))?;
        poller.upgrade()
    };
    let some = |thread| {
        let all = clients.clone().skip(thread).step_by(HANDSHAKES).map(one);
        all.collect::<Result<Vec<_>>>().map_err(|error| error.to_string())
    };
    let streams = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..HANDSHAKES).map(|thread| scope.spawn(move || some(thread))).collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(streams) => streams,
            Err(_) => Err("a thread that connects clients has panicked".to_owned()),
        });
        ended.collect::<Result<Vec<_>, String>>()
    })?;
    Ok(streams.into_iter().flatten().collect())
}
