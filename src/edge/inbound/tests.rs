//! Packets as clients write them, and their replacements for the engine.
//! `tests/clients/packet-reading.test.mjs` compares each with Node.js.

use bytes::Bytes;

use super::*;

fn read(packet: &str) -> Inbound {
    Reader::new(false).text(packet.as_bytes())
}

fn text(packet: &str) -> Inbound {
    Inbound::Text(packet.as_bytes().to_vec())
}

#[test]
fn ordinary_packets_pass() {
    for packet in [
        "40",
        "40{\"token\":\"x\"}",
        "41",
        "42[\"e\"]",
        "4212[\"événement\",{\"a\":[1]}]",
        "431[1]",
        "42 [ \"e\" ]",
        "2",
        "3",
        "1",
    ] {
        assert_eq!(read(packet), Inbound::Pass, "{packet}");
    }
}

#[test]
fn a_plain_event_is_read_as_the_engine_reads_it() {
    let mut reader = Reader::new(false);
    assert_eq!(reader.plain_event("42[\"e\"]"), None, "the form is not known");
    reader.expect(Format::Text);
    for (packet, namespace, ack_id, arguments) in [
        ("42[\"e\"]", "", None, "[\"e\"]"),
        ("4212[\"événement\",{\"a\":[1]}]", "", Some(12), "[\"événement\",{\"a\":[1]}]"),
        ("42/chat,[\"e\"]", "/chat", None, "[\"e\"]"),
        ("42/chat?x,007[\"e\"]", "/chat?x", Some(7), "[\"e\"]"),
    ] {
        let namespace = namespace.as_bytes();
        let event = PlainEvent { namespace, ack_id, arguments };
        assert_eq!(reader.plain_event(packet), Some(event), "{packet}");
    }
    for packet in
        ["40", "41", "431[1]", "42", "42 [ \"e\" ]", "421234567890123456789[\"e\"]", "2", ""]
    {
        assert_eq!(reader.plain_event(packet), None, "{packet}");
    }
    let mut legacy = Reader::new(true);
    legacy.expect(Format::Text);
    assert_eq!(legacy.plain_event("42[\"e\"]"), None);
}

