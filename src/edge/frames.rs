//! The boundaries of WebSocket frames (RFC 6455, section 5.2), found while their bytes pass by.
//! Looks at the 2 to 14 bytes of each header and at nothing else; decides nothing, buffers nothing.

use super::size::Size;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Longest payload of a control frame.
pub(super) const CONTROL_PAYLOAD: u64 = 125;

/// Whether a frame is the last one of its message.
const FIN: u8 = 0x80;

/// Most bytes of payload in one frame to the engine.
pub(super) const LONGEST_FRAME: usize = 8 * 1024;

/// Longest header, in bytes.
pub(super) const LONGEST_HEADER: usize = 14;

/// One frame's header, complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether the message ends with this frame.
    pub(super) fin: bool,
    /// Whether a bit is set that belongs to an extension.
    pub(super) reserved: bool,
    pub(super) opcode: u8,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of payload after the header.
    pub(super) payload: u64,
    /// Bytes of the header itself.
    pub(super) len: usize,
}

impl Header {
    /// `None` while `bytes` holds less than a whole header.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [first, second, ..] = *bytes else { return None };
        let rest = &bytes[2..];
        let (payload, rest) = match second & 0x7f {
            126 => rest.split_first_chunk().map(|(n, rest)| (u16::from_be_bytes(*n).into(), rest)),
            127 => rest.split_first_chunk().map(|(n, rest)| (u64::from_be_bytes(*n), rest)),
            n => Some((n.into(), rest)),
        }?;
        let (mask, rest) = match second & 0x80 {
            0 => (None, rest),
            _ => rest.split_first_chunk().map(|(mask, rest)| (Some(*mask), rest))?,
        };
        Some(Self {
            fin: first & 0x80 != 0,
            reserved: first & 0x70 != 0,
            opcode: first & 0x0f,
            mask,
            payload,
            len: bytes.len() - rest.len(),
        })
    }

    /// Header and payload together. Saturates: a client may claim any length.
    pub(super) fn total(&self) -> usize {
        usize::try_from(self.payload).unwrap_or(usize::MAX).saturating_add(self.len)
    }
}

/// Follows one direction of a connection. The same bytes in any pieces lead to the same state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tracker {
    /// Bytes of the current frame's payload that are still to come.
    remaining: u64,
    header: [u8; LONGEST_HEADER],
    /// How much of `header` has come; 0 unless a header was cut.
    have: u8,
    /// Between the first and the last frame of a message in several frames.
    fragmented: bool,
}

impl Tracker {
    /// Between two frames.
    #[inline]
    pub(super) fn at_boundary(&self) -> bool {
        self.remaining == 0 && self.have == 0
    }

    /// Between two messages: the only place where another one may go.
    #[inline]
    pub(super) fn between_messages(&self) -> bool {
        self.at_boundary() && !self.fragmented
    }

    /// The number of bytes that can pass without crossing into the next frame: the rest of the
    /// payload, or one byte of a header whose length is not known yet. 0 at a boundary.
    pub(super) fn until_boundary(&self) -> usize {
        match self.remaining {
            0 => usize::from(self.have > 0),
            n => usize::try_from(n).unwrap_or(usize::MAX),
        }
    }

    /// Notes that `bytes` have passed. Returns how many frames began in them, and how many of them
    /// are payload.
    #[inline]
    pub(super) fn advance(&mut self, mut bytes: &[u8]) -> Size {
        let mut passed = Size::default();
        while !bytes.is_empty() {
            if self.remaining > 0 {
                let n = self.remaining.min(bytes.len() as u64);
                self.remaining -= n;
                passed.bytes += n as usize; // at most bytes.len()
                bytes = &bytes[n as usize..];
            } else if self.have == 0
                && let Some(header) = Header::parse(bytes)
            {
                self.enter(header);
                passed.packets += 1;
                bytes = &bytes[header.len..];
            } else {
                passed.packets += usize::from(self.finish_header(bytes[0]));
                bytes = &bytes[1..];
            }
        }
        passed
    }

