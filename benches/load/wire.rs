//! Bytes: websocket frames, and the packets of the scenarios.
//!
//! As little work for each message as can be: packets are put together from constant parts, and one
//! that comes in is compared with what it must be, byte for byte, not parsed as JSON.

use crate::Result;

/// The request that opens a websocket. The server's answer to the key is not checked.
pub(crate) const UPGRADE: &[u8] = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n\
    Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What follows the number in the argument `{"n":<number>,"p":"…"}` of every message: it fills the
/// argument up to about 64 bytes.
const PADDING: &str = r#","p":"the quick brown fox jumps over the lazy dog"}"#;

/// Appends a text frame, masked with zeros as far as the protocol allows it.
pub(crate) fn put_frame(out: &mut Vec<u8>, text: &[u8]) {
    out.push(0x81);
    match u16::try_from(text.len()) {
        Ok(length @ 0..126) => out.push(0x80 | length.to_le_bytes()[0]),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => unreachable!("no scenario sends messages of this size"),
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text);
}

/// The payload of the first frame in `bytes`, and the frame's whole length; none if it has not
/// arrived completely.
///
/// # Errors
/// If the frame is not a complete text message: a server has no reason to send anything else.
pub(crate) fn next_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    match first {
        0x81 => {}
        0x88 => return Err("the server closed a websocket".into()),
        _ => return Err(format!("unexpected frame, first byte {first:#x}").into()),
    }
    let (length, header) = match (second, rest) {
        (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 4),
        (126, _) => return Ok(None),
        (length @ 0..126, _) => (usize::from(*length), 2),
        _ => return Err("a frame is too large or masked".into()),
    };
    Ok(bytes.get(header..header + length).map(|payload| (payload, header + length)))
}

/// What is sent, and what comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `echo`, answered by its acknowledgement.
    Echo,
    /// `room:emit` to the group's room, delivered as event `m`.
    Room,
    /// `user:emit` to the group's user, delivered as event `m`.
    #[allow(dead_code, reason = "only benches/cluster, which shares this file, does it")]
    User,
    /// `events`, delivered to the sockets of the sender's user.
    Events,
}

impl Kind {
    /// The packet with number `number` of group `group`.
    pub(crate) fn packet(self, group: usize, number: u64) -> String {
        match self {
            Self::Echo => format!(r#"42{number}["echo",{{"n":{number}{PADDING}]"#),
            Self::Room => format!(
                r#"42["room:emit",{{"room":"r{group}","event":"m","data":{{"n":{number}{PADDING}}}]"#
            ),
            Self::User => format!(
                r#"42["user:emit",{{"userId":"u{group}","event":"m","data":{{"n":{number}{PADDING}}}]"#
            ),
            Self::Events => format!(r#"42["events",{{"n":{number}{PADDING}]"#),
        }
    }

    /// The number in a packet of the server; none if it is not exactly what it should be.
    pub(crate) fn number(self, packet: &[u8]) -> Option<u64> {
        let (head, acknowledged) = match self {
            Self::Echo => {
                let (id, rest) = number(packet.strip_prefix(b"43")?)?;
                (rest.strip_prefix(br#"[{"n":"#)?, Some(id))
            }
            Self::Room | Self::User => (packet.strip_prefix(br#"42["m",{"n":"#)?, None),
            Self::Events => (packet.strip_prefix(br#"42["events",{"n":"#)?, None),
        };
        let (number, rest) = number(head)?;
        let intact = rest.strip_prefix(PADDING.as_bytes()) == Some(b"]")
            && acknowledged.is_none_or(|id| id == number);
        intact.then_some(number)
    }
}

/// Reads a decimal number.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(length);
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let number = digits.iter().try_fold(0, add)?;
    (length > 0).then_some((number, rest))
}
