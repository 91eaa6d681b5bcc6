//! MessagePack as notepack.io 3 writes it, and a reader that is not afraid of what it reads.

use rmpv::{Utf8String, Value as Tree};

use super::{DecodeError, value::is_safe_integer};

/// How deep values may be nested. Node.js has no limit of its own; clients that nest deeper than
/// this mean harm.
pub(super) const MAX_DEPTH: usize = 64;

/// Reads one value that fills the whole input. Allocates no more than the input's length allows,
/// whatever lengths it declares.
pub(crate) fn read(bytes: &[u8]) -> Result<Tree, DecodeError> {
    let mut reader = Reader { rest: bytes };
    let value = reader.value(MAX_DEPTH)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(DecodeError::Malformed) }
}

/// The text that a frame starts with, if it is an array whose first element is one: who sent it.
pub(super) fn first_text(bytes: &[u8]) -> Option<&str> {
    let mut reader = Reader { rest: bytes };
    match reader.byte().ok()? {
        0x91..=0x9f => {}
        0xdc => _ = reader.take(2).ok()?,
        0xdd => _ = reader.take(4).ok()?,
        _ => return None,
    }
    let marker = reader.byte().ok()?;
    let length = reader.text_length(marker).ok()??;
    std::str::from_utf8(reader.take(length).ok()?).ok()
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned integer of 1, 2, 4 or 8 bytes.
    fn unsigned(&mut self, width: usize) -> Result<u64, DecodeError> {
        Ok(self.take(width)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, width: usize) -> Result<i64, DecodeError> {
        let shift = 64 - 8 * width as u32;
        Ok((self.unsigned(width)? << shift).cast_signed() >> shift)
    }

    fn length(&mut self, width: usize) -> Result<usize, DecodeError> {
        usize::try_from(self.unsigned(width)?).map_err(|_| DecodeError::Malformed)
    }

    /// The length of a text that starts with this marker; none if it starts something else.
    fn text_length(&mut self, marker: u8) -> Result<Option<usize>, DecodeError> {
        Ok(Some(match marker {
            0xa0..=0xbf => usize::from(marker & 0x1f),
            0xd9 => self.length(1)?,
            0xda => self.length(2)?,
            0xdb => self.length(4)?,
            _ => return Ok(None),
        }))
    }

    fn value(&mut self, depth: usize) -> Result<Tree, DecodeError> {
        let marker = self.byte()?;
        if let Some(length) = self.text_length(marker)? {
            let text = self.take(length)?;
            return Ok(Tree::String(Utf8String::from(String::from_utf8_lossy(text).into_owned())));
        }
        Ok(match marker {
            0x00..=0x7f => Tree::from(marker),
            0xe0..=0xff => Tree::from(marker.cast_signed()),
            0x80..=0x8f => self.map(usize::from(marker & 0x0f), depth)?,
            0x90..=0x9f => self.array(usize::from(marker & 0x0f), depth)?,
            0xc0 => Tree::Nil,
            0xc2 => Tree::Boolean(false),
            0xc3 => Tree::Boolean(true),
            0xc4 => self.binary(1)?,
            0xc5 => self.binary(2)?,
            0xc6 => self.binary(4)?,
            0xc7 => self.extension(1)?,
            0xc8 => self.extension(2)?,
            0xc9 => self.extension(4)?,
            0xca => {
                let bits = self.unsigned(4)? as u32;
                Tree::F64(f64::from(f32::from_bits(bits)))
            }
            0xcb => Tree::F64(f64::from_bits(self.unsigned(8)?)),
            0xcc => Tree::from(self.unsigned(1)?),
            0xcd => Tree::from(self.unsigned(2)?),
            0xce => Tree::from(self.unsigned(4)?),
            0xcf => Tree::from(self.unsigned(8)?),
            0xd0 => Tree::from(self.signed(1)?),
            0xd1 => Tree::from(self.signed(2)?),
            0xd2 => Tree::from(self.signed(4)?),
            0xd3 => Tree::from(self.signed(8)?),
            0xd4..=0xd8 => self.extension_of(1 << (marker - 0xd4))?,
            0xdc => {
                let length = self.length(2)?;
                self.array(length, depth)?
            }
            0xdd => {
                let length = self.length(4)?;
                self.array(length, depth)?
            }
            0xde => {
                let length = self.length(2)?;
                self.map(length, depth)?
            }
            0xdf => {
                let length = self.length(4)?;
                self.map(length, depth)?
            }
            _ => return Err(DecodeError::Malformed),
        })
    }

    fn binary(&mut self, width: usize) -> Result<Tree, DecodeError> {
        let length = self.length(width)?;
        Ok(Tree::Binary(self.take(length)?.to_vec()))
    }

    fn extension(&mut self, width: usize) -> Result<Tree, DecodeError> {
        let length = self.length(width)?;
        self.extension_of(length)
    }

    fn extension_of(&mut self, length: usize) -> Result<Tree, DecodeError> {
        let kind = self.byte()?.cast_signed();
        Ok(Tree::Ext(kind, self.take(length)?.to_vec()))
    }

    fn array(&mut self, length: usize, depth: usize) -> Result<Tree, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        // Each element takes a byte at least.
        let mut values = Vec::with_capacity(length.min(self.rest.len()));
        for _ in 0..length {
            values.push(self.value(depth)?);
        }
        Ok(Tree::Array(values))
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Tree, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        let mut members = Vec::with_capacity(length.min(self.rest.len() / 2));
        for _ in 0..length {
            members.push((self.value(depth)?, self.value(depth)?));
        }
        Ok(Tree::Map(members))
    }
}

