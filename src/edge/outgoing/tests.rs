use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn frame(byte: u8, len: usize) -> Frame {
    Frame::binary(&vec![byte; len])
}

fn holds_no_memory(outgoing: &Outgoing) -> bool {
    matches!(&outgoing.first, Chunk::Copied(bytes) if bytes.capacity() == 0)
        && outgoing.more.capacity() == 0
}

fn taken(outgoing: &mut Outgoing) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = outgoing.take() {
        bytes.extend_from_slice(chunk.bytes());
    }
    bytes
}

#[test]
fn short_frames_leave_together_and_long_ones_are_shared() {
    let (short, long) = (frame(1, 100), frame(2, COPIED));
    assert!(short.is_copied() && !long.is_copied());
    let mut outgoing = Outgoing::default();
    for frame in [&short, &short, &long, &short] {
        outgoing.append(frame);
    }
    let first = outgoing.take().expect("the first two");
    assert_eq!(first.bytes(), [&short.bytes[..], &short.bytes[..]].concat());
    let Some(Chunk::Shared(second)) = outgoing.take() else { panic!("a shared chunk") };
    assert_eq!(second.as_ptr(), long.bytes.as_ptr());
    assert_eq!(outgoing.take().expect("the last").bytes(), &short.bytes[..]);
    assert!(outgoing.take().is_none() && outgoing.is_empty());
    assert!(holds_no_memory(&outgoing));
}

#[test]
fn a_short_frame_that_waits_alone_is_shared() {
    let short = frame(1, COPIED - 10);
    assert!(short.is_copied());
    let is_shared = |chunk: Option<Chunk>| matches!(chunk, Some(Chunk::Shared(bytes)) if bytes.as_ptr() == short.bytes.as_ptr());
    let mut outgoing = Outgoing::default();
    outgoing.append(&short);
    assert!(is_shared(outgoing.take()) && holds_no_memory(&outgoing));
    let fence = outgoing.fence();
    outgoing.append(&short);
    outgoing.passed(fence);
    assert!(is_shared(outgoing.take()) && holds_no_memory(&outgoing));
}

#[test]
fn a_buffer_has_an_end() {
    let mut outgoing = Outgoing::default();
    let frame = frame(1, 1000);
    (0..200).for_each(|_| outgoing.append(&frame));
    let mut sum = 0;
    while let Some(chunk) = outgoing.take() {
        assert!(chunk.bytes().len() <= BUFFER);
        sum += chunk.bytes().len();
    }
    assert_eq!(sum, 200 * frame.bytes.len());
}

#[test]
fn a_fence_holds_what_is_behind_it_until_it_is_passed() {
    let mut outgoing = Outgoing::default();
    outgoing.append(&frame(1, 1));
    let first = outgoing.fence();
    outgoing.append(&frame(2, 1));
    let second = outgoing.fence();
    outgoing.append(&frame(3, 1));
    assert_eq!(taken(&mut outgoing), [0x82, 1, 1]);
    assert!(outgoing.is_fenced() && !outgoing.is_empty());
    // Two callers may put their markers into the engine's queue in another order.
    outgoing.passed(second);
    assert!(taken(&mut outgoing).is_empty());
    outgoing.passed(first);
    assert_eq!(taken(&mut outgoing), [0x82, 1, 2, 0x82, 1, 3]);
    assert!(!outgoing.is_fenced() && outgoing.is_empty());
    outgoing.fence();
    outgoing.passed(Fence(3));
    assert!(holds_no_memory(&outgoing));
}

#[test]
fn a_marker_is_known_in_both_formats_and_nothing_else_is() {
    let fence = Fence(0xabc);
    let marker = fence.marker();
    for packet in [format!("42[\"{marker}\"]"), format!("42/chat,[\"{marker}\"]")] {
        assert_eq!(Fence::of(packet.as_bytes()), Some(fence));
    }
    let name = rmp_serde::to_vec(&[&marker]).expect("text");
    assert_eq!(Fence::of(&name), Some(fence));
    for packet in ["42[\"news\"]", &marker[..20], &marker[..39], "2"] {
        assert_eq!(Fence::of(packet.as_bytes()), None, "{packet}");
    }
}

#[test]
fn a_message_and_its_attachments_are_whole_frames() {
    let frame =
        Frame::text("51-[\"x\",{\"_placeholder\":true,\"num\":0}]", &[Bytes::from(vec![7; 200])]);
    let text = b"451-[\"x\",{\"_placeholder\":true,\"num\":0}]";
    let mut expected = Vec::new();
    frames::server_frame(frames::TEXT, text, &mut expected);
    frames::server_frame(frames::BINARY, &[7; 200], &mut expected);
    assert_eq!(frame.bytes, expected);
    assert_eq!(frame.size(), Size { packets: 2, bytes: text.len() + 200 });
}

/// What one caller does, in its order.
#[derive(Clone, Debug)]
enum Call {
    Frame { len: usize },
    ThroughEngine,
    Take,
    EngineWrites,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => (0..COPIED + 10).prop_map(|len| Call::Frame { len }),
        2 => Just(Call::ThroughEngine),
        2 => Just(Call::Take),
        3 => Just(Call::EngineWrites),
    ]
}

proptest! {
    /// Whenever the client takes something and the engine's writer runs, the order is that of the
    /// calls.
    #[test]
    fn the_order_of_the_calls_holds(calls in prop::collection::vec(call(), 0..60)) {
        enum Queued { Packet(usize), Marker(Fence) }
        let mut outgoing = Outgoing { way: Way::Direct, ..Outgoing::default() };
        let (mut engine, mut wire) = (VecDeque::new(), Vec::new());
        let mut called = 0;
        let drain = |outgoing: &mut Outgoing, wire: &mut Vec<usize>| {
            let bytes = taken(outgoing);
            let mut rest = &bytes[..];
            while let Some(header) = frames::Header::parse(rest) {
                let number = rest[header.len..header.total()].iter().take(4).copied().collect::<Vec<_>>();
                wire.push(u32::from_be_bytes(number.try_into().expect("four bytes")) as usize);
                rest = &rest[header.total()..];
            }
        };
        let write = |engine: &mut VecDeque<Queued>, outgoing: &mut Outgoing, wire: &mut Vec<usize>| {
            drain(outgoing, wire);
            match engine.pop_front() {
                Some(Queued::Packet(number)) => wire.push(number),
                Some(Queued::Marker(fence)) => outgoing.passed(fence),
                None => {}
            }
            drain(outgoing, wire);
        };
        for call in calls {
            match call {
                Call::Frame { len } => {
                    if outgoing.way == Way::Behind {
                        engine.push_back(Queued::Marker(outgoing.fence()));
                        outgoing.way = Way::Direct;
                    }
                    let mut payload = (called as u32).to_be_bytes().to_vec();
                    payload.resize(4 + len, 0);
                    outgoing.append(&Frame::binary(&payload));
                    called += 1;
                }
                Call::ThroughEngine => {
                    engine.push_back(Queued::Packet(called));
                    outgoing.way = Way::Behind;
                    called += 1;
                }
                Call::Take => drain(&mut outgoing, &mut wire),
                Call::EngineWrites => write(&mut engine, &mut outgoing, &mut wire),
            }
        }
        while !engine.is_empty() {
            write(&mut engine, &mut outgoing, &mut wire);
        }
        drain(&mut outgoing, &mut wire);
        prop_assert_eq!(wire, (0..called).collect::<Vec<_>>());
    }
}
