//! The bytes of a websocket: the request that opens it, and its frames (RFC 6455, section 5.2).

use crate::result::Result;

/// What a browser's requests have beside the headers that are needed.
pub(crate) const BROWSER: &str = "Pragma: no-cache\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/141.0.0.0 Safari/537.36\r\n\
    Origin: http://localhost\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=6f1d2a7c9b3e4f508192a3b4c5d6e7f8; theme=dark; consent=1\r\n";

/// The request that opens a websocket. The server's answer to the key is not checked.
pub(crate) fn upgrade(target: &str, browser: bool) -> Vec<u8> {
    let (headers, extensions) = if browser {
        let deflate = "permessage-deflate; client_max_window_bits";
        (BROWSER, format!("Sec-WebSocket-Extensions: {deflate}\r\n"))
    } else {
        ("", String::new())
    };
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{headers}\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extensions}\r\n"
    )
    .into_bytes()
}

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
