//! Arguments as values with binary inline, and back as a packet with its attachments.

use std::collections::VecDeque;

use bytes::Bytes;
use rmpv::Value as Tree;
use socketioxide_core::Value;

use super::text::Writer;
use crate::{
    javascript::{is_safe_integer, json},
    msgpack,
    packet::{MAX_ATTACHMENTS, MAX_DEPTH, PLACEHOLDER, ReadError},
};

/// An event or the arguments of an acknowledgement, for clients with Socket.IO's own parser.
///
/// # Errors
/// If the official parser would not take it.
pub(crate) fn to_packet(values: &[Tree]) -> Result<Value, ReadError> {
    let mut writer = Writer::of_packet(64);
    writer.array(values, MAX_DEPTH - 1)?;
    writer.into_packet()
}

/// The values of a packet, the event's name first if it has one.
///
/// # Errors
/// If the packet is malformed, as a client's may be.
pub(crate) fn from_packet(packet: &Value) -> Result<Vec<Tree>, ReadError> {
    let tree = match packet {
        Value::Str(text, attachments) => {
            let mut tree = json::read(text)?;
            if let Some(attachments) = attachments {
                put_back(&mut tree, attachments, &mut 0)?;
            }
            tree
        }
        Value::Bytes(bytes) => {
            let mut tree = msgpack::read(bytes)?;
            define(&mut tree);
            tree
        }
    };
    match tree {
        Tree::Array(values) => Ok(values),
        _ => Err(ReadError::NoList),
    }
}

/// Puts attachments in place of their placeholders, as the official parser does. A map whose member
/// `_placeholder` is true is one, whatever else it holds; all other maps are the application's.
///
/// A packet may name one attachment several times, but not so often that a small packet becomes a
/// large one.
fn put_back(
    tree: &mut Tree,
    attachments: &VecDeque<Bytes>,
    placed: &mut usize,
) -> Result<(), ReadError> {
    match tree {
        Tree::Array(values) => {
            values.iter_mut().try_for_each(|value| put_back(value, attachments, placed))
        }
        Tree::Map(members) => match placeholder(members, attachments.len(), placed)? {
            Some(number) => {
                *tree = Tree::Binary(attachments[number].to_vec());
                Ok(())
            }
            None => {
                let mut values = members.iter_mut().map(|(_, value)| value);
                values.try_for_each(|value| put_back(value, attachments, placed))
            }
        },
        _ => Ok(()),
    }
}

/// Counts the placeholders. Each must have its attachment.
pub(super) fn count_places(
    tree: &Tree,
    attachments: usize,
    placed: &mut usize,
) -> Result<(), ReadError> {
    match tree {
        Tree::Array(values) => {
            values.iter().try_for_each(|value| count_places(value, attachments, placed))
        }
        Tree::Map(members) => match placeholder(members, attachments, placed)? {
            Some(_) => Ok(()),
            None => {
                let mut values = members.iter().map(|(_, value)| value);
                values.try_for_each(|value| count_places(value, attachments, placed))
            }
        },
        _ => Ok(()),
    }
}

/// The attachment that a map stands for, if it does.
fn placeholder(
    members: &[(Tree, Tree)],
    attachments: usize,
    placed: &mut usize,
) -> Result<Option<usize>, ReadError> {
    if member(members, PLACEHOLDER).and_then(Tree::as_bool) != Some(true) {
        return Ok(None);
    }
    *placed += 1;
    if *placed > MAX_ATTACHMENTS {
        return Err(ReadError::TooManyAttachments);
    }
    let number = member(members, "num").and_then(index).filter(|number| *number < attachments);
    number.map(Some).ok_or(ReadError::StrayPlaceholder)
}

/// The last member of the name. It wins in JavaScript.
fn member<'a>(members: &'a [(Tree, Tree)], name: &str) -> Option<&'a Tree> {
    members.iter().rev().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

fn index(number: &Tree) -> Option<usize> {
    match number {
        Tree::F64(number) if is_safe_integer(*number) && *number >= 0.0 => Some(*number as usize),
        number => usize::try_from(number.as_u64()?).ok(),
    }
}

/// Replaces `undefined` of notepack.io 2: such a member is left out, and in a list it becomes null.
fn define(tree: &mut Tree) {
    match tree {
        Tree::Array(values) => values.iter_mut().for_each(define),
        Tree::Map(members) => {
            members.retain(|(_, value)| !is_undefined(value));
            members.iter_mut().for_each(|(_, value)| define(value));
        }
        value if is_undefined(value) => *value = Tree::Nil,
        _ => {}
    }
}

