use super::{
    state::{EVENTS, FOR_AN_ANSWER},
    *,
};

const KB: usize = 1024;

fn load(packets: usize, bytes: usize, node: usize) -> (Arc<Load>, Arc<Budget>) {
    let (load, budget) = (Arc::new(Load::default()), Arc::new(Budget::default()));
    budget.set(packets, bytes, node);
    load.count_for(&budget);
    (load, budget)
}

fn size(bytes: usize) -> Size {
    Size { packets: 1, bytes }
}

#[test]
fn what_does_not_fit_is_refused_and_a_single_packet_always_fits() {
    let (load, _) = load(100, 64 * KB, 0);
    assert_eq!(load.submit(size(1000 * KB), 1), Room::Enough);
    assert_eq!(load.submit(size(1), 1), Room::Full);
    load.taken(size(1000 * KB));
    assert!(!load.is_waited_for());
    assert_eq!(load.submit(size(64 * KB), 1), Room::Enough);
    assert_eq!(load.submit(size(1), 1), Room::Full);
}

#[test]
fn a_pause_lasts_until_half_of_it_is_gone() {
    let (load, _) = load(80, KB * KB, 0);
    for _ in 0..10 {
        load.submit(size(1), 1);
    }
    assert!(!load.is_paused() && !load.is_crowded());
    load.submit(size(1), 1);
    assert!(load.is_paused() && load.is_crowded());
    for left in (6..=10).rev() {
        load.taken(size(1));
        assert!(load.is_crowded(), "{left} left");
    }
    load.taken(size(1));
    assert!(!load.is_paused() && !load.is_crowded());
}

#[test]
fn events_that_wait_pause_the_client_and_not_its_handlers() {
    let (load, _) = load(80, KB * KB, 0);
    for _ in 0..=EVENTS {
        load.queued(10);
    }
    assert!(load.is_paused() && !load.is_crowded());
    for _ in 0..=EVENTS / 2 {
        load.begun(10);
    }
    assert!(!load.is_paused());
    load.queued(KB * KB);
    assert!(load.is_paused(), "by their bytes, too");
}

#[test]
fn while_an_answer_is_awaited_more_events_may_wait_but_not_all() {
    let (load, _) = load(80, KB * KB, 0);
    let answer = load.await_answer();
    for _ in 0..=EVENTS {
        load.queued(10);
    }
    assert!(!load.is_paused());
    for _ in 0..EVENTS * FOR_AN_ANSWER {
        load.queued(10);
    }
    assert!(load.is_paused());
    drop(answer);
    assert!(load.is_paused());
}

#[test]
fn a_packet_for_many_is_in_the_nodes_sum_once() {
    let (one, budget) = load(80, 1000 * KB, 900 * KB);
    let others: Vec<Load> = std::iter::repeat_with(Load::default).take(9).collect();
    others.iter().for_each(|load| load.count_for(&budget));
    for load in others.iter().chain([&*one]) {
        assert_eq!(load.submit(size(800 * KB), 10), Room::Enough);
    }
    assert!(budget.waiting() <= 800 * KB, "{}", budget.waiting());
    assert_eq!(others[0].submit(size(640 * KB), 1), Room::Full, "each has all of it to take");
    drop(others);
    drop(one);
    assert_eq!(budget.waiting(), 0);
}

#[test]
fn the_node_is_full_when_all_clients_together_hold_too_much() {
    let (one, budget) = load(80, KB * KB, 640 * KB);
    let other = Load::default();
    other.count_for(&budget);
    assert_eq!(one.submit(size(512 * KB), 1), Room::Enough);
    assert_eq!(other.submit(size(512 * KB), 1), Room::NodeFull);
    assert_eq!((one.held(), other.held()), (512 * KB, 512 * KB));
    other.all_taken();
    assert_eq!(one.submit(size(1), 1), Room::Enough);
}

#[test]
fn what_is_taken_goes_from_the_share_in_proportion() {
    let (load, _) = load(80, KB * KB, 0);
    load.submit(size(100 * KB), 10);
    load.submit(size(100 * KB), 1);
    assert_eq!(load.held(), 110 * KB);
    load.taken(size(100 * KB));
    assert_eq!(load.held(), 55 * KB);
    load.taken(size(100 * KB));
    assert_eq!(load.held(), 0);
}

#[tokio::test]
async fn who_waits_for_room_is_told() {
    let (load, _) = load(8, KB * KB, 0);
    load.submit(size(1), 1);
    load.submit(size(1), 1);
    let waiting = tokio::spawn({
        let load = Arc::clone(&load);
        async move { load.uncrowded().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    load.taken(Size { packets: 2, bytes: 2 });
    waiting.await.expect("ended");
}

/// The engine's task takes the marker as soon as it is there, and may run on another thread.
#[test]
fn something_waits_before_the_marker_of_its_fence_is_there() {
    use crate::edge::{load::Sent, outgoing::Frame};

    let (load, _) = load(80, KB * KB, 0);
    load.open_outgoing(true);
    let frame = Frame::text("2", &[]);
    let sent = load.send(&frame, 1, false, |_| {
        assert!(load.has_outgoing(), "the marker would pass unseen");
        true
    });
    assert_eq!(sent, Sent::Appended);
    let other = Load::default();
    other.open_outgoing(true);
    assert_eq!(other.send(&frame, 1, false, |_| false), Sent::ThroughEngine);
    assert!(!other.has_outgoing(), "nothing waits then");
}
