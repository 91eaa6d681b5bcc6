use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Message(u8, Vec<u8>),
    Ping(Vec<u8>),
    Close(Vec<u8>),
    Wrong(Wrong),
}

fn heard(limit: usize, bytes: &[u8], piece: usize) -> Vec<Heard> {
    let (mut messages, mut heard) = (Messages::new(limit), Vec::new());
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            heard.push(match messages.next(&mut rest) {
                Ok(None) => break,
                Ok(Some(Said::Here { opcode, payload })) => {
                    Heard::Message(opcode, payload.to_vec())
                }
                Ok(Some(Said::Gathered(message))) => {
                    Heard::Message(message.opcode, message.payload)
                }
                Ok(Some(Said::Ping(payload))) => Heard::Ping(payload.to_vec()),
                Ok(Some(Said::Close(payload))) => Heard::Close(payload.to_vec()),
                Err(wrong) => {
                    heard.push(Heard::Wrong(wrong));
                    return heard;
                }
            });
        }
    }
    heard
}

/// A frame with a mask that is not 0.
fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let (header, len) = frames::client_header(opcode, payload.len());
    let key = [1, 2, 3, 4];
    let mut out = [&header[..len - 4], &key].concat();
    out[0] &= if fin { 0xff } else { 0x7f };
    let mut payload = payload.to_vec();
    frames::mask(&mut payload, key);
    out.extend_from_slice(&payload);
    out
}

#[test]
fn fragments_are_one_message_and_a_ping_between_them_is_a_ping() {
    let bytes = [
        frame(true, frames::TEXT, b"first"),
        frame(false, frames::TEXT, b"sec"),
        frame(false, frames::CONTINUATION, b""),
        frame(true, frames::PING, b"p"),
        frame(true, frames::PONG, b"unasked"),
        frame(true, frames::CONTINUATION, b"ond"),
        frame(true, frames::BINARY, b""),
        frame(true, frames::CLOSE, b"\x03\xe8"),
    ]
    .concat();
    let expected = vec![
        Heard::Message(frames::TEXT, b"first".to_vec()),
        Heard::Ping(b"p".to_vec()),
        Heard::Message(frames::TEXT, b"second".to_vec()),
        Heard::Message(frames::BINARY, Vec::new()),
        Heard::Close(b"\x03\xe8".to_vec()),
    ];
    for piece in 1..=bytes.len() {
        assert_eq!(heard(100, &bytes, piece), expected, "in pieces of {piece}");
    }
}

#[test]
fn a_message_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
    let too_long = vec![Heard::Wrong(Wrong::TooLong)];
    let whole = frame(true, frames::BINARY, &[b'x'; 300]);
    let halves = [
        frame(false, frames::BINARY, &[b'x'; 150]),
        frame(true, frames::CONTINUATION, &[b'x'; 150]),
    ]
    .concat();
    for piece in [1, 100, 1000] {
        for bytes in [&whole, &halves] {
            assert_eq!(heard(299, bytes, piece), too_long);
            let fits = vec![Heard::Message(frames::BINARY, vec![b'x'; 300])];
            assert_eq!(heard(300, bytes, piece), fits);
        }
    }
    let claim = [&[0x82, 0xff][..], &[0xff; 8], &[0; 4]].concat();
    assert_eq!(heard(300, &claim, 100), too_long, "by its header alone");
}

#[test]
fn what_the_protocol_does_not_allow_is_wrong() {
    let unmasked = vec![0x81, 0x01, b'x'];
    let mut reserved = frame(true, frames::TEXT, b"x");
    reserved[0] |= 0x40;
    let long_ping = frame(true, frames::PING, &[0; 126]);
    let cases = [
        ("unmasked", unmasked),
        ("compressed", reserved),
        ("an opcode that nobody knows", frame(true, 3, b"")),
        ("a long ping", long_ping),
        ("a ping in fragments", frame(false, frames::PING, b"")),
        ("a continuation of nothing", frame(true, frames::CONTINUATION, b"x")),
        (
            "a message in a message",
            [frame(false, frames::TEXT, b"x"), frame(true, frames::TEXT, b"y")].concat(),
        ),
    ];
    for (what, bytes) in cases {
        for piece in [1, 1000] {
            assert_eq!(heard(1000, &bytes, piece), [Heard::Wrong(Wrong::Protocol)], "{what}");
        }
    }
}

fn message() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let part = prop_oneof![0..10usize, 120..130usize, 65_530..65_540usize];
    prop::collection::vec(part.prop_map(|len| vec![b'.'; len]), 1..4)
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_are_heard_alike(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        piece in 1..40usize,
    ) {
        prop_assert_eq!(heard(200, &bytes, piece), heard(200, &bytes, 1000));
    }

    #[test]
    fn messages_come_out_as_they_went_in(
        messages in prop::collection::vec(message(), 0..4),
        piece in 1..3000usize,
    ) {
        let mut bytes = Vec::new();
        for parts in &messages {
            for (n, part) in parts.iter().enumerate() {
                let opcode = if n == 0 { frames::BINARY } else { frames::CONTINUATION };
                bytes.extend(frame(n + 1 == parts.len(), opcode, part));
            }
        }
        let expected: Vec<Heard> =
            messages.iter().map(|parts| Heard::Message(frames::BINARY, parts.concat())).collect();
        prop_assert_eq!(heard(1_000_000, &bytes, piece), expected);
    }
}
