//! Bodies of Engine.IO 3, with the length before each packet: `<length>:<packet>…` in UTF-16 units,
//! or, if a packet is binary, `<0|1><digits of the length><255><packet>…` in bytes. Pure.

/// The kind of a text packet, in a body with binary.
pub(super) const STRING: u8 = 0;

const END_OF_LENGTH: u8 = 0xff;

/// The packets of a text body. `None` if it is malformed.
pub(super) fn texts(body: &[u8]) -> Option<Vec<&str>> {
    let mut rest = std::str::from_utf8(body).ok()?;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let (len, after) = rest.split_once(':')?;
        let (packet, after) = after.split_at_checked(utf16_offset(after, len.parse().ok()?)?)?;
        packets.push(packet);
        rest = after;
    }
    Some(packets)
}

/// The packets of a body with binary, each with its kind. `None` if it is malformed.
pub(super) fn framed(body: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut rest = body;
    let mut packets = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        let digits = after.iter().position(|byte| *byte == END_OF_LENGTH)?;
        let len = after[..digits].iter().try_fold(0usize, |len, digit| {
            (*digit < 10).then_some(())?;
            len.checked_mul(10)?.checked_add((*digit).into())
        })?;
        let (packet, after) = after[digits + 1..].split_at_checked(len)?;
        packets.push((*kind, packet));
        rest = after;
    }
    Some(packets)
}

/// Appends a packet to a body of text.
pub(super) fn put_text(out: &mut Vec<u8>, packet: &[u8]) {
    let len = std::str::from_utf8(packet).map_or(packet.len(), utf16_len);
    out.extend_from_slice(format!("{len}:").as_bytes());
    out.extend_from_slice(packet);
}

/// Appends a packet to a body with binary.
pub(super) fn put_framed(out: &mut Vec<u8>, kind: u8, packet: &[u8]) {
    out.push(kind);
    out.extend(packet.len().to_string().bytes().map(|digit| digit - b'0'));
    out.push(END_OF_LENGTH);
    out.extend_from_slice(packet);
}

pub(super) fn utf16_len(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The end of the first `units` UTF-16 units of `text`.
fn utf16_offset(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (offset, char) in text.char_indices() {
        if left == 0 {
            return Some(offset);
        }
        left = left.checked_sub(char.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}