#[test]
fn an_event_whose_name_the_engine_cannot_read_is_wrapped() {
    for (packet, engine) in [
        (r#"42["a\/b",1]"#, "42[\"\u{e000}\",[\"a\\/b\",1]]"),
        (r#"427["\u00e9"]"#, "427[\"\u{e000}\",[\"\\u00e9\"]]"),
        (r#"42[1,"x"]"#, "42[\"\u{e000}\",[1,\"x\"]]"),
        ("42 [ -1.5e3 ]", "42[\"\u{e000}\", [ -1.5e3 ]]"),
        ("42[\"\u{e000}\",[\"x\"]]", "42[\"\u{e000}\",[\"\u{e000}\",[\"x\"]]]"),
    ] {
        assert_eq!(read(packet), text(engine), "{packet}");
    }
    let mut reader = Reader::new(false);
    assert_eq!(reader.text(b"40/chat,"), Inbound::Pass);
    assert_eq!(
        reader.text(br#"451-/chat,3["\"",{"_placeholder":true,"num":0}]"#),
        text("451-/chat,3[\"\u{e000}\",[\"\\\"\",{\"_placeholder\":true,\"num\":0}]]")
    );
    assert_eq!(reader.binary(b"x"), Inbound::Pass);
    assert_eq!(reader.text(b"42[\"e\"]"), Inbound::Pass);
}

#[test]
fn an_acknowledgement_of_nothing_is_ignored_with_its_attachments() {
    let mut reader = Reader::new(false);
    for packet in ["43[1]", "461-[{\"_placeholder\":true,\"num\":0}]"] {
        assert_eq!(reader.text(packet.as_bytes()), Inbound::Ignore, "{packet}");
    }
    assert_eq!(reader.binary(b"x"), Inbound::Ignore);
    assert_eq!(reader.text(b"42[\"e\"]"), Inbound::Pass);
}

#[test]
fn the_main_namespace_may_be_written() {
    for packet in ["40/,", "42/,1[\"e\"]", "41/"] {
        assert_eq!(read(packet), Inbound::Pass, "{packet}");
    }
}

#[test]
fn attachments_come_as_text_too() {
    let mut reader = Reader::new(false);
    assert_eq!(reader.text(b"452-[\"e\"]"), Inbound::Pass);
    assert_eq!(reader.text(b"bAQID"), Inbound::Binary(Bytes::from_static(&[1, 2, 3])));
    assert_eq!(reader.text(b"b"), Inbound::Binary(Bytes::new()));
    let mut legacy = Reader::new(true);
    assert_eq!(legacy.text(b"451-[\"e\"]"), Inbound::Pass);
    assert_eq!(legacy.text(b"b4AQID"), Inbound::Binary(Bytes::from_static(&[4, 1, 2, 3])));
    assert_eq!(legacy.text(b"451-[\"e\"]"), Inbound::Pass);
    assert_eq!(legacy.binary(&[4, 1, 2, 3]), Inbound::Pass);
    assert_eq!(legacy.binary(&[2]), Inbound::Ignore, "a heartbeat in binary");
}

#[test]
fn nothing_comes_between_a_packet_and_its_attachments() {
    let mut reader = Reader::new(false);
    assert_eq!(reader.text(b"451-[\"e\"]"), Inbound::Pass);
    assert_eq!(reader.text(b"3"), Inbound::Pass, "but heartbeats");
    assert_eq!(reader.text(b"42[\"e\"]"), Inbound::Close);
    for packet in ["450-[\"e\"]", "45[\"e\"]", "45x-[\"e\"]", "451[\"e\"]", "460-1[]"] {
        assert_eq!(read(packet), Inbound::Close, "{packet}");
    }
}

#[test]
fn too_many_attachments_are_refused_and_not_kept() {
    let mut reader = Reader::new(false);
    assert_eq!(reader.text(b"4511-7[\"e\"]"), text("427[\"\u{e000}\",11]"));
    for _ in 0..11 {
        assert_eq!(reader.binary(b"x"), Inbound::Ignore);
    }
    assert_eq!(reader.text(b"42[\"e\"]"), Inbound::Pass);
    assert_eq!(read("4611-7[]"), Inbound::Close, "an answer that nobody can give again");
}

#[test]
fn what_means_nothing_is_ignored_and_what_makes_no_sense_closes() {
    for packet in ["5", "6", "5probe", "0", "0{\"sid\":\"x\"}", "42", "4217"] {
        assert_eq!(read(packet), Inbound::Ignore, "{packet}");
    }
    for packet in [
        "", "x", "7", "é", "2probe", "4", "4x", "49", "44{}", "42{}", "42[]", "42[null]",
        "42\"e\"", "42[\"e",
    ] {
        assert_eq!(read(packet), Inbound::Close, "{packet:?}");
    }
    assert_eq!(read("3probe"), text("3"));
    assert_eq!(Reader::new(true).text(b"2probe"), text("2"));
}

#[test]
fn only_namespaces_that_were_asked_for_have_packets() {
    let mut reader = Reader::new(false);
    assert_eq!(reader.text(b"42/chat,[\"e\"]"), Inbound::Close);
    assert_eq!(reader.text(b"40/chat,{}"), Inbound::Pass);
    assert_eq!(reader.text(b"42/chat,[\"e\"]"), Inbound::Pass);
    assert_eq!(reader.text(b"41/other,"), Inbound::Close);
    for n in 0..NAMESPACES {
        assert_eq!(reader.text(format!("40/{n},").as_bytes()), Inbound::Pass);
    }
    assert_eq!(reader.text(b"42/never,[\"e\"]"), Inbound::Pass, "taken on trust");
}

#[test]
fn the_query_of_a_namespace_is_its_payload_in_version_2() {
    let mut reader = Reader::new(true);
    let packet = b"40/chat?room=7&token=a%20b&x,";
    assert_eq!(reader.text(packet), text(r#"40/chat,{"room":"7","token":"a b","x":""}"#));
    assert_eq!(reader.text(b"42/chat,[\"e\"]"), Inbound::Pass);
    assert_eq!(reader.text(b"42/chat?room=7,1[\"e\"]"), text("42/chat,1[\"e\"]"));
    assert_eq!(reader.text(b"40/other,"), Inbound::Pass);
    assert_eq!(read("40/chat?room=7,"), Inbound::Pass, "a name like any other in version 3");
}

mod messagepack {
    use rmpv::Value as Tree;

    use super::*;
    use crate::packet::WRAPPED;

    fn packet(kind: u64, data: Tree) -> Vec<u8> {
        let member = |name: &str, value| (Tree::from(name), value);
        let packet = Tree::Map(vec![
            member("data", data),
            member("type", Tree::from(kind)),
            member("nsp", Tree::from("/")),
        ]);
        let mut bytes = Vec::new();
        crate::msgpack::write(&mut bytes, &packet);
        bytes
    }

    fn event(name: impl Into<Tree>) -> Tree {
        Tree::Array(vec![name.into(), Tree::from(7)])
    }

    #[test]
    fn only_a_name_that_the_engine_cannot_read_changes_a_packet() {
        let mut reader = Reader::new(false);
        for name in ["e", "é", "a\"b"] {
            assert_eq!(reader.binary(&packet(2, event(name))), Inbound::Pass);
        }
        for name in [Tree::from(1), Tree::F64(1.5), Tree::from(WRAPPED)] {
            let wrapped = Tree::Array(vec![Tree::from(WRAPPED), event(name.clone())]);
            let engine = Inbound::Binary(packet(2, wrapped).into());
            assert_eq!(reader.binary(&packet(2, event(name))), engine);
        }
        assert_eq!(reader.binary(&packet(3, event(1))), Inbound::Pass, "an answer has no name");
        for garbage in
            [&b""[..], b"\xdf\xff\xff\xff\xff", b"\x81", b"\x81\xa4data\xdd\xff\xff\xff\xff"]
        {
            assert_eq!(reader.binary(garbage), Inbound::Pass);
        }
    }

    #[test]
    fn each_connect_to_a_namespace_is_told() {
        let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let mut reader = Reader::new(false);
        reader.tell(Connects::new({
            let told = told.clone();
            move |namespace: &str| told.lock().push(namespace.to_owned())
        }));
        let connect = |namespace: &str| {
            let members = [("type", 0.into()), ("nsp", namespace.into())];
            let tree = Tree::Map(members.map(|(name, value)| (Tree::from(name), value)).into());
            let mut packet = Vec::new();
            crate::msgpack::write(&mut packet, &tree);
            packet
        };
        assert_eq!(reader.binary(&connect("/")), Inbound::Pass);
        assert_eq!(reader.binary(&connect("/chat")), Inbound::Pass);
        assert_eq!(reader.binary(&packet(2, event("e"))), Inbound::Pass);
        for text in ["40", "40/,", "40/text", "42/text,[\"e\"]", "40/text,{}"] {
            assert_eq!(reader.text(text.as_bytes()), Inbound::Pass, "{text}");
        }
        let mut legacy = Reader::new(true);
        legacy.tell(reader.connects.clone());
        legacy.text(b"40/old?token=x,");
        assert_eq!(*told.lock(), ["/chat", "/text", "/text", "/old"]);
    }

    #[test]
    fn an_event_that_is_too_deep_for_the_engine_is_refused() {
        let deep = (0..200).fold(Tree::Nil, |tree, _| Tree::Array(vec![tree]));
        let refused = Tree::Array(vec![Tree::from(WRAPPED), Tree::Nil]);
        assert_eq!(
            Reader::new(false).binary(&packet(2, Tree::Array(vec![Tree::from("e"), deep]))),
            Inbound::Binary(packet(2, refused).into())
        );
    }
}

/// The engine closes these sessions, too, but handles what stands behind such a packet before.
#[test]
fn what_breaks_off_or_has_another_form_closes_at_once() {
    let mut reader = Reader::new(false);
    reader.expect(Format::Text);
    for packet in
        ["42[\"e\",1", "42[\"e\",}]", "427[\"e\",", "42[1,", "42[\"a\\/b\",", "451-[\"e\""]
    {
        assert_eq!(reader.text(packet.as_bytes()), Inbound::Close, "{packet}");
        reader.awaited = 0;
    }
    assert_eq!(reader.binary(&[1, 2, 3]), Inbound::Close, "an attachment of nothing");
    assert_eq!(reader.text(b"42[\"a\"],[\"b\"]"), Inbound::Pass, "answered, if it asks for it");
    let mut reader = Reader::new(false);
    reader.expect(Format::Binary);
    assert_eq!(reader.text(b"42[\"e\"]"), Inbound::Close);
    assert_eq!(reader.binary(&[1, 2, 3]), Inbound::Close);
    let event =
        rmp_serde::to_vec_named(&serde_json::json!({ "type": 2, "nsp": "/", "data": ["e"] }));
    assert_eq!(reader.binary(&event.expect("a map")), Inbound::Pass);
}

mod bodies {
    use super::*;

    fn read(v3: bool, binary: bool, request: &[u8]) -> (Vec<u8>, bool) {
        let mut reader = Reader::new(v3);
        let Packets { bytes, closes } = body(&mut reader, Bytes::copy_from_slice(request), binary);
        (bytes.to_vec(), closes)
    }

    #[test]
    fn ordinary_ones_pass_as_they_are() {
        for (v3, binary, request) in [
            (false, false, &b"42[\"e\"]\x1e452-[\"e\"]\x1ebAQID\x1ebAQ==\x1e3"[..]),
            (true, false, b"7:42[\"\xc3\xa9\"]12:451-[\"\xc3\xa9\",1]6:b4AQID"),
            (true, true, b"\x00\x01\x00\xff451-[\"e\",1]\x01\x03\xff\x04ab\x00\x01\xff2"),
        ] {
            assert_eq!(read(v3, binary, request), (request.to_vec(), false));
        }
    }

    #[test]
    fn packets_are_read_one_by_one() {
        for (v3, binary, request, engine) in [
            (
                false,
                false,
                &b"451-[\"e\"]\x1ebAQ\n\x1e6\x1e3"[..],
                &b"451-[\"e\"]\x1ebAQ==\x1e3"[..],
            ),
            (false, false, b"6", b""),
            (
                true,
                false,
                "9:42[1,\"é\"]1:5".as_bytes(),
                "15:42[\"\u{e000}\",[1,\"é\"]]".as_bytes(),
            ),
            (true, true, b"\x00\x01\xff5\x00\x07\xff42[\"e\"]", b"\x00\x07\xff42[\"e\"]"),
        ] {
            assert_eq!(read(v3, binary, request), (engine.to_vec(), false));
        }
    }

    #[test]
    fn what_comes_before_nonsense_is_read() {
        assert_eq!(read(false, false, b"3\x1ex\x1e42[\"e\"]"), (b"3".to_vec(), true));
        assert_eq!(read(false, false, b""), (b"".to_vec(), true));
        assert_eq!(read(true, false, b"1:31:x"), (b"1:3".to_vec(), true));
        // the engine handles a body that is malformed
        assert_eq!(read(true, false, b"nonsense"), (b"nonsense".to_vec(), false));
    }
}
