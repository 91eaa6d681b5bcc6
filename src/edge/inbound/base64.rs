//! Binary as text, read as leniently as in Node.js: both alphabets, other characters in between,
//! with or without padding.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};

/// The alphabet for text that is cleaned of all other characters.
const BARE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of the packet `b<base64>`, in Engine.IO 3 `b4<base64>`. `None` if it is no message.
pub(super) fn attachment(packet: &[u8], v3: bool) -> Option<Vec<u8>> {
    let text = if v3 { packet.strip_prefix(b"b4") } else { packet.strip_prefix(b"b") }?;
    Some(decode(text))
}

fn decode(text: &[u8]) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap_or_else(|_| {
        let mut bare: Vec<u8> =
            text.iter().take_while(|byte| **byte != b'=').filter_map(|byte| digit(*byte)).collect();
        if bare.len() % 4 == 1 {
            bare.pop(); // six bits make no byte
        }
        BARE.decode(bare).unwrap_or_default()
    })
}

/// A digit of either alphabet, in the standard one.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'+' | b'/' => Some(byte),
        _ => byte.is_ascii_alphanumeric().then_some(byte),
    }
}

/// An attachment as a packet for the engine.
pub(super) fn packet(bytes: &[u8], v3: bool) -> Vec<u8> {
    let mut packet = if v3 { "b4" } else { "b" }.to_owned();
    BASE64_STANDARD.encode_string(bytes, &mut packet);
    packet.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right column is the result of `Buffer.from(text, "base64")` in Node.js.
    #[test]
    fn text_is_read_as_in_node_js() {
        for (text, bytes) in [
            ("AQID", &[1, 2, 3][..]),
            ("AQID\n", &[1, 2, 3]),
            ("A Q\r\nI D", &[1, 2, 3]),
            ("AQ", &[1]),
            ("AQ==", &[1]),
            ("AR==", &[1]),
            ("AQI", &[1, 2]),
            ("AQI=AQID", &[1, 2]),
            ("-_8=", &[251, 255]),
            ("-_8", &[251, 255]),
            ("+/8=", &[251, 255]),
            ("é!AQID\0", &[1, 2, 3]),
            ("A", &[]),
            ("", &[]),
        ] {
            assert_eq!(decode(text.as_bytes()), bytes, "{text:?}");
        }
    }
}