    /// Adds a byte to a header that was cut. Returns whether it is complete now.
    #[cold]
    fn finish_header(&mut self, byte: u8) -> bool {
        self.header[usize::from(self.have)] = byte;
        self.have += 1;
        let header = Header::parse(&self.header[..usize::from(self.have)]);
        if let Some(header) = header {
            self.enter(header);
            self.have = 0;
        }
        header.is_some()
    }

    #[inline]
    fn enter(&mut self, header: Header) {
        self.remaining = header.payload;
        // a control frame may stand in the middle of a message and changes nothing about it
        if header.opcode < CLOSE {
            self.fragmented = !header.fin;
        }
    }
}

/// A whole frame as a server sends it.
pub(super) fn server_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    server_header(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

/// The header of such a frame.
pub(super) fn server_header(opcode: u8, len: usize, out: &mut Vec<u8>) {
    // the client's without the mask
    let (mut header, len) = client_header(opcode, len);
    header[1] &= 0x7f;
    out.extend_from_slice(&header[..len - 4]);
}

/// A whole frame as a client sends it, masked with the key 0, which leaves the payload as it is.
pub(super) fn client_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    let (header, len) = client_header(opcode, payload.len());
    out.extend_from_slice(&header[..len]);
    out.extend_from_slice(payload);
}

/// A message as a client sends it, in frames of [`LONGEST_FRAME`]. So a reader that keeps its buffer
/// needs none of the size of the largest message.
pub(super) fn client_message(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    let mut parts = payload.chunks(LONGEST_FRAME);
    let first = out.len();
    client_frame(opcode, parts.next().unwrap_or_default(), out);
    let mut last = first;
    for part in parts {
        out[last] &= !FIN;
        last = out.len();
        client_frame(CONTINUATION, part, out);
    }
}

/// The header of such a frame, and how long it is.
#[inline]
pub(super) fn client_header(opcode: u8, len: usize) -> ([u8; LONGEST_HEADER], usize) {
    let mut out = [0; LONGEST_HEADER];
    out[0] = 0x80 | opcode;
    let at = if len < 126 {
        out[1] = 0x80 | len as u8;
        2
    } else if let Ok(len) = u16::try_from(len) {
        out[1] = 0x80 | 126;
        out[2..4].copy_from_slice(&len.to_be_bytes());
        4
    } else {
        out[1] = 0x80 | 127;
        out[2..10].copy_from_slice(&(len as u64).to_be_bytes());
        10
    };
    (out, at + 4) // the key is 0
}

