//! Frames that are nobody's vector: echoes, rooms without members, traces, names, unknown members.

use super::*;

#[test]
fn an_own_echo_is_nothing() {
    for vector in vectors() {
        let stated = &vector.json["decoded"];
        let from = stated.get("uid").or_else(|| stated.get(0)).and_then(Json::as_str);
        if let Some(from) = from.filter(|from| *from != "emitter") {
            assert!(matches!(vector.read(from), Ok(None)), "{}", vector.name);
        }
    }
}

#[test]
fn a_room_nobody_here_is_in_is_not_decoded() {
    let codec = Codec::new(Kind::Classic, "socket.io", "ours", true);
    let channel = codec.room_channel("/", "empty");
    let read = codec.decode("/", &channel, &Bytes::from_static(b"not even a message"), &|_| false);
    assert!(matches!(read, Ok(None)));
    // A number and a text look alike in the channel, so both are asked for.
    let asked = std::cell::RefCell::new(Vec::new());
    let wants = |room: &str| {
        asked.borrow_mut().push(room.to_owned());
        false
    };
    assert!(matches!(
        codec.decode("/", "socket.io#/#101#", &Bytes::from_static(b"x"), &wants),
        Ok(None)
    ));
    assert_eq!(*asked.borrow(), ["101", "\u{0}101"]);
}

/// What `tests/clients/cluster-traced.test.mjs` gives to Node.js: the frames with a member that it does not
/// know are exactly these.
#[test]
fn a_broadcast_of_a_sampled_trace_carries_its_context() {
    let trace = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert!(trace.is_some());
    let event = || vec![Tree::from("says"), Tree::from("hello"), Tree::from(1)];
    let flags = Flags { trace, ..Flags::default() };
    let to = Selection::default;
    let timeout = Some(std::time::Duration::from_secs(5));
    let ask = Flags { timeout, ..flags };
    let messages = [
        ("broadcast", Message::Broadcast { event: Event::Values(event()), to: to(), flags }),
        (
            "ask",
            Message::BroadcastWithAck {
                request: "question".into(),
                event: event(),
                to: to(),
                flags: ask,
            },
        ),
    ];
    let ours = |kind| Codec::new(kind, "socket.io", "traced", true);
    let theirs = |kind| Codec::new(kind, "socket.io", "other", true);
    for (format, kind) in [("classic", Kind::Classic), ("sharded", Kind::Sharded)] {
        for (name, message) in &messages {
            let (channel, frame) = ours(kind).encode("/", message, None).unwrap();
            let path = format!("{}/tests/traced/{format}-{name}.json", env!("CARGO_MANIFEST_DIR"));
            let kept: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            let written = (kept["channel"].as_str(), kept["payload_base64"].as_str());
            let frame_text = BASE64_STANDARD.encode(&frame);
            assert_eq!(written, (Some(&*channel), Some(&*frame_text)), "{format}-{name}");
            let read =
                theirs(kind).decode("/", &channel, &frame.into(), &|_| true).unwrap().unwrap();
            let (Message::Broadcast { flags, .. } | Message::BroadcastWithAck { flags, .. }) =
                read.message
            else {
                panic!("{:?}", read.message)
            };
            assert_eq!(flags.trace, trace);
        }
    }
}

#[test]
fn reserved_names_are_not_delivered() {
    let codec = Codec::new(Kind::Classic, "socket.io", "ours", true);
    let theirs = Codec::new(Kind::Classic, "socket.io", "theirs", true);
    for name in ["connect", "disconnect", "newListener"] {
        let message = Message::Broadcast {
            event: Event::Values(vec![Tree::from(name)]),
            to: Selection::default(),
            flags: Flags::default(),
        };
        let (channel, frame) = theirs.encode("/", &message, None).unwrap();
        let read = codec.decode("/", &channel, &frame.into(), &|_| true);
        assert!(matches!(read, Err(DecodeError::EventName)), "{name}");
    }
}

#[test]
fn members_of_a_packet_that_nobody_knows_are_passed_over() {
    let codec = Codec::new(Kind::Classic, "socket.io", "ours", true);
    let list = |text: &str| Tree::Array(vec![Tree::from(text)]);
    let packet = Tree::Map(vec![
        (Tree::from(7), Tree::from("a key that is no text")),
        (list("nor this"), Tree::Nil),
        (Tree::from("other"), list("x")),
        (Tree::from("type"), Tree::from(2)),
        (Tree::from("data"), list("says")),
    ]);
    let mut frame = Vec::new();
    msgpack::write_array(&mut frame, &[Tree::from("theirs"), packet, Tree::Map(Vec::new())]);
    let read = codec.decode("/", "socket.io#/#", &frame.into(), &|_| true);
    let Ok(Some(Envelope { message: Message::Broadcast { event, .. }, .. })) = read else {
        panic!("{read:?}");
    };
    assert_eq!(values(&event), [Tree::from("says")]);
}

#[test]
fn answers_are_known_by_their_channel() {
    for kind in [Kind::Classic, Kind::Sharded] {
        let (ours, theirs) =
            (Codec::new(kind, "k", "ours", true), Codec::new(kind, "k", "theirs", true));
        let request = "a question".to_owned();
        let answer = Message::Answer { request: request.clone(), answer: Answer::ClientCount(1) };
        let (channel, _) = theirs.encode("/chat", &answer, Some("ours")).unwrap();
        assert!(ours.carries_answers(&channel), "{kind:?}: {channel}");
        assert!(ours.carries_answers(&ours.own_channel("/chat", "ours")), "{kind:?}");
        let question = Message::FetchSockets { request, to: Selection::default() };
        let (channel, _) = theirs.encode("/chat", &question, None).unwrap();
        assert!(!ours.carries_answers(&channel), "{kind:?}: {channel}");
        assert!(!ours.carries_answers(&ours.room_channel("/chat", "room")), "{kind:?}");
    }
}

#[test]
fn names_with_a_hash_are_kept_whole() {
    let codec = Codec::new(Kind::Classic, "k", "ours", true);
    let candidates: Vec<_> = codec.namespaces("k#/a#b#room#").collect();
    assert_eq!(candidates, ["/a", "/a#b", "/a#b#room"]);
    assert_eq!(codec.namespaces("k-request#/#").next(), Some("/"));
    assert_eq!(codec.namespaces("other#/#").next(), None);
}
