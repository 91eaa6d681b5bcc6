//! A Socket.IO client that begins by polling, and may upgrade: one that blocks.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{frame, result::Result};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection for requests, one after the other.
struct Http {
    stream: TcpStream,
    browser: bool,
}

impl Http {
    fn connect(address: SocketAddr, browser: bool) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, browser })
    }

    fn ask(&mut self, method: &str, target: &str, body: &str) -> Result<()> {
        let headers = if self.browser { frame::BROWSER } else { "" };
        let length = match body.len() {
            0 => String::new(),
            length => {
                format!("Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {length}\r\n")
            }
        };
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}");
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    /// The body of the answer, which must be one of success.
    fn answer(&mut self) -> Result<String> {
        let (head, mut body) = self.head()?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(format!("a poll was answered {head:?}").into());
        }
        let lower = head.to_ascii_lowercase();
        let Some((_, rest)) = lower.split_once("\r\ncontent-length: ") else {
            return self.chunks(body);
        };
        let length: usize = rest.split("\r\n").next().unwrap_or_default().trim().parse()?;
        while body.len() < length {
            self.read(&mut body)?;
        }
        Ok(String::from_utf8(body)?)
    }

    /// A body whose length is not known from the beginning.
    fn chunks(&mut self, mut input: Vec<u8>) -> Result<String> {
        let mut body = Vec::new();
        loop {
            let Some(end) = input.windows(2).position(|end| end == b"\r\n") else {
                self.read(&mut input)?;
                continue;
            };
            let length = usize::from_str_radix(str::from_utf8(&input[..end])?, 16)?;
            let whole = end + 2 + length + 2;
            while input.len() < whole {
                self.read(&mut input)?;
            }
            body.extend_from_slice(&input[end + 2..end + 2 + length]);
            input.drain(..whole);
            if length == 0 {
                return Ok(String::from_utf8(body)?);
            }
        }
    }

    /// The head of an answer, and what was read behind it.
    fn head(&mut self) -> Result<(String, Vec<u8>)> {
        let mut input = Vec::new();
        loop {
            if let Some(end) = input.windows(4).position(|end| end == b"\r\n\r\n") {
                let rest = input.split_off(end + 4);
                return Ok((String::from_utf8(input)?, rest));
            }
            self.read(&mut input)?;
        }
    }

    /// Sends a packet by websocket.
    fn say(&mut self, packet: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        frame::put_frame(&mut bytes, packet);
        Ok(self.stream.write_all(&bytes)?)
    }

    fn read(&mut self, input: &mut Vec<u8>) -> Result<()> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer)? {
            0 => Err("the server closed a connection".into()),
            length => {
                input.extend_from_slice(&buffer[..length]);
                Ok(())
            }
        }
    }
}

/// A client with two connections, as a browser has them: the answer to a poll may be far.
pub struct Poller {
    address: SocketAddr,
    polls: Http,
    posts: Http,
    target: String,
}

impl Poller {
    /// Connects to the namespace `/` and waits for the answer. `browser`: with a browser's headers.
    ///
    /// # Errors
    /// If the server refuses or is silent.
    pub fn connect(address: SocketAddr, browser: bool, auth: &str) -> Result<Self> {
        let mut polls = Http::connect(address, browser)?;
        polls.ask("GET", "/socket.io/?EIO=4&transport=polling", "")?;
        let open = polls.answer()?;
        let sid = open.split_once(r#""sid":""#).and_then(|(_, rest)| rest.split_once('"'));
        let (sid, _) = sid.ok_or_else(|| format!("no session in {open:?}"))?;
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let posts = Http::connect(address, browser)?;
        let mut poller = Self { address, polls, posts, target };
        poller.poll()?;
        poller.post(&format!("40{auth}"))?;
        poller.await_packet("40")?;
        Ok(poller)
    }

    /// Asks for packets.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn poll(&mut self) -> Result<()> {
        self.polls.ask("GET", &self.target, "")
    }

    /// Sends a packet; its answer is waited for by [`Self::await_packet`].
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn post(&mut self, packet: &str) -> Result<()> {
        self.posts.ask("POST", &self.target, packet)
    }

    /// Waits for a packet that begins so, asks for more until then, and hears that what was sent has
    /// arrived.
    ///
    /// # Errors
    /// If the server refuses or is silent.
    pub fn await_packet(&mut self, start: &str) -> Result<()> {
        while !self.polls.answer()?.split('\u{1e}').any(|packet| packet.starts_with(start)) {
            self.poll()?;
        }
        self.posts.answer().map(drop)
    }

    /// Goes on by websocket.
    ///
    /// # Errors
    /// If the server refuses or is silent.
    pub fn upgrade(mut self) -> Result<TcpStream> {
        self.poll()?;
        let mut websocket = Http::connect(self.address, self.polls.browser)?;
        let target = self.target.replace("=polling", "=websocket");
        websocket.stream.write_all(&frame::upgrade(&target, self.polls.browser))?;
        let (head, mut input) = websocket.head()?;
        if !head.starts_with("HTTP/1.1 101 ") {
            return Err(format!("an upgrade was answered {head:?}").into());
        }
        websocket.say(b"2probe")?;
        loop {
            match frame::next_frame(&input)? {
                Some((b"3probe", length)) if length == input.len() => break,
                Some((packet, _)) => {
                    let packet = String::from_utf8_lossy(packet);
                    return Err(format!("the probe was answered {packet:?}").into());
                }
                None => websocket.read(&mut input)?,
            }
        }
        // The poll is answered, so that nothing is lost in it.
        self.polls.answer()?;
        websocket.say(b"5")?;
        Ok(websocket.stream)
    }
}
