use proptest::prelude::*;
use serde_json::json;

use super::*;

fn nothing(_: Kind, _: &str) -> Option<Answer> {
    None
}

/// Has `data` for one CONNECT_ERROR of `namespace`.
fn once(namespace: &'static str, data: Value) -> impl Answers {
    answer(namespace, Answer::Refused(data))
}

fn answer(namespace: &str, answer: Answer) -> impl Answers {
    let mut answer = Some(answer);
    move |kind: Kind, asked: &str| {
        let fits = asked == namespace && answer.as_ref().is_some_and(|one| one.kind() == kind);
        if fits { answer.take() } else { None }
    }
}

#[test]
fn a_connect_gets_the_public_id() {
    let id = SocketId::random();
    for (namespace, before, after) in [
        ("/", r#"40{"sid":"AAAAAAAAAAAAAAAA"}"#, format!(r#"40{{"sid":"{id}"}}"#)),
        ("/a", r#"40/a,{"sid":"AAAAAAAAAAAAAAAA"}"#, format!(r#"40/a,{{"sid":"{id}"}}"#)),
    ] {
        let mut answer = answer(namespace, Answer::Admitted(id, None));
        assert_eq!(text_packet(before.as_bytes(), false, &mut answer), Some(after.into_bytes()));
        assert_eq!(text_packet(before.as_bytes(), false, &mut answer), None, "once");
    }
}

#[test]
fn what_only_starts_as_a_connect_passes() {
    let mut connect = answer("/", Answer::Admitted(SocketId::random(), None));
    for packet in ["40", "40{}", "40{\"side\":1}", "40/a,{\"sid\":\"A\"}", "42[\"40{\"]", "44{}"] {
        assert_eq!(text_packet(packet.as_bytes(), false, &mut connect), None, "{packet}");
    }
    assert!(text_packet(br#"40{"sid":"A"}"#, false, &mut connect).is_some(), "still there");
}

#[test]
fn a_msgpack_connect_gets_the_public_id() {
    #[derive(serde::Serialize)]
    struct Packet<'a> {
        r#type: u8,
        nsp: &'a str,
        data: Data<'a>,
    }
    #[derive(serde::Serialize)]
    struct Data<'a> {
        sid: &'a str,
    }
    let packet = |nsp: &str, sid: &str| {
        rmp_serde::to_vec_named(&Packet { r#type: 0, nsp, data: Data { sid } }).expect("msgpack")
    };
    let id = SocketId::random();
    for namespace in ["/", "/chat", &format!("/{}", "n".repeat(300))] {
        let (before, after) =
            (packet(namespace, "AAAAAAAAAAAAAAAA"), packet(namespace, id.as_str()));
        let mut answer = answer(namespace, Answer::Admitted(id, None));
        for cut in 0..before.len() {
            assert_eq!(msgpack_packet(&before[..cut], &mut answer), None, "{cut}");
        }
        assert_eq!(msgpack_packet(&before, &mut answer), Some(after));
    }
}

#[test]
fn what_may_be_an_answer_is_seen_from_its_start() {
    let connect = msgpack_error("/", None);
    for start in [b"40{\"sid\"".as_slice(), b"44/", &connect] {
        assert!(may_be_answer(&start[..start.len().min(ANSWER_START)]));
    }
    for start in [b"42[\"40\"]".as_slice(), b"", b"4", b"\x83\xa4type\x02", b"\x83\xa4"] {
        assert!(!may_be_answer(start));
    }
}

const OPEN: &str = r#"0{"sid":"AAAAAAAAAAAAAAAA","upgrades":["websocket"],"pingInterval":25000}"#;

#[test]
fn the_engines_id_is_found_in_its_open_packet() {
    let sid = sid_of_open(OPEN.as_bytes()).expect("an id");
    assert_eq!(sid.as_str(), "AAAAAAAAAAAAAAAA");
    for other in ["", "2", r#"0{"sid":"short"}"#, r#"0{"sid":"AAAAAAAAAAAAAAA!"}"#, "0{\"sid\":\""]
    {
        assert_eq!(sid_of_open(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn the_client_is_told_its_own_id() {
    assert_eq!(
        open_body(OPEN, "n1.signed", false, true).as_deref(),
        Some(r#"0{"sid":"n1.signed","upgrades":["websocket"],"pingInterval":25000}"#),
    );
    assert_eq!(
        open_body(OPEN, "n1.signed", false, false).as_deref(),
        Some(r#"0{"sid":"n1.signed","upgrades":[],"pingInterval":25000}"#),
    );
}

#[test]
fn engine_io_3_is_told_the_new_length() {
    let body = format!("{}:{OPEN}", OPEN.len());
    let packet = OPEN.replace("AAAAAAAAAAAAAAAA", "n1.signed");
    assert_eq!(
        open_body(&body, "n1.signed", true, true),
        Some(format!("{}:{packet}", packet.len())),
    );
}

#[test]
fn a_connect_error_gets_its_data() {
    for (namespace, before, after) in [
        ("/", r#"44{"message":"no"}"#, r#"44{"message":"no","data":{"code":1}}"#),
        ("/chat", r#"44/chat,{"message":"no"}"#, r#"44/chat,{"message":"no","data":{"code":1}}"#),
        ("/", r#"44{"message":"a,b}"}"#, r#"44{"message":"a,b}","data":{"code":1}}"#),
        ("/", "44{}", r#"44{"data":{"code":1}}"#),
    ] {
        let spliced =
            text_packet(before.as_bytes(), false, &mut once(namespace, json!({ "code": 1 })));
        assert_eq!(spliced.as_deref(), Some(after.as_bytes()));
    }
}

/// As in Node.js, where clients of version 2 are sent `err.data || err.message`.
#[test]
fn a_connect_error_is_its_data_in_version_2() {
    let mut refusals = once("/chat", json!({ "code": 1 }));
    let error = br#"44/chat,{"message":"no"}"#;
    assert_eq!(
        text_packet(error, true, &mut refusals).as_deref(),
        Some(&br#"44/chat,{"code":1}"#[..])
    );
    assert_eq!(text_packet(error, true, &mut refusals), None);
}

#[test]
fn other_packets_and_namespaces_pass() {
    let mut refusals = once("/chat", json!(1));
    for packet in ["", "4", "44", "44/chat", "44\"no\"", "40/chat,{}", "42[\"44{}\"]"] {
        assert_eq!(text_packet(packet.as_bytes(), false, &mut refusals), None, "{packet}");
    }
    assert_eq!(text_packet(br#"44{"message":"no"}"#, false, &mut refusals), None);
    assert!(
        text_packet(br#"44/chat,{"message":"no"}"#, false, &mut refusals).is_some(),
        "still there"
    );
}

/// A packet as the parser writes it, whose `message` comes first.
fn msgpack_error(namespace: &str, data: Option<&Value>) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Packet<'a> {
        r#type: u8,
        nsp: &'a str,
        data: Data<'a>,
    }
    #[derive(serde::Serialize)]
    struct Data<'a> {
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a Value>,
    }
    let packet = Packet { r#type: 4, nsp: namespace, data: Data { message: "no", data } };
    rmp_serde::to_vec_named(&packet).expect("msgpack")
}

#[test]
fn a_msgpack_connect_error_gets_its_data() {
    for namespace in ["/", "/chat", &format!("/{}", "n".repeat(300))] {
        let before = msgpack_error(namespace, None);
        let data = json!({ "code": "forbidden", "retry": false, "list": [1, -2.5, null] });
        let mut refusal = answer(namespace, Answer::Refused(data.clone()));
        let after = msgpack_packet(&before, &mut refusal).expect("spliced");
        assert_eq!(after, msgpack_error(namespace, Some(&data)));
    }
}

#[test]
fn other_msgpack_passes() {
    let whole = msgpack_error("/", None);
    for cut in 0..whole.len() {
        assert_eq!(msgpack_packet(&whole[..cut], &mut once("/", json!(1))), None, "{cut}");
    }
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(msgpack_packet(&longer, &mut once("/", json!(1))), None);
    assert_eq!(msgpack_packet(&whole, &mut nothing), None);
}

#[test]
fn a_body_is_spliced_where_the_packet_is() {
    let body = Bytes::from_static(b"42[\"a\"]\x1e44{\"message\":\"no\"}\x1ebAQID\x1e2");
    let spliced = body_v4(body, &mut once("/", json!({ "code": 1 })));
    assert_eq!(
        spliced,
        &b"42[\"a\"]\x1e44{\"message\":\"no\",\"data\":{\"code\":1}}\x1ebAQID\x1e2"[..],
    );
}

#[test]
fn a_msgpack_packet_is_spliced_in_a_body() {
    let before = msgpack_error("/", None);
    let after = msgpack_error("/", Some(&json!(7)));
    let body = format!("b{}\x1e2", BASE64.encode(before));
    let spliced = body_v4(body.into(), &mut once("/", json!(7)));
    assert_eq!(spliced, format!("b{}\x1e2", BASE64.encode(after)));
}

#[test]
fn the_engines_good_bye_is_heard() {
    assert!(closes(b"1", false) && closes(b"42[\"a\"]\x1e1", false) && closes(b"1:1", true));
    assert!(!closes(b"2", false) && !closes(b"42[1]", false) && !closes(b"42[\"\x1e11\"]", false));
    assert!(!closes(b"1:6", true));
}

#[test]
fn attachments_of_engine_io_3_get_their_type() {
    let body = Bytes::from("15:451-[{\"_p\":\"é\"}]5:bAQID1:2");
    // "é" is one unit of UTF-16 and two bytes
    let text = "451-[{\"_p\":\"é\"}]";
    let body_text = format!("{}:{text}5:bAQID1:2", text.encode_utf16().count());
    assert_ne!(body, body_text, "the first length is wrong on purpose");
    assert_eq!(
        body_v3(body_text.into(), false, &mut nothing),
        format!("{}:{text}6:b4AQID1:2", text.encode_utf16().count()),
    );
    assert_eq!(body_v3(body.clone(), false, &mut nothing), body, "what is not understood passes");
}

#[test]
fn attachments_in_a_binary_body_get_their_type() {
    let body =
        Bytes::from_static(b"\x00\x01\x01\xff42[\"abcde\"]\x00\x05\xffbAQID\x01\x02\xff\x04z");
    let spliced = body_v3(body, true, &mut nothing);
    assert_eq!(spliced, &b"\x00\x01\x01\xff42[\"abcde\"]\x00\x06\xffb4AQID\x01\x02\xff\x04z"[..],);
}

#[test]
fn engine_io_3_errors_get_their_data_and_the_new_length() {
    let body = Bytes::from_static(br#"18:44{"message":"no"}2:40"#);
    assert_eq!(body_v3(body, false, &mut once("/", json!(7))), &b"3:4472:40"[..],);
}

proptest! {
    #[test]
    fn without_a_refusal_any_body_passes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(body);
        prop_assert_eq!(body_v4(body.clone(), &mut nothing), body);
    }

    #[test]
    fn any_bytes_are_harmless(
        body in prop::collection::vec(prop_oneof![
            any::<u8>(), Just(b':'), Just(b'b'), Just(b'4'), Just(b'{'), Just(b'1'),
            Just(0), Just(0xff), Just(0x1e), Just(b'/'), Just(b','),
        ], 0..100),
        binary: bool,
    ) {
        let id = SocketId::random();
        let mut always = |kind: Kind, _: &str| match kind {
            Kind::Connect => Some(Answer::Admitted(id, None)),
            Kind::ConnectError => Some(Answer::Refused(json!(1))),
        };
        text_packet(&body, false, &mut always);
        msgpack_packet(&body, &mut always);
        body_v4(body.clone().into(), &mut always);
        body_v3(body.clone().into(), binary, &mut always);
        sid_of_open(&body);
        closes(&body, binary);
    }

    #[test]
    fn text_of_engine_io_3_passes_as_it_is(packets in prop::collection::vec("4[^b].{0,20}", 0..5)) {
        let body: String =
            packets.iter().map(|packet| format!("{}:{packet}", v3::utf16_len(packet))).collect();
        prop_assert_eq!(body_v3(body.clone().into(), false, &mut nothing), body);
    }

    #[test]
    fn a_spliced_error_is_json_with_both_members(message in ".{0,40}", data in ".{0,40}") {
        let packet = format!("44/chat,{}", json!({ "message": message }));
        let spliced = text_packet(packet.as_bytes(), false, &mut once("/chat", json!(data)));
        let spliced = String::from_utf8(spliced.expect("spliced")).expect("text");
        let object: Value =
            serde_json::from_str(spliced.strip_prefix("44/chat,").expect("prefix")).expect("json");
        prop_assert_eq!(object, json!({ "message": message, "data": data }));
    }
}

#[test]
fn a_clients_good_bye_is_heard_wherever_it_stands() {
    for body in ["1", "42[]\u{1e}1", "1\u{1e}2", "3\u{1e}1\u{1e}3"] {
        assert!(leaves(body.as_bytes(), false), "{body}");
    }
    for body in ["", "11", "42[1]", "3", "b1"] {
        assert!(!leaves(body.as_bytes(), false), "{body}");
    }
    assert!(leaves(b"1:1", true) && !leaves(b"2:11", true));
}
