//! The packet that ends the engine's timer for a session that has joined no namespace: see
//! [`crate::sockets::farewell`].

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use socketioxide_core::Sid;

use super::Transports;
use crate::edge::{frames, inbound::Format, transport::Transport};

/// The packet that ends the engine's timer for a session that has joined no namespace, in each form
/// of a client's packets.
#[derive(Debug)]
pub(super) struct Farewell {
    namespace: Box<str>,
    frame: Bytes,
    packet: Bytes,
    format: Format,
}

impl Transports {
    /// Sets the packet that ends the engine's timer for a session that has joined no namespace:
    /// text, or binary. Called once, before there are sessions.
    pub(crate) fn set_farewell(&self, namespace: &str, packet: &[u8], is_text: bool) {
        let opcode = if is_text { frames::TEXT } else { frames::BINARY };
        let mut frame = Vec::with_capacity(packet.len() + 14);
        let packet = match is_text {
            true => [b"4", packet].concat(),
            false => packet.to_vec(),
        };
        frames::client_frame(opcode, &packet, &mut frame);
        let packet = match is_text {
            true => packet,
            false => format!("b{}", BASE64.encode(packet)).into_bytes(),
        };
        let (namespace, frame, packet) = (namespace.into(), frame.into(), packet.into());
        let format = if is_text { Format::Text } else { Format::Binary };
        let farewell = Farewell { namespace, frame, packet, format };
        let _ = self.shared.farewell.set(farewell);
    }

    /// The form of packets.
    pub(in crate::edge) fn format(&self) -> Format {
        self.shared.farewell.get().map_or(Format::Unknown, |farewell| farewell.format)
    }

    /// The engine has heard the farewell of this session.
    pub(crate) fn farewell_heard(&self, sid: Sid) {
        if let Some(transport) = self.get(sid) {
            transport.farewell_heard();
        }
    }

    /// The packet that the engine reads before a websocket ends, as a frame.
    pub(in crate::edge) fn farewell_frame(&self, transport: &Transport) -> Option<Bytes> {
        let farewell = self.shared.farewell.get().filter(|_| transport.needs_farewell())?;
        transport.expect_farewell_answer();
        Some(farewell.frame.clone())
    }

    /// The same packet as the body of a request.
    pub(in crate::edge) fn farewell_body(&self, transport: &Transport) -> Option<Bytes> {
        let farewell = self.shared.farewell.get().filter(|_| transport.needs_farewell())?;
        transport.expect_farewell_answer();
        Some(farewell.packet.clone())
    }

    /// Whether the engine answers the farewell in this packet.
    pub(in crate::edge) fn takes_farewell_answer(
        &self,
        transport: &Transport,
        packet: &[u8],
    ) -> bool {
        transport.takes_farewell_answer(|| {
            self.shared.farewell.get().is_some_and(|farewell| {
                let name = farewell.namespace.as_bytes();
                packet.windows(name.len()).any(|part| part == name)
            })
        })
    }
}
