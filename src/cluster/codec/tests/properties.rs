//! Any message survives its way, and bytes that nobody would write are an error at most.

use proptest::prelude::*;

use super::*;
use crate::{
    cluster::message::{Description, Event},
    payload::to_packet,
    telemetry::traceparent::TraceParent,
};

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Nil),
        any::<bool>().prop_map(Tree::from),
        (-(1_i64 << 53)..(1 << 53)).prop_map(Tree::from),
        any::<f32>()
            .prop_filter("a float in JavaScript, too", |f| f.abs() < 1e15)
            .prop_map(|f| Tree::F64(f.into())),
        ".{0,40}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::Array),
            prop::collection::vec(("[a-z]{1,8}".prop_map(Tree::from), inner), 0..4)
                .prop_map(Tree::Map),
        ]
    })
}

fn room() -> impl Strategy<Value = socketioxide_core::adapter::Room> {
    prop_oneof![
        "[ -~]{0,24}".prop_map(Into::into),
        any::<i32>().prop_map(|number| format!("\0{number}").into()),
    ]
}

fn selection() -> impl Strategy<Value = Selection> {
    let rooms = || prop::collection::vec(room(), 0..3);
    (rooms(), rooms()).prop_map(|(rooms, except)| Selection { rooms, except })
}

fn option_name() -> impl Strategy<Value = Tree> {
    const NAMES: [&str; 6] = ["rooms", "except", "flags", "traceparent", "number", "other"];
    prop_oneof![8 => prop::sample::select(&NAMES[..]).prop_map(Tree::from), 1 => tree()]
}

