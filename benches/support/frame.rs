//! The bytes of a websocket: the request that opens it, and its frames (RFC 6455, section 5.2).

use crate::result::Result;

/// The request that opens a websocket. The server's answer to the key is not checked.
pub(crate) const UPGRADE: &[u8] = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n\
    Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

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