/// Applies the mask, or removes it.
pub(super) fn mask(payload: &mut [u8], key: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    let word = u32::from_ne_bytes(key);
    words.iter_mut().for_each(|part| *part = (u32::from_ne_bytes(*part) ^ word).to_ne_bytes());
    rest.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(frames: &[(bool, u8, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (masked, opcode, payload) in frames {
            if *masked {
                client_frame(*opcode, payload, &mut out);
            } else {
                server_frame(*opcode, payload, &mut out);
            }
        }
        out
    }

    fn advanced<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Tracker {
        let mut tracker = Tracker::default();
        pieces.for_each(|piece| {
            tracker.advance(piece);
        });
        tracker.header = Default::default(); // what is left of finished headers says nothing
        tracker
    }

    #[test]
    fn a_header_says_where_its_frame_ends_for_all_three_length_forms() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for masked in [false, true] {
                let bytes = bytes_of(&[(masked, TEXT, vec![b'x'; len])]);
                let header = Header::parse(&bytes).expect("a whole header");
                assert_eq!(header.total(), bytes.len(), "{len} masked {masked}");
                assert_eq!((header.fin, header.opcode), (true, TEXT));
                assert_eq!(header.mask.is_some(), masked);
                for cut in 0..header.len {
                    assert_eq!(Header::parse(&bytes[..cut]), None, "{len} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn a_claimed_length_beyond_all_memory_overflows_nothing() {
        let mut tracker = Tracker::default();
        let header = [[0x82, 0xff].as_slice(), &[0xff; 8], &[0; 4], b"payload"].concat();
        tracker.advance(&header);
        assert!(!tracker.at_boundary());
        assert_eq!(Header::parse(&header).expect("whole").total(), usize::MAX);
    }

    #[test]
    fn what_has_passed_is_counted_without_the_headers() {
        let frames = [(false, TEXT, vec![b'x'; 3]), (false, BINARY, vec![b'x'; 70_000])];
        let bytes = bytes_of(&frames);
        for piece in [1, 2, 7, 5000, bytes.len()] {
            let (mut tracker, mut sum) = (Tracker::default(), Size::default());
            for piece in bytes.chunks(piece) {
                let passed = tracker.advance(piece);
                sum =
                    Size { packets: sum.packets + passed.packets, bytes: sum.bytes + passed.bytes };
            }
            assert_eq!(sum, Size { packets: 2, bytes: 70_003 }, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_long_message_is_in_frames_of_bounded_length() {
        for (len, expected) in [(0, 1), (LONGEST_FRAME, 1), (LONGEST_FRAME + 1, 2), (70_000, 9)] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut bytes = Vec::new();
            client_message(BINARY, &payload, &mut bytes);
            let (mut rest, mut frames, mut read) = (&bytes[..], Vec::new(), Vec::new());
            let mut tracker = Tracker::default();
            while let Some(header) = Header::parse(rest) {
                tracker.advance(&rest[..header.total()]);
                assert_eq!(tracker.between_messages(), header.fin);
                read.extend_from_slice(&rest[header.len..header.total()]);
                rest = &rest[header.total()..];
                frames.push((header.fin, header.opcode));
            }
            assert_eq!((frames.len(), read), (expected, payload), "{len}");
            for (n, (fin, opcode)) in frames.into_iter().enumerate() {
                assert_eq!(opcode, if n == 0 { BINARY } else { CONTINUATION });
                assert_eq!(fin, n + 1 == expected);
            }
        }
    }

    #[test]
    fn masking_twice_changes_nothing() {
        let mut payload = *b"payload";
        mask(&mut payload, [1, 2, 3, 4]);
        assert_eq!(payload[0], b'p' ^ 1);
        mask(&mut payload, [1, 2, 3, 4]);
        assert_eq!(&payload, b"payload");
    }

    fn frame() -> impl Strategy<Value = (bool, u8, Vec<u8>)> {
        let len = prop_oneof![0..10usize, 120..130usize, 65_530..65_540usize];
        (any::<bool>(), prop_oneof![Just(TEXT), Just(BINARY), Just(PING)], len)
            .prop_map(|(masked, opcode, len)| (masked, opcode, vec![b'.'; len]))
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_lead_to_the_same_state(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            piece in 1..40usize,
        ) {
            prop_assert_eq!(advanced(bytes.chunks(piece)), advanced([&bytes[..]].into_iter()));
        }

        #[test]
        fn boundaries_are_found_in_any_pieces(
            frames in prop::collection::vec(frame(), 0..6),
            piece in 1..3000usize,
        ) {
            let starts: Vec<usize> =
                (0..=frames.len()).map(|n| bytes_of(&frames[..n]).len()).collect();
            let mut tracker = Tracker::default();
            let mut position = 0;
            for piece in bytes_of(&frames).chunks(piece) {
                tracker.advance(piece);
                position += piece.len();
                prop_assert_eq!(tracker.at_boundary(), starts.contains(&position));
            }
        }

        #[test]
        fn passing_until_the_boundary_never_crosses_it(
            frames in prop::collection::vec(frame(), 1..4),
        ) {
            let bytes = bytes_of(&frames);
            let mut tracker = Tracker::default();
            let (mut at, mut boundaries) = (0, 0);
            while at < bytes.len() {
                let n = tracker.until_boundary().max(1);
                prop_assert!(at + n <= bytes.len());
                tracker.advance(&bytes[at..at + n]);
                at += n;
                boundaries += usize::from(tracker.at_boundary());
            }
            prop_assert_eq!(boundaries, frames.len());
        }
    }
}