/// Writes a value as notepack.io 3 does: the smallest headers, and a number without fraction is an
/// integer.
pub(super) fn write(out: &mut Vec<u8>, value: &Tree) {
    match value {
        Tree::Array(values) => {
            array_header(out, values.len());
            values.iter().for_each(|value| write(out, value));
        }
        Tree::Map(members) => {
            map_header(out, members.len());
            for (key, value) in members {
                write(out, key);
                write(out, value);
            }
        }
        Tree::F64(number) if is_safe_integer(*number) => {
            infallible(rmp::encode::write_sint(out, *number as i64));
        }
        Tree::F32(number) => write(out, &Tree::F64(f64::from(*number))),
        other => infallible(rmpv::encode::write_value(out, other)),
    }
}

pub(super) fn array_header(out: &mut Vec<u8>, length: usize) {
    infallible(rmp::encode::write_array_len(out, u32::try_from(length).unwrap_or(u32::MAX)));
}

pub(super) fn map_header(out: &mut Vec<u8>, length: usize) {
    infallible(rmp::encode::write_map_len(out, u32::try_from(length).unwrap_or(u32::MAX)));
}

pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    infallible(rmp::encode::write_str(out, text));
}

/// A vector takes whatever is written to it.
fn infallible<T, E>(written: Result<T, E>) {
    debug_assert!(written.is_ok(), "writing to memory cannot fail");
    drop(written);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Tree) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, value);
        out
    }

    #[test]
    fn a_length_that_is_not_there_allocates_nothing() {
        for bomb in [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdf, 0xff, 0xff, 0xff, 0xff]] {
            assert!(matches!(read(bomb), Err(DecodeError::Malformed)));
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut bomb = vec![0x91; 100_000];
        bomb.push(0xc0);
        assert!(matches!(read(&bomb), Err(DecodeError::TooDeep)));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert!(read(&[0x01, 0x02]).is_err());
    }

    #[test]
    fn numbers_are_written_as_javascript_means_them() {
        assert_eq!(written(&Tree::F64(1.0)), [0x01]);
        assert_eq!(written(&Tree::F64(-0.0)), [0x00]);
        assert_eq!(written(&Tree::F64(0.5))[0], 0xcb);
        assert_eq!(written(&Tree::from(-33)), [0xd0, 0xdf]);
        assert_eq!(written(&Tree::from(200)), [0xcc, 200]);
    }

    #[test]
    fn the_sender_is_read_without_the_rest() {
        assert_eq!(first_text(&[0x93, 0xa2, b'a', b'b', 0xff]), Some("ab"));
        assert_eq!(first_text(&[0x93, 0xc0]), None);
        assert_eq!(first_text(&[0x93, 0xa5, b'a']), None);
    }
}
