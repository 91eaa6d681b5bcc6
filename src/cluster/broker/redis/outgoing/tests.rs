use futures_util::FutureExt as _;

use super::*;
use crate::cluster::broker::redis::routes;

const SECOND: Duration = Duration::from_secs(1);

fn outgoing(max: usize) -> (Outgoing, Arc<Lapses>) {
    let lapses = Arc::new(Lapses::default());
    let outgoing = Outgoing::new(Pending { max, age: SECOND * 60 }, lapses.clone());
    outgoing.begin();
    (outgoing, lapses)
}

fn linked() -> Outgoing {
    let (outgoing, _) = outgoing(1000);
    outgoing.linked(0, true);
    outgoing
}

fn batch(outgoing: &Outgoing, lane: usize) -> Flight<'_> {
    outgoing.batch(lane).now_or_never().unwrap().unwrap()
}

/// The frames of a flight, which lands with this fate.
fn land(mut flight: Flight<'_>, fate: Fate) -> String {
    flight.fates.fill(fate);
    flight.frames.iter().map(|frame| &*frame.channel).collect()
}

#[tokio::test]
async fn frames_come_out_in_order_and_none_before_the_start_or_after_the_end() {
    let outgoing = Outgoing::new(Pending::default(), Arc::default());
    outgoing.push("a", Bytes::new());
    assert_eq!(outgoing.counts().dropped_down, 1);
    outgoing.begin();
    outgoing.linked(0, true);
    for channel in ["a", "b", "c"] {
        outgoing.push(channel, Bytes::from_static(b"12"));
    }
    assert_eq!(outgoing.waiting(), (3, 9));
    outgoing.seal();
    outgoing.push("d", Bytes::new());
    assert_eq!(outgoing.counts().dropped_down, 2);
    assert_eq!(land(batch(&outgoing, 0), Fate::Taken), "abc");
    assert!(outgoing.batch(0).await.is_none());
    assert_eq!(outgoing.counts().published, 3);
}

#[tokio::test]
async fn what_waits_for_a_link_goes_out_in_order_and_what_was_sent_never_again() {
    let (outgoing, lapses) = outgoing(1000);
    outgoing.push("a", Bytes::new());
    assert!(outgoing.batch(0).now_or_never().is_none());
    outgoing.linked(0, true);
    let flight = batch(&outgoing, 0);
    outgoing.push("b", Bytes::new());
    assert_eq!(land(flight, Fate::Unsure), "a");
    outgoing.linked(0, false);
    outgoing.push("c", Bytes::new());
    assert!(outgoing.batch(0).now_or_never().is_none());
    outgoing.linked(0, true);
    assert_eq!(land(batch(&outgoing, 0), Fate::Taken), "bc");
    let FrameCounts { published, unsure, .. } = outgoing.counts();
    assert_eq!((published, unsure), (2, 1));
    assert!(lapses.next().await.unsaid.is_some());
}

#[tokio::test]
async fn of_too_much_that_waits_the_oldest_is_dropped_and_told() {
    let (outgoing, lapses) = outgoing(10);
    let before = Instant::now();
    outgoing.linked(0, true);
    for channel in ["a", "b", "c"] {
        outgoing.push(channel, Bytes::from_static(b"12"));
    }
    outgoing.linked(0, false);
    let after = Instant::now();
    assert_eq!(outgoing.counts(), FrameCounts::default());
    outgoing.push("d", Bytes::from_static(b"12"));
    assert_eq!((outgoing.waiting(), outgoing.counts().dropped_down), ((3, 9), 1));
    let since = lapses.next().await.unsaid.unwrap();
    assert!(since >= before && since <= after);
    // a frame that is too big for the queue pushes no other out
    outgoing.push("e", Bytes::from_static(b"1234567890"));
    assert_eq!((outgoing.waiting(), outgoing.counts().dropped_down), ((3, 9), 2));
    outgoing.linked(0, true);
    assert_eq!(land(batch(&outgoing, 0), Fate::Taken), "bcd");
}

#[tokio::test]
async fn what_is_held_back_goes_out_a_moment_later() {
    let outgoing = linked();
    outgoing.hold_back(0, Duration::from_millis(50));
    outgoing.push("a", Bytes::new());
    let start = Instant::now();
    assert_eq!(land(outgoing.batch(0).await.unwrap(), Fate::Taken), "a");
    assert!(start.elapsed() >= Duration::from_millis(50));
    outgoing.hold_back(0, SECOND * 60);
    outgoing.push("b", Bytes::new());
    outgoing.seal();
    assert_eq!(land(batch(&outgoing, 0), Fate::Taken), "b", "who leaves does not wait");
}

