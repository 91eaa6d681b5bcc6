//! Clients that are cut, come back, and ask for their sessions: many on one thread.
//!
//! Each keeps what the official client keeps, the session's secret and the offset of the last event,
//! and says both when it comes back.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{client::Client, message, result::Result};

/// How many handshakes are under way at once: fewer than a server keeps waiting that is accepting
/// as fast as it can.
const HANDSHAKES: usize = 512;
/// How long all clients together may take to connect.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a client hears.
pub enum Heard<'a> {
    /// It is connected; whether to its former session.
    Joined(bool),
    /// A packet of the namespace.
    Event(&'a [u8]),
}

struct Traveller {
    /// None while it is away.
    connection: Option<Client>,
    is_joined: bool,
    /// What it says in CONNECT beside its session, without the closing brace.
    auth: String,
    session: String,
    secret: String,
    offset: String,
}

/// Clients, by number.
pub struct Returning {
    poll: Poll,
    events: Events,
    scratch: Box<[u8]>,
    address: SocketAddr,
    clients: Vec<Traveller>,
    joined: usize,
}

impl Returning {
    /// Clients of the server at this address, none of them connected. `auth` is what each says in
    /// CONNECT: an object that is not empty.
    ///
    /// # Errors
    /// If the system has no poll.
    pub fn new(address: SocketAddr, auth: impl IntoIterator<Item = String>) -> Result<Self> {
        let open = |auth: String| auth.strip_suffix('}').unwrap_or_default().to_owned();
        let client = |auth| Traveller {
            connection: None,
            is_joined: false,
            auth: open(auth),
            session: String::new(),
            secret: String::new(),
            offset: String::new(),
        };
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            scratch: vec![0; 1 << 18].into(),
            address,
            clients: auth.into_iter().map(client).collect(),
            joined: 0,
        })
    }

    /// How many are connected.
    #[must_use]
    pub fn joined(&self) -> usize {
        self.joined
    }

    /// Connects all that are away and below `count`, some at a time, and gives what is heard to
    /// `take`.
    ///
    /// # Errors
    /// As [`Returning::receive`], and if not all are connected within two minutes.
    pub fn connect_all(
        &mut self,
        count: usize,
        mut take: impl FnMut(usize, Heard<'_>) -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let away: Vec<usize> =
            (0..count).filter(|client| self.clients[*client].connection.is_none()).collect();
        let due = self.joined + away.len();
        let mut away = away.into_iter();
        let mut under_way = 0;
        while self.joined < due {
            for client in away.by_ref().take(HANDSHAKES - under_way) {
                self.connect(client)?;
                under_way += 1;
            }
            self.receive(Duration::from_millis(100), |client, heard| {
                under_way -= usize::from(matches!(heard, Heard::Joined(_)));
                take(client, heard)
            })?;
            if Instant::now() > deadline {
                return Err(format!("only {} of {due} clients connected", self.joined).into());
            }
        }
        Ok(())
    }

    /// A client that is away begins to come back.
    ///
    /// # Errors
    /// If it cannot.
    pub fn connect(&mut self, client: usize) -> Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(client), interest)?;
        self.clients[client].connection = Some(Client::new(stream, false));
        Ok(())
    }

    /// The connection of a client ends without a word.
    pub fn cut(&mut self, client: usize) {
        let client = &mut self.clients[client];
        client.connection = None;
        self.joined -= usize::from(std::mem::take(&mut client.is_joined));
    }

    /// Sends a packet of a client that is connected.
    ///
    /// # Errors
    /// If its connection is broken.
    pub fn send(&mut self, client: usize, packet: &[u8]) -> Result<()> {
        let connection = self.clients[client].connection.as_mut().ok_or("a sender is away")?;
        connection.queue(packet);
        connection.flush()
    }

    /// Waits for packets of the server, at most `timeout`, and gives each to `take`.
    ///
    /// # Errors
    /// If a connection is broken or closed by the server, or `take` says so.
    pub fn receive(
        &mut self,
        timeout: Duration,
        mut take: impl FnMut(usize, Heard<'_>) -> Result<()>,
    ) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let number = event.token().0;
            let client = &mut self.clients[number];
            let Some(mut connection) = client.connection.take() else { continue };
            let auth = client.auth_now();
            let heard = connection.on_event(
                event,
                &mut self.scratch,
                || auth.clone(),
                |packet| {
                    if !packet.starts_with(b"40") {
                        if let Some(offset) = message::offset(packet) {
                            client.offset.clear();
                            client.offset.push_str(offset);
                        }
                        return take(number, Heard::Event(packet));
                    }
                    client.is_joined = true;
                    self.joined += 1;
                    let is_back = client.joins(packet)?;
                    take(number, Heard::Joined(is_back))
                },
            );
            heard.map_err(|error| format!("client {number}: {error}"))?;
            client.connection = Some(connection);
        }
        Ok(())
    }
}

impl Traveller {
    fn auth_now(&self) -> String {
        let Self { auth, secret, offset, is_joined, .. } = self;
        match (is_joined, &**secret, &**offset) {
            // It will not be asked for.
            (true, _, _) => String::new(),
            (_, "", _) => format!("{auth}}}"),
            (_, secret, "") => format!(r#"{auth},"pid":"{secret}"}}"#),
            (_, secret, offset) => format!(r#"{auth},"pid":"{secret}","offset":"{offset}"}}"#),
        }
    }

    /// Reads the answer to CONNECT. Returns whether the session is the former one.
    fn joins(&mut self, packet: &[u8]) -> Result<bool> {
        let packet = std::str::from_utf8(packet)?;
        let member = |name: &str| {
            let (_, rest) = packet.split_once(&format!(r#""{name}":""#))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let session = member("sid").ok_or_else(|| format!("no session in {packet}"))?;
        let is_back = self.session == session;
        self.session = session;
        self.secret = member("pid").unwrap_or_default();
        if !is_back {
            self.offset.clear();
        }
        Ok(is_back)
    }
}
