//! MessagePack as notepack.io 3 writes it, and a reader for input that is not trusted. The values
//! have no meaning here.

use rmpv::{Integer, Value as Tree};
use smallvec::SmallVec;

use crate::{
    javascript::is_safe_integer,
    packet::{MAX_DEPTH, ReadError},
};

/// Reads one value that fills the whole input. Allocates no more than the input's length allows,
/// whatever lengths the input declares.
pub(crate) fn read(bytes: &[u8]) -> Result<Tree, ReadError> {
    read_nested(bytes, MAX_DEPTH)
}

/// [`read`] with another limit.
pub(crate) fn read_nested(bytes: &[u8], depth: usize) -> Result<Tree, ReadError> {
    let mut reader = Reader::new(bytes);
    let value = reader.value(depth)?;
    reader.end()?;
    Ok(value)
}

/// The first element of a frame, if the frame is an array and the element a text: its sender.
pub(crate) fn first_text(bytes: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(bytes);
    match (reader.token().ok()?, reader.token().ok()?) {
        (Token::Array(1..), Token::Text(text)) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// The number of elements of a list, and the bytes after its header.
pub(crate) fn array(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut reader = Reader::new(bytes);
    match reader.token().ok()? {
        Token::Array(length) => Some((length, reader.rest)),
        _ => None,
    }
}

/// One value, or the start of one with others in it: the number of elements, or pairs, that follow.
pub(crate) enum Token<'a> {
    Nil,
    Boolean(bool),
    Integer(Integer),
    Float(f64),
    /// Any bytes; JavaScript reads broken UTF-8 with replacement characters.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Extension(i8, &'a [u8]),
    Array(usize),
    Map(usize),
}

/// Reads values from the rest of the input.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<(), ReadError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ReadError::Malformed) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(ReadError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned integer of 1, 2, 4 or 8 bytes.
    fn unsigned(&mut self, width: usize) -> Result<u64, ReadError> {
        Ok(self.take(width)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, width: usize) -> Result<i64, ReadError> {
        let shift = 64 - 8 * width as u32;
        Ok((self.unsigned(width)? << shift).cast_signed() >> shift)
    }

    fn length(&mut self, width: usize) -> Result<usize, ReadError> {
        usize::try_from(self.unsigned(width)?).map_err(|_| ReadError::Malformed)
    }

    /// As many bytes as a number of this width says.
    fn counted(&mut self, width: usize) -> Result<&'a [u8], ReadError> {
        let length = self.length(width)?;
        self.take(length)
    }

    fn extension(&mut self, length: usize) -> Result<Token<'a>, ReadError> {
        let kind = self.take(1)?[0].cast_signed();
        Ok(Token::Extension(kind, self.take(length)?))
    }

    pub(crate) fn token(&mut self) -> Result<Token<'a>, ReadError> {
        let marker = self.take(1)?[0];
        Ok(match marker {
            0x00..=0x7f => Token::Integer(marker.into()),
            0xe0..=0xff => Token::Integer(marker.cast_signed().into()),
            0x80..=0x8f => Token::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Token::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Token::Text(self.take(usize::from(marker & 0x1f))?),
            0xc0 => Token::Nil,
            0xc1 => return Err(ReadError::Malformed),
            0xc2 => Token::Boolean(false),
            0xc3 => Token::Boolean(true),
            0xc4 => Token::Binary(self.counted(1)?),
            0xc5 => Token::Binary(self.counted(2)?),
            0xc6 => Token::Binary(self.counted(4)?),
            0xc7..=0xc9 => {
                let length = self.length(1 << (marker - 0xc7))?;
                match self.extension(length)? {
                    // notepack.io reads 12 bytes here, whatever the length says.
                    Token::Extension(-1, time) if marker == 0xc7 && time.len() != 12 => {
                        return Err(ReadError::Malformed);
                    }
                    extension => extension,
                }
            }
            0xca => Token::Float(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xcb => Token::Float(f64::from_bits(self.unsigned(8)?)),
            0xcc..=0xcf => Token::Integer(self.unsigned(1 << (marker - 0xcc))?.into()),
            0xd0..=0xd3 => Token::Integer(self.signed(1 << (marker - 0xd0))?.into()),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9 => Token::Text(self.counted(1)?),
            0xda => Token::Text(self.counted(2)?),
            0xdb => Token::Text(self.counted(4)?),
            0xdc => Token::Array(self.length(2)?),
            0xdd => Token::Array(self.length(4)?),
            0xde => Token::Map(self.length(2)?),
            0xdf => Token::Map(self.length(4)?),
        })
    }

    pub(crate) fn value(&mut self, depth: usize) -> Result<Tree, ReadError> {
        let token = self.token()?;
        self.value_of(&token, depth)
    }

    /// The value that a token starts.
    pub(crate) fn value_of(&mut self, token: &Token<'a>, depth: usize) -> Result<Tree, ReadError> {
        Ok(match *token {
            Token::Nil => Tree::Nil,
            Token::Boolean(value) => Tree::Boolean(value),
            Token::Integer(value) => Tree::Integer(value),
            Token::Float(value) => Tree::F64(value),
            Token::Text(text) => Tree::from(String::from_utf8_lossy(text).into_owned()),
            Token::Binary(bytes) => Tree::Binary(bytes.to_vec()),
            Token::Extension(kind, bytes) => Tree::Ext(kind, bytes.to_vec()),
            Token::Array(length) => {
                let depth = deeper(depth)?;
                // Each element takes at least a byte.
                let mut values = Vec::with_capacity(length.min(self.rest.len()));
                for _ in 0..length {
                    values.push(self.value(depth)?);
                }
                Tree::Array(values)
            }
            Token::Map(length) => {
                let depth = deeper(depth)?;
                let mut members = Vec::with_capacity(length.min(self.rest.len() / 2));
                for _ in 0..length {
                    members.push((self.value(depth)?, self.value(depth)?));
                }
                Tree::Map(members)
            }
        })
    }

    /// The unread rest.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Skips a value, however deep it is nested.
    pub(crate) fn pass_over(&mut self) -> Result<(), ReadError> {
        let mut outstanding = 1_usize;
        while outstanding > 0 {
            outstanding -= 1;
            let held = match self.token()? {
                Token::Array(length) => Some(length),
                Token::Map(length) => length.checked_mul(2),
                _ => Some(0),
            };
            let more = held.and_then(|held| outstanding.checked_add(held));
            outstanding = more.ok_or(ReadError::Malformed)?;
        }
        Ok(())
    }

    /// Skips a value and returns its bytes.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<&'a [u8], ReadError> {
        let start = self.rest;
        let held = match self.token()? {
            Token::Array(length) => length,
            Token::Map(length) => length.checked_mul(2).ok_or(ReadError::Malformed)?,
            _ => return Ok(&start[..start.len() - self.rest.len()]),
        };
        let depth = deeper(depth)?;
        for _ in 0..held {
            self.skip(depth)?;
        }
        Ok(&start[..start.len() - self.rest.len()])
    }
}

