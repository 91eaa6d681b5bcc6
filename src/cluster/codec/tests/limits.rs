//! What one node takes from its clients, all others give to theirs; what nobody takes is dropped.

use super::*;
use crate::{
    packet::{MAX_DEPTH, ReadError},
    payload::{from_packet, to_packet},
};

/// An event whose arguments are nested so deep, the list of arguments included.
fn nested(depth: usize) -> Value {
    let inner = depth - 1;
    Value::Str(format!("[\"e\",{}{}]", "[".repeat(inner), "]".repeat(inner)).into(), None)
}

fn nodes(kind: Kind) -> (Codec, Codec) {
    (Codec::new(kind, "k", "ours", true), Codec::new(kind, "k", "theirs", true))
}

/// The event of a frame, as clients would get it.
fn delivered(codec: &Codec, (channel, frame): Frame) -> Result<Value, ReadError> {
    match codec.decode("/", &channel, &frame.into(), &|_| true) {
        Ok(Some(Envelope { message: Message::Broadcast { event, .. }, .. })) => {
            event_to_packet(&event)
        }
        Ok(Some(Envelope { message: Message::BroadcastWithAck { event, .. }, .. })) => {
            to_packet(&event)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_as_deep_as_a_client_may_send_it_reaches_the_clients_of_others() {
    for kind in [Kind::Classic, Kind::Sharded] {
        let (ours, theirs) = nodes(kind);
        let packet = nested(MAX_DEPTH);
        let (to, flags) = (Selection::default(), Flags::default());
        let frame = theirs.encode_broadcast("/", &packet, &to, flags).unwrap();
        assert_eq!(delivered(&ours, frame).unwrap(), packet, "{kind:?}");
        let event = from_packet(&packet).unwrap();
        let request = "r".to_owned();
        let asked = Message::BroadcastWithAck { request, event, to, flags };
        let frame = theirs.encode("/", &asked, None).unwrap();
        assert_eq!(delivered(&ours, frame).unwrap(), packet, "{kind:?}, with an ack");
    }
}

#[test]
fn what_clients_do_not_take_is_an_error() {
    let binaries = |count: usize| {
        let binary = Tree::Binary(b"x".to_vec());
        std::iter::once(Tree::from("e")).chain(vec![binary; count]).collect::<Vec<_>>()
    };
    let stray = Tree::Map(vec![(Tree::from("_placeholder"), Tree::from(true))]);
    let mut with_stray = binaries(1);
    with_stray.push(stray);
    let deep = from_packet(&nested(MAX_DEPTH + 1)).unwrap();
    for (event, error) in [
        (deep, Some(ReadError::TooDeep)),
        (binaries(11), Some(ReadError::TooManyAttachments)),
        (with_stray, Some(ReadError::StrayPlaceholder)),
        (binaries(10), None),
    ] {
        for kind in [Kind::Classic, Kind::Sharded] {
            let (ours, theirs) = nodes(kind);
            let (to, flags) = (Selection::default(), Flags::default());
            let event = Event::Values(event.clone());
            let message = Message::Broadcast { event, to, flags };
            let frame = theirs.encode("/", &message, None).unwrap();
            assert_eq!(delivered(&ours, frame).err(), error, "{kind:?}");
        }
    }
}
