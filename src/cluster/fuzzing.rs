//! Entries for the fuzz targets of the wire formats. A test runs them too, with fewer inputs.

use bytes::Bytes;

use super::{
    broker::redis::Kind,
    codec::{Codec, event_to_packet},
    message::{Envelope, Message},
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
    let packet = match &message {
        Message::Broadcast { event, .. } => event_to_packet(event),
        Message::BroadcastWithAck { event, .. } => to_packet(event),
        _ => Err(ReadError::Malformed),
    };
    if let Ok(packet) = packet {
        let event = from_packet(&packet).expect("what was written can be read");
        let again = to_packet(&event).expect("what was read can be written");
        assert_eq!(again, packet, "a packet changes on its way");
    }
    let theirs = Codec::new(kind, "k", "theirs", true);
    if let Ok((channel, frame)) = theirs.encode("/", &message, Some("ours")) {
        let read = ours.decode("/", &channel, &frame.into(), &|_| true);
        assert!(matches!(read, Ok(Some(_))), "what is written is not understood: {read:?}");
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
    }
}
