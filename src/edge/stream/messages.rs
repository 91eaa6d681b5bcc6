//! Whole messages out of the bytes that a client sends (RFC 6455, sections 5.2 to 5.5).
//!
//! Pure: bytes go in, in any pieces, and messages come out. A message that comes in one piece is
//! unmasked where it lies; any other is gathered, up to the limit and no further, however many
//! fragments it is cut into.

use super::super::frames::{self, Header, LONGEST_HEADER};

/// Something whole that the client has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// A message, text or binary by its opcode, in the place where it came.
    Here {
        opcode: u8,
        payload: &'a [u8],
    },
    /// A message that was gathered, with room for a header before it.
    Gathered(Gathered),
    Ping(&'a [u8]),
    Close(&'a [u8]),
}

/// A message that came in more than one piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gathered {
    pub(super) opcode: u8,
    /// The first [`LONGEST_HEADER`] bytes are room for a header.
    bytes: Vec<u8>,
}

impl Gathered {
    fn start(opcode: u8) -> Self {
        Self { opcode, bytes: vec![0; LONGEST_HEADER] }
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[LONGEST_HEADER..]
    }

    fn len(&self) -> usize {
        self.bytes.len().saturating_sub(LONGEST_HEADER)
    }

    /// The message as one frame, and where in the bytes that begins.
    pub(super) fn into_frame(mut self) -> (Vec<u8>, usize) {
        let (header, len) = frames::client_header(self.opcode, self.len());
        let start = LONGEST_HEADER - len;
        self.bytes[start..LONGEST_HEADER].copy_from_slice(&header[..len]);
        (self.bytes, start)
    }
}

/// What no client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A frame that the protocol does not allow, or not there.
    Protocol,
    /// A message that is longer than the limit.
    TooLong,
}

impl Wrong {
    /// The status of the close frame (RFC 6455, section 7.4.1).
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::TooLong => 1009,
        }
    }
}

/// The state between two pieces.
#[derive(Debug)]
pub(super) struct Messages {
    /// Bytes of a message.
    limit: usize,
    /// A header that was cut.
    header: [u8; LONGEST_HEADER],
    have: u8,
    /// The frame that has not come to its end.
    frame: Option<Frame>,
    /// The message that has not come to its end.
    message: Option<Box<Gathered>>,
    /// The payload of a control frame that was cut.
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: u8,
    /// Turned so that its first byte is for the next byte of the payload.
    mask: [u8; 4],
    remaining: usize,
}

impl Messages {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            header: [0; LONGEST_HEADER],
            have: 0,
            frame: None,
            message: None,
            control: Vec::new(),
        }
    }

    /// Bytes of the message that has not come to its end.
    pub(super) fn held(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.len())
    }

    /// Takes bytes from the front until something is whole. `None`: all bytes are taken.
    pub(super) fn next<'s, 'b: 's>(
        &'s mut self,
        bytes: &mut &'b mut [u8],
    ) -> Result<Option<Said<'s>>, Wrong> {
        if self.frame.is_none_or(|frame| frame.opcode < frames::CLOSE) {
            self.control.clear(); // it was lent by the call before
        }
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.begin(bytes)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let n = frame.remaining.min(bytes.len());
            let (part, rest) = std::mem::take(bytes).split_at_mut(n);
            *bytes = rest;
            frames::mask(part, frame.mask);
            let whole = n == frame.remaining;
            let is_control = frame.opcode >= frames::CLOSE;
            if whole && self.frame.is_none() && frame.fin && self.message_of(frame).is_none() {
                // nothing of it has come before
                return match frame.opcode {
                    frames::PING => Ok(Some(Said::Ping(part))),
                    frames::PONG => continue,
                    frames::CLOSE => Ok(Some(Said::Close(part))),
                    opcode => Ok(Some(Said::Here { opcode, payload: part })),
                };
            }
            match is_control {
                true => self.control.extend_from_slice(part),
                false => {
                    let message =
                        self.message.get_or_insert_with(|| Box::new(Gathered::start(frame.opcode)));
                    message.bytes.extend_from_slice(part);
                }
            }
            if !whole {
                let mut frame = frame;
                frame.remaining -= n;
                frame.mask.rotate_left(n % 4);
                self.frame = Some(frame);
                return Ok(None);
            }
            self.frame = None;
            match frame.opcode {
                frames::PING => return Ok(Some(Said::Ping(&self.control))),
                frames::PONG => self.control.clear(),
                frames::CLOSE => return Ok(Some(Said::Close(&self.control))),
                _ if frame.fin => {
                    let message = self.message.take().unwrap_or_default();
                    return Ok(Some(Said::Gathered(*message)));
                }
                _ => {}
            }
        }
    }

    /// The message that this frame goes on with.
    fn message_of(&self, frame: Frame) -> Option<&Gathered> {
        self.message.as_deref().filter(|_| frame.opcode < frames::CLOSE)
    }

    /// Reads a header and checks it. `None`: it has not come to its end.
    fn begin(&mut self, bytes: &mut &mut [u8]) -> Result<Option<Frame>, Wrong> {
        let header = match Header::parse(bytes) {
            Some(header) if self.have == 0 => {
                *bytes = &mut std::mem::take(bytes)[header.len..];
                header
            }
            _ => loop {
                let Some((byte, rest)) = std::mem::take(bytes).split_first_mut() else {
                    return Ok(None);
                };
                self.header[usize::from(self.have)] = *byte;
                self.have += 1;
                *bytes = rest;
                if let Some(header) = Header::parse(&self.header[..usize::from(self.have)]) {
                    self.have = 0;
                    break header;
                }
            },
        };
        let Header { fin, reserved, opcode, mask, payload, .. } = header;
        let (Some(mask), false) = (mask, reserved) else { return Err(Wrong::Protocol) };
        let fits_in = match opcode {
            frames::CONTINUATION => self.message.is_some(),
            frames::TEXT | frames::BINARY => self.message.is_none(),
            frames::CLOSE | frames::PING | frames::PONG => {
                fin && payload <= frames::CONTROL_PAYLOAD
            }
            _ => false,
        };
        if !fits_in {
            return Err(Wrong::Protocol);
        }
        let room = match opcode {
            frames::CLOSE.. => self.limit,
            _ => self.limit.saturating_sub(self.held()),
        };
        let remaining = usize::try_from(payload).unwrap_or(usize::MAX);
        if remaining > room && opcode < frames::CLOSE {
            return Err(Wrong::TooLong);
        }
        if opcode < frames::CLOSE && !fin && self.message.is_none() {
            self.message = Some(Box::new(Gathered::start(opcode)));
        }
        Ok(Some(Frame { fin, opcode, mask, remaining }))
    }
}

#[cfg(test)]
mod tests {
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
                        let (opcode, payload) = (message.opcode, message.payload().to_vec());
                        let (frame, start) = message.into_frame();
                        let mut expected = Vec::new();
                        frames::client_frame(opcode, &payload, &mut expected);
                        assert_eq!(&frame[start..], expected);
                        Heard::Message(opcode, payload)
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
}
