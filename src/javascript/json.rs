//! JSON as JavaScript reads it. It may hold halves of characters and numbers that are infinite,
//! which strict readers refuse.

use std::borrow::Cow;

use rmpv::Value as Tree;

use crate::packet::{MAX_DEPTH, ReadError};

/// The parts of a JSON text that strict readers refuse.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Oddities {
    /// Escapes that are half a character, by their place.
    halves: Vec<usize>,
    /// Numbers that JavaScript reads as infinite, by their place and length.
    infinite: Vec<(usize, usize)>,
}

impl Oddities {
    /// Whether there is a number that JavaScript reads as infinite.
    pub(crate) fn has_infinite(&self) -> bool {
        !self.infinite.is_empty()
    }
}

/// Checks that a text is one JSON value that is not nested too deeply, and returns its oddities.
/// One pass, which allocates nothing for nearly all texts.
///
/// # Errors
/// `Malformed` or `TooDeep`.
pub(crate) fn check(text: &str) -> Result<Oddities, ReadError> {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0, text, odd: Oddities::default() };
    scanner.value()?;
    Ok(scanner.odd)
}

/// Reads a value. Half a character becomes the replacement character, and a number that is too
/// large becomes null, so that the message is not lost (pitfall 14 of the wire specification).
///
/// # Errors
/// `Malformed` or `TooDeep`.
pub(crate) fn read(text: &str) -> Result<Tree, ReadError> {
    serde_json::from_str(text).or_else(|_| match mended(text)? {
        Cow::Owned(mended) => serde_json::from_str(&mended).map_err(|_| ReadError::Malformed),
        // Strict readers have their own limit, which is larger.
        Cow::Borrowed(_) => Err(ReadError::Malformed),
    })
}

/// The text with its oddities replaced. Borrowed if there are none.
///
/// # Errors
/// `Malformed` or `TooDeep`.
pub(crate) fn mended(text: &str) -> Result<Cow<'_, str>, ReadError> {
    const REPLACEMENT: &str = "\\ufffd";
    let Oddities { halves, infinite } = check(text)?;
    let halves = halves.into_iter().map(|at| (at, REPLACEMENT.len(), REPLACEMENT));
    let infinite = infinite.into_iter().map(|(at, length)| (at, length, "null"));
    let mut repairs: Vec<_> = halves.chain(infinite).collect();
    if repairs.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    repairs.sort_unstable();
    let mut mended = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, length, replacement) in repairs {
        mended.push_str(&text[rest..at]);
        mended.push_str(replacement);
        rest = at + length;
    }
    mended.push_str(&text[rest..]);
    Ok(Cow::Owned(mended))
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    odd: Oddities,
}

