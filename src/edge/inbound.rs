//! What a client sends, in the form in which the engine can read it.
//!
//! Socket.IO allows more than the engine and its parser read. A [`Reader`] is shown each whole
//! Engine.IO packet of one client, by whichever transport it came, and says what the engine is to
//! read in its place. Nearly all packets pass as they are, after a look at their beginning.
//!
//! Pure: it decides by the packet and by the packets before it, and does nothing itself.

use bytes::Bytes;

/// What the engine is to read in the place of a packet of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inbound {
    /// The packet as it came.
    Pass,
    /// This text packet, the type of Engine.IO included (`42["name"]`).
    Text(Vec<u8>),
    /// Binary that came as text. By a websocket this is the whole payload of a binary frame.
    Binary(Bytes),
    /// Nothing: the packet means nothing here, and does no harm.
    Ignore,
    /// Nothing any more: no server could make sense of this, and the session is closed.
    Close,
}

/// Reads the packets of one client, in the order in which it sent them. It goes with the session
/// from polling to a websocket: a packet's attachments may come by another transport than itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reader {
    /// Engine.IO 3.
    v3: bool,
}

impl Reader {
    pub(super) fn new(v3: bool) -> Self {
        Self { v3 }
    }

    /// A text packet: the payload of a text message on a websocket, or one packet of a body.
    pub(super) fn text(&mut self, _packet: &[u8]) -> Inbound {
        Inbound::Pass
    }

    /// The payload of a binary message on a websocket; in Engine.IO 3 the packet's type is its first
    /// byte.
    pub(super) fn binary(&mut self, _payload: &[u8]) -> Inbound {
        Inbound::Pass
    }
}
