//! Places in a log, as numbers and as the text that clients keep.
//!
//! A client takes the last argument of each event for its offset if it is text, its own
//! application's text, too. So offsets have a form that nothing else has, and an event without an
//! offset of its own that ends with text gets the present one.

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use socketioxide_core::Value;

use super::entry_id::{EntryId, number_of};
use crate::msgpack;

/// A place in a log: the one of an event, or behind it.
pub(crate) type Position = EntryId;

/// How one log writes its places.
#[derive(Debug)]
pub(crate) enum Offsets {
    /// `<name of the log>.<number>`. Each log in memory has a name of its own, so that the offset of
    /// another one, or of an earlier run, is not mistaken for its own.
    InMemory { log: Box<str> },
    /// As Redis and Node.js write them.
    InStream,
}

/// A client's offset, as far as this log can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A place in this log.
    Here(Position),
    /// A place in another log. The client has kept it from an earlier session, so it has received
    /// nothing in the last one.
    Elsewhere,
    /// No server says this.
    Nonsense,
}

/// Characters of a log's name: 48 random bits.
const NAME: usize = 8;

impl Offsets {
    /// The offsets of a new log in memory.
    pub(crate) fn in_memory() -> Self {
        let name: [u8; NAME / 4 * 3] = rand::random();
        Self::InMemory { log: BASE64.encode(name).into() }
    }

    pub(crate) fn write(&self, position: Position) -> String {
        let mut text = String::with_capacity(24);
        // Writing to a string never fails.
        let _ = match self {
            Self::InMemory { log } => write!(text, "{log}.{}", position.number),
            Self::InStream => write!(text, "{position}"),
        };
        text
    }

    /// The name of a log in memory.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::InMemory { log } => Some(log),
            Self::InStream => None,
        }
    }

    /// The log in memory that an offset belongs to, and the place in it.
    pub(crate) fn of_any_log(text: &str) -> Option<(&str, Position)> {
        in_memory(text).map(|(name, number)| (name, Position::numbered(number)))
    }

    pub(crate) fn read(&self, text: &str) -> Said {
        let in_memory = in_memory(text);
        let in_stream = text.parse::<EntryId>().ok();
        match (self, in_memory, in_stream) {
            (Self::InMemory { log }, Some((name, number)), _) if *name == **log => {
                Said::Here(Position::numbered(number))
            }
            (Self::InStream, _, Some(place)) => Said::Here(place),
            (_, None, None) => Said::Nonsense,
            _ => Said::Elsewhere,
        }
    }
}

fn in_memory(text: &str) -> Option<(&str, u64)> {
    let (name, number) = text.split_once('.')?;
    let is_name = name.len() == NAME
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    is_name.then_some((name, number_of(number)?))
}

/// An event with one more argument. `None` if the value is no array.
pub(crate) fn with_offset(event: &Value, offset: &str) -> Option<Value> {
    match event {
        Value::Str(text, attachments) => {
            let open = text.trim_ascii_end().strip_suffix(']')?;
            let mut longer = String::with_capacity(open.len() + offset.len() + 4);
            longer.push_str(open);
            // An offset has no characters that JSON escapes.
            for part in [",\"", offset, "\"]"] {
                longer.push_str(part);
            }
            Some(Value::Str(longer.into(), attachments.clone()))
        }
        Value::Bytes(bytes) => {
            let (length, rest) = msgpack::array(bytes)?;
            let mut longer = Vec::with_capacity(bytes.len() + offset.len() + 8);
            msgpack::array_header(&mut longer, length + 1);
            longer.extend_from_slice(rest);
            msgpack::text(&mut longer, offset);
            Some(Value::Bytes(longer.into()))
        }
    }
}

