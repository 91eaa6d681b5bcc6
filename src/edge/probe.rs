//! The server's side of an upgrade from polling. `2probe` is answered with `3probe`, and `5`, with
//! or without a probe before it, is the client's decision. Until then the session stays as it is.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    frames::{self, Header},
    transport::{Phase, Transport},
};

/// One websocket's exclusive claim on a polling session, whose phase is [`Phase::Probing`] then. If
/// it is dropped, the session goes back to polling, unless the websocket took over.
pub(super) struct Claim<'a> {
    transport: &'a Transport,
    held: bool,
}

impl<'a> Claim<'a> {
    /// A claim that is not taken yet.
    pub(super) fn on(transport: &'a Transport) -> Self {
        Self { transport, held: false }
    }

    /// Takes the claim. An error if another websocket has it, or the session is no longer polling.
    fn take(&mut self) -> io::Result<()> {
        self.held |= self.transport.shift(Phase::Polling, Phase::Probing);
        if self.held { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) }
    }

    /// The websocket is the session's transport from now on. `false` if the claim was not taken.
    pub(super) fn take_over(&mut self) -> bool {
        let taken = std::mem::take(&mut self.held)
            && self.transport.shift(Phase::Probing, Phase::Websocket);
        self.transport.announce();
        taken
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.held {
            self.transport.shift(Phase::Probing, Phase::Polling);
            self.transport.announce();
        }
    }
}

/// Runs the probe and returns the bytes that the client has sent after its decision.
///
/// The client's first word takes the claim. An error if the client closes or says anything else, or
/// if another websocket has the claim.
///
/// Takes as long as the client takes, so it needs a timeout.
pub(super) async fn run<S>(io: &mut S, claim: &mut Claim<'_>) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut unread = Vec::with_capacity(64);
    loop {
        let (opcode, payload) = next_frame(io, &mut unread).await?;
        match (opcode, &payload[..]) {
            (frames::TEXT, b"2probe") => {
                claim.take()?;
                send(io, frames::TEXT, b"3probe").await?;
                // After the answer, so that the client has it before its poll ends. Otherwise it
                // would poll again and wait for that poll.
                claim.transport.announce();
            }
            (frames::TEXT, b"5") => {
                claim.take()?;
                return Ok(unread);
            }
            (frames::PING, payload) => send(io, frames::PONG, payload).await?,
            (frames::PONG, _) => {}
            (frames::CLOSE, _) => return Err(io::ErrorKind::ConnectionAborted.into()),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Reads a whole frame. All words of a probe fit into the shortest kind; a longer frame is an
/// error.
async fn next_frame<S>(io: &mut S, unread: &mut Vec<u8>) -> io::Result<(u8, Vec<u8>)>
where
    S: AsyncRead + Unpin,
{
    loop {
        if let Some(header) = Header::parse(unread) {
            let (Some(mask), true) = (header.mask, header.fin) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            if header.payload > frames::CONTROL_PAYLOAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if unread.len() >= header.total() {
                let after = unread.split_off(header.total());
                let mut payload = std::mem::replace(unread, after).split_off(header.len);
                frames::mask(&mut payload, mask);
                return Ok((header.opcode, payload));
            }
        }
        let mut chunk = [0; 512];
        match io.read(&mut chunk).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => unread.extend_from_slice(&chunk[..n]),
        }
    }
}

async fn send<S: AsyncWrite + Unpin>(io: &mut S, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(payload.len() + 2);
    frames::server_frame(opcode, payload, &mut frame);
    io.write_all(&frame).await?;
    io.flush().await
}