/// The extension that stands for `undefined`, with one byte in it.
pub(super) fn is_undefined(value: &Tree) -> bool {
    matches!(value, Tree::Ext(0, bytes) if bytes.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, attachments: &[&'static [u8]]) -> Result<Vec<Tree>, ReadError> {
        let attachments = attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect();
        from_packet(&Value::Str(text.to_owned().into(), Some(attachments)))
    }

    #[test]
    fn a_packet_keeps_its_attachments() {
        let text = r#"["e",{"_placeholder":true,"num":1},{"a":[{"_placeholder":true,"num":0}]}]"#;
        let values = with(text, &[b"x", b"yy"]).unwrap();
        assert_eq!(values[1].as_slice(), Some(&b"yy"[..]));
        let Value::Str(text, Some(attachments)) = to_packet(&values).unwrap() else {
            panic!("a packet with attachments")
        };
        assert!(text.starts_with(r#"["e",{"_placeholder":true,"num":0}"#), "{text}");
        assert_eq!(attachments[0], &b"yy"[..]);
    }

    #[test]
    fn a_placeholder_is_what_the_official_parser_takes_for_one() {
        let x = Tree::Binary(b"x".to_vec());
        for text in [
            r#"["e",{"_placeholder":true,"num":0}]"#,
            r#"["e",{"num":0,"_placeholder":true}]"#,
            r#"["e",{"num":0.0,"more":[1],"_placeholder":true}]"#,
            r#"["e",{"\u005fplaceholder":true,"num":0}]"#,
            r#"["e",{"_placeholder":false,"_placeholder":true,"num":7,"num":0}]"#,
        ] {
            assert_eq!(with(text, &[b"x"]).unwrap()[1], x, "{text}");
        }
        for text in [
            r#"["e",{"_placeholder":false,"num":0}]"#,
            r#"["e",{"_placeholder":1,"num":0}]"#,
            r#"["e",{"_placeholder":"true","num":0}]"#,
            r#"["e",{"num":0}]"#,
        ] {
            assert!(with(text, &[b"x"]).unwrap()[1].is_map(), "{text}");
        }
        for text in [
            r#"["e",{"_placeholder":true}]"#,
            r#"["e",{"_placeholder":true,"num":1}]"#,
            r#"["e",{"_placeholder":true,"num":-1}]"#,
            r#"["e",{"_placeholder":true,"num":0.5}]"#,
            r#"["e",{"_placeholder":true,"num":"0"}]"#,
            r#"["e",[{"a":{"_placeholder":true,"num":null}}]]"#,
        ] {
            assert_eq!(with(text, &[b"x"]), Err(ReadError::StrayPlaceholder), "{text}");
        }
    }

    #[test]
    fn an_attachment_may_be_meant_more_than_once_but_not_without_end() {
        let places = |count: usize| {
            let places = vec![r#"{"_placeholder":true,"num":0}"#; count].join(",");
            with(&format!(r#"["e",{places}]"#), &[b"x"])
        };
        assert_eq!(places(10).unwrap().len(), 11);
        assert_eq!(places(11), Err(ReadError::TooManyAttachments));
    }

    #[test]
    fn what_the_official_parser_refuses_is_not_written() {
        let binaries = |count| {
            let mut values = vec![Tree::from("e")];
            values.extend((0..count).map(|_| Tree::Binary(b"x".to_vec())));
            values
        };
        assert!(to_packet(&binaries(10)).is_ok());
        assert_eq!(to_packet(&binaries(11)), Err(ReadError::TooManyAttachments));
        let stray = Tree::Map(vec![(Tree::from(PLACEHOLDER), Tree::from(true))]);
        let mut values = binaries(1);
        values.push(stray.clone());
        assert_eq!(to_packet(&values), Err(ReadError::StrayPlaceholder));
        assert!(to_packet(&[Tree::from("e"), stray]).is_ok(), "without attachments it is a map");
    }

    #[test]
    fn undefined_is_left_out_or_null() {
        let undefined = Tree::Ext(0, vec![0]);
        let map =
            Tree::Map(vec![(Tree::from("a"), undefined.clone()), (Tree::from("b"), Tree::from(1))]);
        let mut packet = Vec::new();
        msgpack::write_array(&mut packet, &[Tree::from("e"), undefined, map]);
        let values = from_packet(&Value::Bytes(packet.into())).unwrap();
        let map = Tree::Map(vec![(Tree::from("b"), Tree::from(1))]);
        assert_eq!(values, [Tree::from("e"), Tree::Nil, map]);
    }
}