/// A member of a broadcast's options, right or wrong.
fn option() -> impl Strategy<Value = Tree> {
    let room = || prop_oneof![4 => "[a-z]{0,3}".prop_map(Tree::from), 4 => any::<i32>().prop_map(Tree::from), 1 => tree()];
    let flag = prop::sample::select(&["volatile", "compress", "timeout"][..]).prop_map(Tree::from);
    let trace = "00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]".prop_map(Tree::from);
    prop_oneof![
        4 => prop::collection::vec(room(), 0..3).prop_map(Tree::Array),
        2 => prop::collection::vec((flag, tree()), 0..3).prop_map(Tree::Map),
        1 => trace,
        1 => any::<u32>().prop_map(Tree::from),
        1 => Just(Tree::Nil),
        1 => tree(),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let event = || {
        ("[a-z]{1,8}!", prop::collection::vec(tree(), 0..4)).prop_map(|(name, arguments)| {
            std::iter::once(Tree::from(name)).chain(arguments).collect::<Vec<_>>()
        })
    };
    let id = || "[a-z0-9]{6}";
    let rooms = || prop::collection::vec(room(), 0..3);
    let trace = (any::<u128>(), any::<u64>(), any::<bool>())
        .prop_map(|(trace, span, sampled)| TraceParent::new(trace, span, sampled));
    let number = any::<Option<u32>>().prop_map(|number| number.map(u64::from));
    let flags = (any::<bool>(), any::<Option<bool>>(), trace, number).prop_map(
        |(volatile, compress, trace, number)| Flags {
            volatile,
            compress,
            timeout: None,
            trace,
            number,
        },
    );
    let description =
        (id(), rooms()).prop_map(|(id, rooms)| Description { id, rooms, ..Description::default() });
    let answer = prop_oneof![
        prop::collection::vec(description, 0..3).prop_map(Answer::Sockets),
        any::<u32>().prop_map(|count| Answer::ClientCount(count as usize)),
        prop::option::of(tree()).prop_map(Answer::ClientAck),
        prop::option::of(tree()).prop_map(Answer::ServerSide),
    ];
    prop_oneof![
        (event(), selection(), flags).prop_map(|(event, to, flags)| Message::Broadcast {
            event: Event::Values(event),
            to,
            flags
        }),
        (id(), event(), selection()).prop_map(|(request, event, to)| {
            let flags =
                Flags { timeout: Some(std::time::Duration::from_secs(2)), ..Flags::default() };
            Message::BroadcastWithAck { request, event, to, flags }
        }),
        (selection(), rooms()).prop_map(|(to, rooms)| Message::Join { to, rooms }),
        (selection(), rooms()).prop_map(|(to, rooms)| Message::Leave { to, rooms }),
        (selection(), any::<bool>()).prop_map(|(to, close)| Message::Disconnect { to, close }),
        (id(), selection()).prop_map(|(request, to)| Message::FetchSockets { request, to }),
        (prop::option::of(id()), event())
            .prop_map(|(request, event)| Message::ServerSideEmit { request, event }),
        (id(), answer).prop_map(|(request, answer)| Message::Answer { request, answer }),
    ]
}

/// The same messages: numbers without a fraction are integers on the wire.
fn same(a: &Message, b: &Message) -> bool {
    let normal = |message: &Message| {
        let mut message = message.clone();
        if let Message::Broadcast { event, .. } = &mut message {
            *event = Event::Values(values(event));
        }
        let mut text = format!("{message:?}");
        // `F64(1.0)` and `Integer(PosInt(1))`, wherever they are.
        for (from, to) in
            [("Integer(PosInt(", "("), ("Integer(NegInt(", "("), ("F64(", "(("), (".0)", "))")]
        {
            text = text.replace(from, to);
        }
        text.replace(['(', ')'], "").replace("-0", "0")
    };
    normal(a) == normal(b)
}

/// An entry as another node reads it.
fn read_back(entry: NewEntry) -> Entry {
    Entry {
        at: None,
        from: Some((&*entry.from).into()),
        namespace: entry.namespace,
        kind: entry.kind.to_string().into(),
        data: entry.data.into(),
    }
}

proptest! {
    #[test]
    fn what_one_node_writes_another_reads(message in message(), sharded in any::<bool>()) {
        let kind = if sharded { Kind::Sharded } else { Kind::Classic };
        let theirs = Codec::new(kind, "socket.io", "theirs", true);
        let ours = Codec::new(kind, "socket.io", "ours", true);
        let (channel, frame) = theirs.encode("/chat", &message, Some("ours")).unwrap();
        let read = ours.decode("/chat", &channel, &frame.into(), &|_| true).unwrap().unwrap();
        prop_assert_eq!(read.from.as_deref(), Some("theirs"));
        prop_assert!(same(&read.message, &message), "{:?}\n{:?}", read.message, message);
    }

    #[test]
    fn what_one_node_adds_to_a_stream_another_reads(message in message()) {
        let theirs = Codec::new(Kind::Streams, "socket.io", "theirs", true);
        let ours = Codec::new(Kind::Streams, "socket.io", "ours", true);
        let read = match theirs.entry("/chat", &message).unwrap() {
            Some(entry) => ours.read_entry(&read_back(entry)),
            None => {
                let (channel, frame) = theirs.encode("/chat", &message, Some("ours")).unwrap();
                ours.decode("/chat", &channel, &frame.into(), &|_| true)
            }
        };
        let read = read.unwrap().unwrap();
        prop_assert_eq!(read.from.as_deref(), Some("theirs"));
        // An answer without a value is a null there.
        let is_without = matches!(&message, Message::Answer {
            answer: Answer::ServerSide(None) | Answer::ClientAck(None),
            ..
        });
        let is_same = is_without || same(&read.message, &message);
        prop_assert!(is_same, "{:?}\n{:?}", read.message, message);
    }

    #[test]
    fn random_bytes_are_an_error_at_most(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        brace in any::<bool>(),
        channel in 0..4_usize,
        sharded in any::<bool>(),
    ) {
        let kind = if sharded { Kind::Sharded } else { Kind::Classic };
        let codec = Codec::new(kind, "k", "ours", true);
        let mut frame = bytes;
        if brace {
            frame.insert(0, b'{');
        }
        let channel = ["k#/#", "k#/#room#", "k-request#/#", "k-response#/#ours#"][channel];
        let _ = codec.decode("/", channel, &frame.into(), &|_| true);
    }

    #[test]
    fn damaged_messages_are_an_error_at_most(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        thread_local!(static VECTORS: Vec<Vector> = vectors());
        VECTORS.with(|vectors| {
            let vector = which.get(vectors);
            let codec = vector.codec("ours");
            let channel = vector.text("channel");
            let namespace = codec.namespaces(channel).next().unwrap_or_default();
            let _ = codec.decode(namespace, channel, &vector.frame.slice(..cut.index(vector.frame.len())), &|_| true);
            let mut frame = vector.frame.to_vec();
            let at = at.index(frame.len());
            frame[at] = byte;
            if let Ok(Some(Envelope { message: Message::Broadcast { event, .. }, .. })) =
                codec.decode(namespace, channel, &frame.into(), &|_| true)
            {
                let _ = event_to_packet(&event);
            }
        });
    }

    /// A packet that goes through the wire reaches the client as it was.
    #[test]
    fn a_packet_survives_the_wire(values in prop::collection::vec(tree(), 0..4)) {
        let packet = to_packet(&values).unwrap();
        let again = to_packet(&from_packet(&packet).unwrap()).unwrap();
        prop_assert_eq!(packet, again);
    }

    /// The options of a broadcast are the same without a tree.
    #[test]
    fn options_are_written_as_their_tree_is(message in message(), timeout in any::<Option<u16>>()) {
        if let Message::Broadcast { to, mut flags, .. } = message {
            flags.timeout = timeout.map(|millis| std::time::Duration::from_millis(millis.into()));
            let (mut short, mut long) = (Vec::new(), Vec::new());
            options::pack(&mut short, &to, flags);
            msgpack::write(&mut long, &fields::write_options(&to, flags));
            prop_assert_eq!(short, long);
        }
    }

    /// The same for reading, whatever anybody writes.
    #[test]
    fn options_are_read_as_their_tree_is(
        members in prop::collection::vec((option_name(), option()), 0..8),
    ) {
        let tree = Tree::Map(members);
        let mut bytes = Vec::new();
        msgpack::write(&mut bytes, &tree);
        let tree = msgpack::read(&bytes).unwrap();
        let fields = fields::Fields::of(&tree).unwrap();
        let long = fields.selection().map(|to| (to, fields.flags()));
        prop_assert_eq!(options::unpack(&bytes).ok(), long.ok());
    }

    /// The short way between the two encodings leads where the long one does.
    #[test]
    fn text_and_messagepack_are_the_same_without_a_tree(
        mut values in prop::collection::vec(tree(), 0..20),
    ) {
        values.insert(0, Tree::from("event"));
        let packet = to_packet(&values).unwrap();
        let (mut short, mut long) = (Vec::new(), Vec::new());
        value::packet_to_msgpack(&packet, &mut short).unwrap();
        msgpack::write_array(&mut long, &from_packet(&packet).unwrap());
        prop_assert_eq!(&short, &long);
        prop_assert_eq!(event_to_packet(&Event::Encoded(short.into())).unwrap(), packet);
    }
}
