//! Payloads as they are made, read and passed on.

use serde_json::json;

use super::*;
use crate::packet::MAX_DEPTH;

fn received(text: &str) -> Payload {
    Payload::received(Value::Str(text.to_owned().into(), None))
}

fn text(payload: &Payload) -> &str {
    payload.value.as_str().map_or("", |text| text.as_str())
}

#[test]
fn the_first_argument_alone_is_what_an_acknowledgement_gets() {
    for (event, ack) in [
        (r#"["e"]"#, "[]"),
        (r#"["e",1]"#, "[1]"),
        (r#"["e",{"a":[1.0,"]"]},2]"#, r#"[{"a":[1.0,"]"]}]"#),
        (r#"["e" , "x" ,2]"#, r#"["x"]"#),
        (r#"["\u0065",[[]],2]"#, "[[[]]]"),
    ] {
        let first = received(event).first_as_ack().expect("well formed");
        assert_eq!(text(&first), ack, "{event}");
    }
    assert!(received(r#"["e",nonsense]"#).first_as_ack().is_err());
    let several = Payload::ack(&(1, 2)).expect("encoded");
    assert_eq!(text(&several.first_as_ack().expect("well formed")), "[1]");
}

#[test]
fn arguments_are_passed_on_under_another_name() {
    let event = received(r#"["e",1,{"n":1.50}]"#);
    assert_eq!(text(&event.with_event("f\"").expect("renamed")), r#"["f\"",1,{"n":1.50}]"#);
    assert_eq!(text(&event.clone().into_ack().expect("an ack")), r#"[1,{"n":1.50}]"#);
    assert_eq!(text(&received(r#"["e"]"#).into_ack().expect("an ack")), "[]");
    assert!(matches!(event.with_event("disconnect"), Err(PayloadError::ReservedEvent(_))));
}

#[test]
fn a_tuple_is_all_arguments_and_an_absent_one_reads_like_null() {
    let event = received(r#"["e",1,"two"]"#);
    assert_eq!(event.decode::<(u8, String)>().expect("both"), (1, "two".to_owned()));
    assert_eq!(event.decode::<u8>().expect("the first"), 1);
    assert!(event.decode::<String>().is_err());
    let empty = received(r#"["e"]"#);
    assert!(empty.is_empty() && !event.is_empty());
    assert_eq!(empty.decode::<Option<u8>>().expect("none"), None);
    assert!(empty.decode::<u8>().is_err());
}

#[test]
fn both_formats_carry_the_same_arguments() {
    let bytes = serde_bytes::Bytes::new(&[1, 2, 3]);
    let event = Payload::event("e", &(bytes, json!({ "n": 1.5 }))).expect("encoded");
    let wire = event.clone().into_wire(Parser::MsgPack).expect("converted");
    let packed = Payload::received(wire).checked().expect("sound");
    assert_eq!(packed.event_name().as_deref(), Some("e"));
    assert_eq!(packed.tree().expect("read"), event.tree().expect("read"));
    let back = Payload::of_packet(packed.into_wire(Parser::Json).expect("converted"), true);
    assert_eq!(back, event);
}

fn packed(values: &[Tree]) -> Payload {
    let mut bytes = Vec::new();
    msgpack::write_array(&mut bytes, values);
    Payload::received(Value::Bytes(bytes.into())).checked().expect("sound")
}

#[test]
fn arguments_in_messagepack_are_passed_on_without_being_read() {
    let list = Tree::Array(vec![Tree::from(1), Tree::F64(0.5)]);
    let event = packed(&[Tree::from("e"), list.clone(), Tree::from("two")]);
    let renamed = event.with_event("f").expect("renamed");
    assert_eq!(renamed, packed(&[Tree::from("f"), list.clone(), Tree::from("two")]));
    let first = event.first_as_ack().expect("the first");
    assert_eq!(first.tree().expect("read"), [list]);
    assert_eq!(event.clone().into_ack().expect("all").tree().expect("read").len(), 2);
    assert!(packed(&[Tree::from("e")]).first_as_ack().expect("none").is_empty());
    let both: (Vec<f64>, String) = event.decode().expect("both");
    assert_eq!(both, (vec![1.0, 0.5], "two".to_owned()));
}

#[test]
fn names_are_what_javascript_takes_for_one() {
    for (text, name) in [
        (r#"["e"]"#, Some("e")),
        (r#"["a\/b",1]"#, Some("a/b")),
        (r#"["\u00e9v\u00e9nement"]"#, Some("événement")),
        (r#"["a\"b\\"]"#, Some("a\"b\\")),
        (r#"["\ud800"]"#, Some("\u{fffd}")),
        (r#"[1,"x"]"#, Some("1")),
        ("[1.0]", Some("1")),
        ("[ -1.5e3 ]", Some("-1500")),
        ("[1e21]", Some("1e+21")),
        ("[null]", None),
        ("[]", None),
    ] {
        let payload = received(text);
        assert_eq!(payload.event_name().as_deref(), name, "{text}");
        assert_eq!(payload.checked().is_ok(), name.is_some(), "{text}");
    }
    assert_eq!(packed(&[Tree::from(7), Tree::Nil]).event_name().as_deref(), Some("7"));
    assert_eq!(text(&received("[1,2]").with_event("e").expect("renamed")), r#"["e",2]"#);
}

/// Unwraps every text that the edge has wrapped, and no other.
#[test]
fn an_event_under_another_name_is_taken_out() {
    let wrapped = |inside: &str| received(&format!("[\"\u{e000}\",{inside}]"));
    assert_eq!(text(&wrapped(r#"["a\/b",1]"#)), r#"["a\/b",1]"#);
    for (inside, error) in [
        ("11", ReadError::TooManyAttachments),
        ("null", ReadError::TooDeep),
        (r#"["a"],[1]"#, ReadError::Malformed),
        ("1,1", ReadError::NoList),
    ] {
        assert_eq!(wrapped(inside).checked(), Err(error), "{inside}");
    }
    let own = Payload::of_packet(Value::Str("[\"\u{e000}\",[1]]".into(), None), true);
    assert_eq!(own.event_name().as_deref(), Some("\u{e000}"));
}

#[test]
fn what_a_client_sent_is_checked() {
    for (text, error) in [
        (r#"["e",1]garbage"#, ReadError::Malformed),
        (r#"["e",1"#, ReadError::Malformed),
        (r#"{"e":1}"#, ReadError::NoList),
        (r#"["connect",1]"#, ReadError::ReservedEvent),
        (r#"["\u0063onnect"]"#, ReadError::ReservedEvent),
        (r#"["e",1e400]"#, ReadError::NumberTooLarge),
    ] {
        assert_eq!(received(text).checked(), Err(error), "{text}");
    }
    let nested = |depth: usize| format!("[\"e\",{}{}]", "[".repeat(depth), "]".repeat(depth));
    assert!(received(&nested(MAX_DEPTH - 1)).checked().is_ok());
    assert_eq!(received(&nested(MAX_DEPTH)).checked(), Err(ReadError::TooDeep));
    assert!(received(r#"["e","\ud800",{"\u00e9":1}]"#).checked().is_ok());
}

#[test]
fn keys_with_escapes_and_halves_of_characters_are_read() {
    let event = received(r#"["e",{"a\"b":1,"\u00e9":"\ud800"}]"#).checked().expect("sound");
    let read: serde_json::Value = event.decode().expect("decoded");
    assert_eq!(read, json!({ "a\"b": 1, "é": "\u{fffd}" }));
    let tree: Tree = event.decode().expect("decoded");
    assert_eq!(tree["é"].as_str(), Some("\u{fffd}"));
}

#[test]
fn attachments_must_fit_their_placeholders() {
    let with = |text: &str, attachments: usize| {
        let attachments = (0..attachments).map(|_| bytes::Bytes::from_static(b"x")).collect();
        Payload::received(Value::Str(text.to_owned().into(), Some(attachments))).checked()
    };
    let odd = r#"["e",{"num":0,"_placeholder":true},{"_placeholder":false,"num":9}]"#;
    let event = with(odd, 1).expect("one for one");
    assert_eq!(text(&event), odd, "and passed on as it came");
    let (bytes, data): (serde_bytes::ByteBuf, serde_json::Value) = event.decode().expect("both");
    assert_eq!((&bytes[..], data), (&b"x"[..], json!({ "_placeholder": false, "num": 9 })));
    let far = r#"["e",{"_placeholder":true,"num":7}]"#;
    assert_eq!(with(far, 2), Err(ReadError::StrayPlaceholder));
    assert!(received(far).checked().is_ok(), "without attachments it is a map like any other");
    let text = with(r#"["e",{"_placeholder":true,"num":0}]"#, 1).expect("one for one");
    assert!(text.decode::<String>().is_err(), "binary is no text");
    assert!(with(r#"["e"]"#, 1).is_ok(), "the official parser leaves it out");
}

#[test]
fn what_no_client_takes_is_not_encoded() {
    let binaries = |count: usize| Payload::event("e", &vec![Tree::Binary(b"x".to_vec()); count]);
    assert!(binaries(10).is_ok());
    assert!(matches!(binaries(11), Err(PayloadError::TooManyAttachments)));
    let stray = json!({ "_placeholder": true, "num": 0 });
    assert!(Payload::event("e", &stray).is_ok());
    let binary = serde_bytes::Bytes::new(b"x");
    assert!(Payload::event("e", &(binary, &stray)).is_err(), "it would be taken for the binary");
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    assert!(Payload::event("e", &nested(MAX_DEPTH - 1)).is_ok());
    assert!(matches!(Payload::event("e", &nested(MAX_DEPTH)), Err(PayloadError::TooDeep)));
    assert!(matches!(Payload::ack(&nested(MAX_DEPTH)), Err(PayloadError::TooDeep)));
    assert!(Payload::event("e", &vec!["[[[[[[[["; 100]).is_ok(), "brackets in text are no levels");
}

#[test]
fn types_are_read_alike_in_both_formats() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    enum Kind {
        Plain,
        With { n: u8 },
        Wraps(String),
    }
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Named(String);
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Both(u8, String);
    fn alike<T: DeserializeOwned + PartialEq + std::fmt::Debug>(arguments: &str, expected: &T) {
        let text = received(&format!("[\"e\",{arguments}]"));
        let packed = Payload::received(text.clone().into_wire(Parser::MsgPack).expect("packed"));
        assert_eq!(text.decode::<T>().expect("text"), *expected, "{arguments}");
        assert_eq!(packed.decode::<T>().expect("packed"), *expected, "{arguments}");
    }
    let kinds = vec![Kind::Plain, Kind::With { n: 1 }, Kind::Wraps("x".into())];
    alike(r#"["Plain",{"With":{"n":1}},{"Wraps":"x"}]"#, &kinds);
    alike(r#""name",2"#, &Named("name".into()));
    alike(r#"1,"x""#, &Both(1, "x".into()));
    alike(r#"1,"x""#, &(1_u8, "x".to_owned()));
    alike("null", &None::<u8>);
    alike(r#"{"a":[1,{"b":null}]}"#, &json!({ "a": [1, { "b": null }] }));
}