impl Scanner<'_> {
    fn value(&mut self) -> Result<(), ReadError> {
        const { assert!(MAX_DEPTH <= 128, "a bit for each level") };
        // One bit for each open list or map, the innermost lowest: whether it is a map.
        let mut maps: u128 = 0;
        let mut depth = 0;
        'value: loop {
            self.space();
            match self.next()? {
                byte @ (b'[' | b'{') => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(ReadError::TooDeep);
                    }
                    maps = maps << 1 | u128::from(byte == b'{');
                    self.space();
                    if self.peek() != Some(byte + 2) {
                        if byte == b'{' {
                            self.key()?;
                        }
                        continue 'value;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => return Err(ReadError::Malformed),
            }
            // After a value, or before the end of an empty list or map.
            loop {
                self.space();
                if depth == 0 {
                    return if self.at == self.bytes.len() {
                        Ok(())
                    } else {
                        Err(ReadError::Malformed)
                    };
                }
                let in_map = maps & 1 == 1;
                match self.next()? {
                    b',' => {
                        if in_map {
                            self.space();
                            self.key()?;
                        }
                        continue 'value;
                    }
                    b']' if !in_map => {}
                    b'}' if in_map => {}
                    _ => return Err(ReadError::Malformed),
                }
                maps >>= 1;
                depth -= 1;
            }
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Result<u8, ReadError> {
        let byte = self.peek().ok_or(ReadError::Malformed)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ReadError> {
        if self.next()? == byte { Ok(()) } else { Err(ReadError::Malformed) }
    }

    fn word(&mut self, rest: &[u8]) -> Result<(), ReadError> {
        self.bytes[self.at..].starts_with(rest).then_some(()).ok_or(ReadError::Malformed)?;
        self.at += rest.len();
        Ok(())
    }

    fn key(&mut self) -> Result<(), ReadError> {
        self.expect(b'"')?;
        self.string()?;
        self.space();
        self.expect(b':')
    }

    /// Reads on after the first quote.
    fn string(&mut self) -> Result<(), ReadError> {
        loop {
            self.at += plain(&self.bytes[self.at..]);
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                0..0x20 => return Err(ReadError::Malformed),
                _ => {}
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Result<(), ReadError> {
        let start = self.at - 1;
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => return Ok(()),
            b'u' => {}
            _ => return Err(ReadError::Malformed),
        }
        let half = unit(&self.bytes[self.at..]).ok_or(ReadError::Malformed)?;
        self.at += 4;
        match half {
            0xd800..=0xdbff => {
                let low = self.bytes[self.at..].strip_prefix(b"\\u").and_then(unit);
                match low {
                    Some(0xdc00..=0xdfff) => self.at += 6,
                    _ => self.odd.halves.push(start),
                }
            }
            0xdc00..=0xdfff => self.odd.halves.push(start),
            _ => {}
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, ReadError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(self.at - start) } else { Err(ReadError::Malformed) }
    }

    /// Reads on after the first character.
    fn number(&mut self) -> Result<(), ReadError> {
        // A number with fewer digits before the point and no exponent is not too large.
        const LONG: usize = 300;
        let start = self.at - 1;
        if self.bytes[start] != b'-' {
            self.at = start;
        }
        let leading_zero = self.peek() == Some(b'0');
        let digits = self.digits()?;
        if leading_zero && digits > 1 {
            return Err(ReadError::Malformed);
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if (has_exponent || digits > LONG)
            && self.text[start..self.at].parse::<f64>().is_ok_and(f64::is_infinite)
        {
            self.odd.infinite.push((start, self.at - start));
        }
        Ok(())
    }
}

/// How many bytes of a string need no look, eight at a time: they hold no quote, no backslash and
/// no control character.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const TOPS: u64 = ONES << 7;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut length = 0;
    for chunk in bytes.chunks_exact(8) {
        let Ok(chunk) = chunk.try_into() else { break };
        let word = u64::from_le_bytes(chunk);
        let quote = has_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
        // Bytes below 0x20 have none of the three highest bits.
        let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        if quote | backslash | control != 0 {
            break;
        }
        length += 8;
    }
    length
}

/// The UTF-16 unit of four digits.
fn unit(digits: &[u8]) -> Option<u16> {
    let digits = digits.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_characters_are_replaced_and_whole_ones_kept() {
        for (text, read_as) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""a\udc00b""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud800\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\\ud800""#, "\\ud800"),
            (r#""\uD83D\uDE00""#, "😀"),
        ] {
            assert_eq!(read(text).unwrap().as_str(), Some(read_as), "{text}");
        }
    }

    #[test]
    fn a_number_beyond_all_others_is_null() {
        let list = read("[1e400,-1e400,1e308,1e-400]").unwrap();
        let list = list.as_array().unwrap();
        assert!(list[0].is_nil() && list[1].is_nil());
        assert_eq!((list[2].as_f64(), list[3].as_f64()), (Some(1e308), Some(0.0)));
        assert!(check("1e400").unwrap().has_infinite());
        assert!(check(&"9".repeat(310)).unwrap().has_infinite());
        assert!(!check(&"9".repeat(308)).unwrap().has_infinite());
        assert!(!check("\"1e400\"").unwrap().has_infinite());
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "",
            "{",
            "\"\\",
            "\"\\ud800",
            "[1,]",
            "\\u12",
            "[1]x",
            "[1]]",
            "[01]",
            "[1.]",
            "[-]",
            "[+1]",
            "[1e]",
            "[.5]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "['a']",
            "[tru]",
            "nul",
            "[\"a\tb\"]",
            "[\"\\x\"]",
            "[\"\\u12g4\"]",
            "[,]",
            "{,}",
            "[1}",
            "{\"a\":1]",
            "\u{feff}1",
            "[1 2]",
            "[NaN]",
            "[Infinity]",
            "[\"a\"\"b\"]",
        ] {
            assert_eq!(check(text), Err(ReadError::Malformed), "{text:?}");
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn there_is_one_limit_of_depth() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(check(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(ReadError::TooDeep));
        assert_eq!(check(&"[".repeat(100_000)), Err(ReadError::TooDeep));
        let maps = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
        assert!(check(&maps(MAX_DEPTH)).is_ok());
        assert_eq!(check(&maps(MAX_DEPTH + 1)), Err(ReadError::TooDeep));
    }

    proptest! {
        /// Every text that serde_json takes is taken, and serde_json takes none that is odd or
        /// broken.
        #[test]
        fn it_agrees_with_a_strict_reader(text in r#"[\[\]{}:,"\\ua-e0-9.eE+ \-é]{0,40}"#) {
            let strict = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            let checked = check(&text);
            let plain = checked.as_ref().is_ok_and(|odd| *odd == Oddities::default());
            prop_assert_eq!(strict, plain, "{:?}", checked);
        }

        #[test]
        fn whatever_is_written_is_read(text in any::<Vec<String>>()) {
            let text = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(check(&text), Ok(Oddities::default()));
        }
    }
}
