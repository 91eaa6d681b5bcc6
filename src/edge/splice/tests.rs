use std::collections::VecDeque;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Refusals that wait for these namespaces, each once.
fn waiting(namespaces: &[&str]) -> impl FnMut(&str) -> Option<Value> {
    let mut waiting: VecDeque<String> = namespaces.iter().map(|n| (*n).to_owned()).collect();
    move |namespace| {
        let at = waiting.iter().position(|waiting| waiting == namespace)?;
        waiting.remove(at).map(|namespace| json!({ "of": namespace }))
    }
}

fn nobody(_: &str) -> Option<Value> {
    None
}

#[test]
fn the_open_packet_gets_the_clients_own_id() {
    let body = r#"0{"sid":"AAAAAAAAAAAAAAAA","upgrades":["websocket"],"pingInterval":25000}"#;
    let opened = open_body(body, "n1.xyz", false, true).expect("OPEN");
    assert_eq!(opened, r#"0{"sid":"n1.xyz","upgrades":["websocket"],"pingInterval":25000}"#);
    let closed = open_body(body, "n1.xyz", false, false).expect("OPEN");
    assert_eq!(closed, r#"0{"sid":"n1.xyz","upgrades":[],"pingInterval":25000}"#);
    let old = format!("{}:{body}", body.len());
    let opened = open_body(&old, "n1.xyz", true, true).expect("OPEN");
    let (length, packet) = opened.split_once(':').expect("a length");
    assert_eq!(length, packet.len().to_string());
    assert_eq!(
        sid_of_open(body.as_bytes()).map(|sid| sid.to_string()).as_deref(),
        Some("AAAAAAAAAAAAAAAA")
    );
    assert_eq!(open_body("0{}", "n1.xyz", false, true), None);
}

#[test]
fn a_refusal_in_text_gets_its_data() {
    let splice = |packet: &[u8], namespaces: &[&str]| {
        text_packet(packet, &mut waiting(namespaces)).map(|p| String::from_utf8(p).expect("text"))
    };
    assert_eq!(
        splice(br#"44{"message":"no"}"#, &["/"]).as_deref(),
        Some(r#"44{"message":"no","data":{"of":"/"}}"#),
    );
    assert_eq!(
        splice(br#"44/a,b,{"message":"no"}"#, &["/a"]),
        None,
        "what follows the comma is no object",
    );
    assert_eq!(splice(b"44{}", &["/"]).as_deref(), Some(r#"44{"data":{"of":"/"}}"#));
    assert_eq!(splice(br#"44/chat,{"message":"no"}"#, &["/"]), None);
    for other in ["", "4", "44", "40{}", "42[\"44{}\"]", "44/chat", "3"] {
        assert_eq!(splice(other.as_bytes(), &["/", "/chat"]), None, "{other}");
    }
}

#[test]
fn a_refusal_in_message_pack_gets_its_data() {
    let packet = b"\x83\xa4type\x04\xa3nsp\xa5/chat\xa4data\x81\xa7message\xa2no";
    let spliced = msgpack_packet(packet, &mut waiting(&["/chat"])).expect("spliced");
    let tree = rmpv::decode::read_value(&mut spliced.as_slice()).expect("MessagePack");
    let expected: rmpv::Value = rmpv::ext::to_value(json!({
        "type": 4, "nsp": "/chat", "data": { "message": "no", "data": { "of": "/chat" } },
    }))
    .expect("a value");
    let sorted = |value: &rmpv::Value| {
        let text = value.to_string();
        let mut bytes = text.into_bytes();
        bytes.sort_unstable();
        bytes
    };
    assert_eq!(sorted(&tree), sorted(&expected));
    assert_eq!(msgpack_packet(packet, &mut nobody), None);
    let trailing = [packet.as_slice(), b"\xc0"].concat();
    assert_eq!(msgpack_packet(&trailing, &mut waiting(&["/chat"])), None);
}

#[test]
fn the_packets_of_a_body_are_spliced_one_by_one() {
    let body = Bytes::from_static(
        b"42[\"a\"]\x1e44{\"message\":\"x\"}\x1e44/chat,{\"message\":\"y\"}\x1ebAQID",
    );
    let spliced = body_v4(body.clone(), &mut waiting(&["/chat", "/"]));
    assert_eq!(
        spliced,
        &b"42[\"a\"]\x1e44{\"message\":\"x\",\"data\":{\"of\":\"/\"}}\x1e44/chat,{\"message\":\"y\",\"data\":{\"of\":\"/chat\"}}\x1ebAQID"[..],
    );
    assert_eq!(body_v4(body.clone(), &mut nobody), body);
}

#[test]
fn attachments_for_old_clients_get_the_type_that_they_miss() {
    let text = Bytes::from_static("11:451-[\"é😀\"]5:bAQID".as_bytes());
    // the emoji counts twice, as in JavaScript
    let rewritten = body_v3(text, false, &mut nobody);
    assert_eq!(rewritten, "11:451-[\"é😀\"]6:b4AQID".as_bytes());
    let binary = Bytes::from_static(b"\x00\x03\xff451\x00\x05\xffbAQID\x01\x02\xff\x04\x09");
    let rewritten = body_v3(binary, true, &mut nobody);
    assert_eq!(rewritten, &b"\x00\x03\xff451\x00\x06\xffb4AQID\x01\x02\xff\x04\x09"[..]);
}

#[test]
fn a_good_bye_is_recognised_and_nothing_else_is_taken_for_one() {
    for body in ["1", "42[]\u{1e}1"] {
        assert!(closes(body.as_bytes(), false), "{body}");
    }
    for body in ["", "11", "421", "1\u{1e}2", "42[1]"] {
        assert!(!closes(body.as_bytes(), false), "{body}");
    }
    assert!(closes(b"1:1", true));
    assert!(!closes(b"5:42[1]1:1", true), "it may be the end of somebody's text");
}

proptest! {
    /// Whatever the engine sends, a body that nobody waits to change passes as it is.
    #[test]
    fn bodies_pass_unchanged_when_nobody_waits(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let body = Bytes::from(body);
        prop_assert_eq!(body_v4(body.clone(), &mut nobody), body);
    }

    /// Malformed bodies are no reason to panic, whatever waits.
    #[test]
    fn no_bytes_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        start in prop::sample::select(vec![&b""[..], b"44", b"\x83\xa4type\x04\xa3nsp", b"1:", b"\x00\x01\xff"]),
    ) {
        let body = Bytes::from([start, body.as_slice()].concat());
        let mut any = |_: &str| Some(json!({}));
        text_packet(&body, &mut any);
        msgpack_packet(&body, &mut any);
        body_v4(body.clone(), &mut any);
        body_v3(body.clone(), false, &mut any);
        body_v3(body.clone(), true, &mut any);
        sid_of_open(&body);
    }

    /// A body of many packets is what its packets are, one by one.
    #[test]
    fn a_body_is_its_packets(packets in prop::collection::vec("[0-6a-zé\"{}\\[\\],:/]{0,20}|44\\{\"message\":\"[a-z]{0,5}\"\\}", 0..12)) {
        let body = Bytes::from(packets.join("\u{1e}"));
        let mut any = |_: &str| Some(json!(1));
        let whole = body_v4(body, &mut any);
        let parts: Vec<_> = packets.iter().map(|packet| {
            text_packet(packet.as_bytes(), &mut any).unwrap_or_else(|| packet.clone().into_bytes())
        }).collect();
        // a packet that starts with `b` is base64 of a binary one, never a refusal in text
        let parts: Vec<_> = parts.into_iter().zip(&packets).map(|(part, packet)| {
            if packet.starts_with('b') { packet.clone().into_bytes() } else { part }
        }).collect();
        prop_assert_eq!(whole, parts.join(&0x1e));
    }
}
