//! Whole messages out of a client's bytes (RFC 6455, sections 5.2 to 5.5).
//!
//! Pure: bytes go in, in any pieces, and messages come out. A message in one piece is unmasked in
//! place. Any other is gathered up to the limit, whatever its number of fragments.

use super::super::frames::{self, Header, LONGEST_HEADER};

/// A complete part of the client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// A message, text or binary by its opcode, in the place where it came.
    Here {
        opcode: u8,
        payload: &'a [u8],
    },
    /// A message that was gathered.
    Gathered(Gathered),
    Ping(&'a [u8]),
    Close(&'a [u8]),
}

/// A message that came in more than one piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gathered {
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

/// A violation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A frame that the protocol does not allow, or does not allow here.
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
    /// Largest message, in bytes.
    limit: usize,
    /// A header that was cut.
    header: [u8; LONGEST_HEADER],
    have: u8,
    /// The incomplete frame.
    frame: Option<Frame>,
    /// The incomplete message.
    message: Option<Box<Gathered>>,
    /// The payload of a control frame that was cut.
    control: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: u8,
    /// Rotated so that its first byte is for the next byte of the payload.
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

    /// Bytes of the incomplete message.
    pub(super) fn held(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.payload.len())
    }

    /// Takes bytes from the front until something is complete. `None`: all bytes are taken.
    pub(super) fn next<'s, 'b: 's>(
        &'s mut self,
        bytes: &mut &'b mut [u8],
    ) -> Result<Option<Said<'s>>, Wrong> {
        if self.frame.is_none_or(|frame| frame.opcode < frames::CLOSE) {
            self.control.clear(); // lent by the last call
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
                // no byte of it has come before
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
                    let message = self.message.get_or_insert_default();
                    if frame.opcode != frames::CONTINUATION {
                        message.opcode = frame.opcode;
                    }
                    message.payload.extend_from_slice(part);
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

    /// The message that this frame continues.
    fn message_of(&self, frame: Frame) -> Option<&Gathered> {
        self.message.as_deref().filter(|_| frame.opcode < frames::CLOSE)
    }

    /// Reads a header and checks it. `None`: it is incomplete.
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
            self.message = Some(Box::new(Gathered { opcode, payload: Vec::new() }));
        }
        Ok(Some(Frame { fin, opcode, mask, remaining }))
    }
}

#[cfg(test)]
#[path = "messages/tests.rs"]
mod tests;