/// Whether the last element of an event is text, which the client would take for its offset. The
/// event's name is an element, too.
pub(crate) fn ends_with_text(event: &Value) -> bool {
    match event {
        Value::Str(text, _) => {
            let open = text.trim_ascii_end().strip_suffix(']');
            open.is_some_and(|open| open.trim_ascii_end().ends_with('"'))
        }
        Value::Bytes(bytes) => {
            let last = msgpack::read(bytes).ok();
            let last = last.as_ref().and_then(|event| event.as_array()?.last());
            last.is_some_and(rmpv::Value::is_str)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rmpv::Value as Tree;

    use super::*;

    fn text(text: &str) -> Value {
        Value::Str(text.to_owned().into(), None)
    }

    fn packed(elements: &[Tree]) -> Value {
        let mut bytes = Vec::new();
        msgpack::write_array(&mut bytes, elements);
        Value::Bytes(bytes.into())
    }

    #[test]
    fn an_offset_reads_back_in_its_own_log_and_no_other() {
        let (one, other) = (Offsets::in_memory(), Offsets::in_memory());
        let position = Position::numbered(4821);
        let offset = one.write(position);
        assert_eq!(one.read(&offset), Said::Here(position));
        assert_eq!(other.read(&offset), Said::Elsewhere);
        assert_eq!(one.read("1795490547421-3"), Said::Elsewhere, "of a stream in Redis");

        let in_stream: Position = "1795490547421-3".parse().expect("an id");
        assert_eq!(Offsets::InStream.write(in_stream), "1795490547421-3");
        assert_eq!(Offsets::InStream.read("1795490547421-3"), Said::Here(in_stream));
        assert_eq!(Offsets::InStream.read(&offset), Said::Elsewhere);
        assert_eq!(Offsets::InStream.read("hello"), Said::Nonsense);
    }

    #[test]
    fn text_of_applications_is_no_offset() {
        let log = Offsets::in_memory();
        for text in [
            "",
            "hello",
            "abcdefgh",
            "abcdefgh.",
            ".1",
            "abcdefgh.x",
            "abcdefgh.-1",
            "abcdefgh.+1",
            "abcdefg.1",
            "1.5",
            "v1.2.3",
            "-",
            "1-",
            "-1",
            "1-x",
            "+1-1",
            "99999999999999999999999-0",
            "abcdefgh.99999999999999999999999",
        ] {
            assert_eq!(log.read(text), Said::Nonsense, "{text}");
        }
    }

    #[test]
    fn the_offset_is_the_last_argument() {
        for (event, longer) in [
            (r#"["a"]"#, r#"["a","x.1"]"#),
            (r#"["a",1]"#, r#"["a",1,"x.1"]"#),
            ("[\"a\",[1] ] \n", r#"["a",[1] ,"x.1"]"#),
        ] {
            assert_eq!(with_offset(&text(event), "x.1"), Some(text(longer)), "{event}");
        }
        let attached = Value::Str(
            r#"["a",{"_placeholder":true,"num":0}]"#.into(),
            Some([b"x".as_slice().into()].into()),
        );
        match with_offset(&attached, "x.1") {
            Some(Value::Str(text, Some(attachments))) => {
                assert_eq!(&*text, r#"["a",{"_placeholder":true,"num":0},"x.1"]"#);
                assert_eq!(attachments.len(), 1);
            }
            other => panic!("{other:?}"),
        }
        // The header of 15 elements has one byte, that of 16 has three.
        for length in [1, 2, 15, 16, 40] {
            let mut elements = vec![Tree::from(7); length];
            let event = packed(&elements);
            elements.push("x.1".into());
            assert_eq!(with_offset(&event, "x.1"), Some(packed(&elements)));
        }
        assert_eq!(with_offset(&text("{}"), "x.1"), None);
        assert_eq!(with_offset(&Value::Bytes(b"\x80".as_slice().into()), "x.1"), None);
    }

    #[test]
    fn it_is_known_whether_an_event_ends_with_text() {
        for event in
            [r#"["a"]"#, r#"["a",1,"b"]"#, "[\"a\", \"b\" ] ", r#"["a","\""]"#, r#"["a",""]"#]
        {
            assert!(ends_with_text(&text(event)), "{event}");
        }
        for event in [r#"["a",1]"#, r#"["a",["b"]]"#, r#"["a",{"b":"c"}]"#, r#"["a",null]"#] {
            assert!(!ends_with_text(&text(event)), "{event}");
        }
        assert!(ends_with_text(&packed(&["a".into()])));
        assert!(ends_with_text(&packed(&["a".into(), 1.into(), "b".into()])));
        assert!(!ends_with_text(&packed(&["a".into(), Tree::Binary(b"b".to_vec())])));
    }

    proptest! {
        #[test]
        fn whatever_a_client_says_is_read(said in ".{0,60}") {
            let _ = Offsets::in_memory().read(&said);
        }
    }
}