#[test]
fn what_waits_for_too_long_is_dropped() {
    let pending = Pending { max: 100, age: Duration::ZERO };
    let outgoing = Outgoing::new(pending, Arc::default());
    outgoing.begin();
    outgoing.linked(0, true);
    outgoing.push("a", Bytes::new());
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(outgoing.counts().dropped_down, 0, "while there is a link it may take long");
    outgoing.linked(0, false);
    assert_eq!(outgoing.counts().dropped_down, 1);
}

#[tokio::test]
async fn a_frame_that_is_not_taken_now_keeps_its_place() {
    let outgoing = linked();
    for channel in ["a", "b", "c", "b"] {
        outgoing.push(channel, Bytes::new());
    }
    let mut flight = batch(&outgoing, 0);
    outgoing.push("d", Bytes::new());
    flight.fates = vec![Fate::Taken, Fate::NotNow, Fate::NotNow, Fate::Taken];
    drop(flight);
    // a later frame of `b` was taken, so the first cannot come any more
    assert_eq!(outgoing.counts().dropped_down, 1);
    assert_eq!(land(batch(&outgoing, 0), Fate::Taken), "cd");
}

#[tokio::test]
async fn frames_of_a_channel_that_moves_go_with_it_in_order() {
    let outgoing = linked();
    outgoing.add_lane();
    outgoing.linked(1, true);
    for channel in ["foo", "bar", "foo"] {
        outgoing.push(channel, Bytes::new());
    }
    let mut flight = batch(&outgoing, 0);
    outgoing.push("foo", Bytes::from_static(b"last"));
    flight.fates = vec![Fate::NotNow, Fate::Taken, Fate::NotNow];
    let hold = outgoing.hold(&[0], SECOND * 5);
    tokio::pin!(hold);
    assert!(futures_util::poll!(&mut hold).is_pending(), "some are on their way");
    drop(flight);
    assert!(outgoing.batch(0).now_or_never().is_none(), "it is held");
    hold.await;
    outgoing.reroute(routes::one_channel("foo", 1));
    outgoing.push("bar", Bytes::new());
    let moved = batch(&outgoing, 1);
    assert_eq!(moved.frames.last().unwrap().payload, "last");
    assert_eq!(land(moved, Fate::Taken), "foofoofoo");
    assert_eq!(land(batch(&outgoing, 0), Fate::Taken), "bar");
    assert_eq!(outgoing.counts(), FrameCounts { published: 5, ..FrameCounts::default() });
}

#[tokio::test]
async fn what_came_back_too_late_is_not_sent_after_later_ones() {
    let outgoing = linked();
    outgoing.add_lane();
    outgoing.push("foo", Bytes::new());
    let flight = batch(&outgoing, 0);
    outgoing.hold(&[0], Duration::from_millis(1)).await;
    outgoing.reroute(routes::one_channel("foo", 1));
    outgoing.push("foo", Bytes::new());
    land(flight, Fate::NotNow);
    assert_eq!((outgoing.waiting().0, outgoing.counts().dropped_down), (1, 1));
}

#[tokio::test]
async fn taken_is_what_left_since_on_the_lanes_that_it_concerns() {
    let outgoing = linked();
    outgoing.add_lane();
    outgoing.reroute(routes::one_channel("foo", 1));
    outgoing.push("foo", Bytes::new());
    let mark = outgoing.mark();
    assert_eq!(outgoing.taken(&mark).now_or_never(), Some(Ok(())));
    outgoing.push("bar", Bytes::new());
    let mut taken = std::pin::pin!(outgoing.taken(&mark));
    assert!(futures_util::poll!(&mut taken).is_pending());
    land(batch(&outgoing, 0), Fate::Taken);
    assert_eq!(taken.await, Ok(()), "`foo` waits, and was there before");
    outgoing.push("foo", Bytes::new());
    assert!(outgoing.taken(&mark).now_or_never().is_none(), "to wait is not to be taken");
    outgoing.linked(1, true);
    land(batch(&outgoing, 1), Fate::Unsure);
    assert_eq!(outgoing.taken(&mark).await, Err(Disconnected));
}

#[tokio::test]
async fn too_much_is_refused_and_a_batch_is_no_more_than_an_answer_takes() {
    let outgoing = linked();
    let mega = Bytes::from(vec![0; (1 << 20) - 1]);
    for _ in 0..65 {
        outgoing.push("a", mega.clone());
    }
    assert_eq!((outgoing.counts().dropped_full, outgoing.waiting().0), (1, 64));
    assert_eq!(land(batch(&outgoing, 0), Fate::Taken), "a");
    let outgoing = linked();
    for _ in 0..=MAX_FRAMES {
        outgoing.push("", Bytes::new());
    }
    assert_eq!(outgoing.counts().dropped_full, 1);
    assert_eq!(batch(&outgoing, 0).frames.len(), BATCH_FRAMES);
}