/// One level deeper.
///
/// # Errors
/// If no level is left.
pub(crate) fn deeper(depth: usize) -> Result<usize, ReadError> {
    depth.checked_sub(1).ok_or(ReadError::TooDeep)
}

/// Writes a value as notepack.io 3 does: with the smallest headers, and a number without a fraction
/// as an integer.
pub(crate) fn write(out: &mut Vec<u8>, value: &Tree) {
    match value {
        Tree::Array(values) => write_array(out, values),
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

pub(crate) fn write_array(out: &mut Vec<u8>, values: &[Tree]) {
    array_header(out, values.len());
    values.iter().for_each(|value| write(out, value));
}

/// The place of a header whose length is known only after its elements.
pub(crate) struct Header(usize);

impl Header {
    /// Reserves the place here, for a short header.
    pub(crate) fn reserve(out: &mut Vec<u8>) -> Self {
        out.push(0);
        Self(out.len() - 1)
    }

    pub(crate) fn array(self, out: &mut Vec<u8>, length: usize) {
        self.fill(out, |header| array_header(header, length));
    }

    pub(crate) fn map(self, out: &mut Vec<u8>, length: usize) {
        self.fill(out, |header| map_header(header, length));
    }

    fn fill(self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        // A longer header is written at the end and brought here.
        let end = out.len();
        write(out);
        out[self.0] = out[end];
        let rest: SmallVec<[u8; 4]> = out[end + 1..].into();
        out.truncate(end);
        if !rest.is_empty() {
            out.splice(self.0 + 1..self.0 + 1, rest);
        }
    }
}

pub(crate) fn array_header(out: &mut Vec<u8>, length: usize) {
    infallible(rmp::encode::write_array_len(out, u32::try_from(length).unwrap_or(u32::MAX)));
}

pub(crate) fn map_header(out: &mut Vec<u8>, length: usize) {
    infallible(rmp::encode::write_map_len(out, u32::try_from(length).unwrap_or(u32::MAX)));
}

pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    infallible(rmp::encode::write_str(out, text));
}

/// Writing into a vector cannot fail.
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
            assert!(matches!(read(bomb), Err(ReadError::Malformed)));
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut bomb = vec![0x91; 100_000];
        bomb.push(0xc0);
        assert!(matches!(read(&bomb), Err(ReadError::TooDeep)));
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
