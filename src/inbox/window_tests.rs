use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn window(size: usize) -> Window {
    Window::new(size, 0, 0)
}

#[test]
fn what_is_kept_is_sent_at_once_if_it_is_the_next_one() {
    let mut window = window(2);
    assert!(window.takes(1));
    assert!(!window.takes(3), "2 is missing");
    assert_eq!(window.wants(), Some(Wanted { after: 1, count: 1, last: 3 }));
    window.read(Wanted { after: 1, count: 1, last: 3 }, [2].into_iter());
    assert_eq!((window.wants(), window.in_flight()), (None, 2), "it is full");
    assert_eq!(window.acknowledged(2), None, "1 is missing");
    assert_eq!(window.acknowledged(1), Some(2));
    assert_eq!(window.wants(), Some(Wanted { after: 2, count: 2, last: 3 }));
}

#[test]
fn numbers_of_other_namespaces_are_passed() {
    let mut window = window(2);
    window.passes(1);
    assert!(window.takes(2));
    window.passes(4);
    assert_eq!(window.wants(), Some(Wanted { after: 2, count: 1, last: 4 }));
    window.read(Wanted { after: 2, count: 1, last: 4 }, [].into_iter());
    assert_eq!(window.wants(), None);
    assert!(window.takes(5));
}

#[test]
fn another_socket_gets_what_was_not_acknowledged() {
    let mut window = window(4);
    for seq in 1..=3 {
        assert!(window.takes(seq) && window.acknowledged(seq.min(1)).is_some() == (seq == 1));
    }
    window.restart();
    assert_eq!(window.acknowledged(2), None, "it is on its way no more");
    assert_eq!(window.wants(), Some(Wanted { after: 1, count: 4, last: 3 }));
    assert!(window.was_sent(3) && !window.was_sent(4));
}

#[test]
fn what_another_node_has_delivered_is_done() {
    let mut window = window(4);
    (1..=3).for_each(|seq| assert!(window.takes(seq)));
    window.renewed(2, 5);
    assert_eq!((window.acked(), window.in_flight()), (2, 1));
    assert_eq!(window.acknowledged(3), Some(3));
    assert_eq!(window.wants(), Some(Wanted { after: 3, count: 4, last: 5 }));
}

/// Something that happens to a stream.
#[derive(Debug, Clone)]
enum Step {
    Keep { is_other: bool, is_heard: bool },
    Read { count: usize },
    Acknowledge(usize),
    Leave,
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), any::<bool>())
            .prop_map(|(is_other, is_heard)| Step::Keep { is_other, is_heard }),
        3 => (1..4_usize).prop_map(|count| Step::Read { count }),
        4 => any::<prop::sample::Index>().prop_map(|index| Step::Acknowledge(index.index(8))),
        1 => Just(Step::Leave),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    /// Whatever happens in whatever order: a client that ignores numbers up to the highest one it
    /// has handled gets each message once, in order, and the store hears of it in the end.
    #[test]
    fn nothing_is_lost_repeated_or_out_of_order(steps in prop::collection::vec(step(), 1..120)) {
        let (mut window, mut stored) = (Window::new(3, 0, 0), Vec::new());
        let (mut next, mut acked, mut highest) = (1, 0, 0);
        let (mut handled, mut unanswered) = (Vec::new(), Vec::new());
        let receive = |seq: u64, highest: &mut u64, handled: &mut Vec<u64>| {
            if seq > *highest {
                handled.push(seq);
                *highest = seq;
            }
        };
        for step in steps.into_iter().chain((0..400).flat_map(|_| {
            [Step::Read { count: 3 }, Step::Acknowledge(0)]
        })) {
            match step {
                Step::Keep { is_other, is_heard } => {
                    let seq = next;
                    next += 1;
                    if !is_other {
                        stored.push(seq);
                    }
                    if is_heard && is_other {
                        window.passes(seq);
                    } else if is_heard && window.takes(seq) {
                        receive(seq, &mut highest, &mut handled);
                        unanswered.push(seq);
                    }
                }
                Step::Read { count } => {
                    // Sooner or later it is heard of.
                    window.heard(next - 1);
                    let Some(wanted) = window.wants() else { continue };
                    let count = count.min(wanted.count);
                    let behind = stored.iter().copied().filter(|seq| *seq > wanted.after);
                    let read: Vec<_> = behind.take(count).collect();
                    for seq in &read {
                        receive(*seq, &mut highest, &mut handled);
                        unanswered.push(*seq);
                    }
                    window.read(wanted, read.iter().copied());
                    prop_assert!(window.in_flight() <= 3);
                }
                Step::Acknowledge(index) if !unanswered.is_empty() => {
                    let seq = unanswered.remove(index % unanswered.len());
                    if let Some(up_to) = window.acknowledged(seq) {
                        prop_assert!(up_to > acked && up_to <= highest);
                        acked = up_to;
                    }
                }
                Step::Acknowledge(_) => {}
                Step::Leave => {
                    window.restart();
                    unanswered.clear();
                }
                // The node dies, or another one takes over.
                Step::Forget => {
                    window = Window::new(3, acked, next - 1);
                    unanswered.clear();
                }
            }
        }
        prop_assert_eq!(&handled, &stored);
        let all: BTreeSet<_> = stored.iter().filter(|seq| **seq > acked).collect();
        prop_assert!(all.is_empty(), "not acknowledged: {:?}", all);
    }
}
