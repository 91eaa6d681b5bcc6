//! Entries for the fuzz targets of the wire formats. A test runs them too, with fewer inputs.

use bytes::Bytes;

use super::{
    codec::{Codec, event_to_packet},
    kind::Kind,
    log::{Entry, NewEntry},
    message::{Envelope, Message},
    sessions::Session,
};
use crate::{
    packet::ReadError,
    payload::{from_packet, to_packet},
};

/// Reads a frame of any channel. An event that is understood becomes a packet and is read back. A
/// message that is understood can be written again, and is then understood as the same.
pub fn wire(sharded: bool, channel: u8, frame: &[u8]) {
    let kind = if sharded { Kind::Sharded } else { Kind::Classic };
    let ours = Codec::new(kind, "k", "ours", true);
    let channels = ["k#/#", "k#/#room#", "k-request#/#", "k-response#/#", "k-response#/#ours#"];
    let channel = channels[usize::from(channel) % channels.len()];
    let Ok(Some(Envelope { message, .. })) =
        ours.decode("/", channel, &Bytes::copy_from_slice(frame), &|_| true)
    else {
        return;
    };
    check_packet(&message);
    let theirs = Codec::new(kind, "k", "theirs", true);
    if let Ok((channel, frame)) = theirs.encode("/", &message, Some("ours")) {
        let read = ours.decode("/", &channel, &frame.into(), &|_| true);
        assert!(matches!(read, Ok(Some(_))), "what is written is not understood: {read:?}");
    }
}

/// Reads an entry of a stream, in the same way.
pub fn entry(kind: u8, data: &[u8]) {
    let ours = Codec::new(Kind::Streams, "k", "ours", true);
    let entry = Entry {
        at: None,
        from: Some("x".into()),
        namespace: "/".into(),
        kind: (kind % 16).to_string().into(),
        data: Bytes::copy_from_slice(data),
    };
    let Ok(Some(Envelope { message, .. })) = ours.read_entry(&entry) else { return };
    check_packet(&message);
    let theirs = Codec::new(Kind::Streams, "k", "theirs", true);
    if let Ok(Some(NewEntry { from, namespace, kind, data })) = theirs.entry("/", &message) {
        let (from, kind) = (Some((&*from).into()), kind.to_string().into());
        let read = ours.read_entry(&Entry { at: None, from, namespace, kind, data: data.into() });
        assert!(matches!(read, Ok(Some(_))), "what is written is not understood: {read:?}");
    }
}

/// Reads the record of a session. What is understood survives being written.
pub fn session(record: &[u8]) {
    if let Some(session) = Session::read(record) {
        let written = session.write();
        // Compared as text, for what is no number is not equal to itself.
        let again = Session::read(written.as_bytes()).map(|session| session.write());
        assert_eq!(again, Some(written), "a session changes on its way");
    }
}

fn check_packet(message: &Message) {
    let packet = match message {
        Message::Broadcast { event, .. } => event_to_packet(event),
        Message::BroadcastWithAck { event, .. } => to_packet(event),
        _ => Err(ReadError::Malformed),
    };
    if let Ok(packet) = packet {
        let event = from_packet(&packet).expect("what was written can be read");
        let again = to_packet(&event).expect("what was read can be written");
        assert_eq!(again, packet, "a packet changes on its way");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_frame_panics(
            sharded in any::<bool>(),
            channel in any::<u8>(),
            frame in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            super::wire(sharded, channel, &frame);
        }

        #[test]
        fn no_entry_panics(kind in any::<u8>(), data in prop::collection::vec(any::<u8>(), 0..60)) {
            super::entry(kind, &data);
        }
    }
}
