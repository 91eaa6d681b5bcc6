//! JSON that was written by JavaScript: it may hold halves of characters, which strict readers
//! refuse.

use std::borrow::Cow;

use rmpv::Value as Tree;

use super::DecodeError;

/// Reads a value. An unpaired surrogate becomes the replacement character: the message is not lost
/// for it (pitfall 14 of the wire specification).
pub(super) fn read(text: &str) -> Result<Tree, DecodeError> {
    serde_json::from_str(text).or_else(|error| match mended(text) {
        Cow::Owned(mended) => serde_json::from_str(&mended).map_err(|_| DecodeError::Malformed),
        Cow::Borrowed(_) if error.to_string().contains("recursion") => Err(DecodeError::TooDeep),
        Cow::Borrowed(_) => Err(DecodeError::Malformed),
    })
}

/// The text with unpaired surrogates replaced; borrowed if there are none.
pub(crate) fn mended(text: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str("\\ufffd");
                changed = true;
                rest = &escape[6..];
                continue;
            }
            // The character behind the backslash goes with it, whatever it is.
            _ => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        let (escape, behind) = escape.split_at(length);
        mended.push_str(escape);
        rest = behind;
    }
    if changed {
        mended.push_str(rest);
        Cow::Owned(mended)
    } else {
        Cow::Borrowed(text)
    }
}

/// The unit of UTF-16 that a text starts with in the form `\uXXXX`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_characters_are_replaced_and_whole_ones_kept() {
        for (text, read_as) in [
            (r#""\ud800""#, "\u{fffd}"),
            (r#""a\udc00b""#, "a\u{fffd}b"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud800\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\\ud800""#, "\\ud800"),
        ] {
            assert_eq!(read(text).unwrap().as_str(), Some(read_as), "{text}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["", "{", "\"\\", "\"\\ud800", "[1,]", "\\u12"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(matches!(read(&"[".repeat(100_000)), Err(DecodeError::TooDeep)));
    }
}
