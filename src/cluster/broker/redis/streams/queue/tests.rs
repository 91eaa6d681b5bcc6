//! The queue without a Redis: its bounds, and who gets an own entry back.

use std::sync::Arc;

use super::*;

fn queue(ordered: bool) -> Queue {
    let pending = Pending { max: 100, age: Duration::from_secs(60) };
    let queue = Queue::new(pending, ordered, Arc::default());
    queue.begin();
    queue
}

fn entry(size: usize) -> NewEntry {
    NewEntry { from: "x".into(), namespace: "".into(), kind: 3, data: vec![b'x'; size] }
}

type Given = Arc<Mutex<Vec<(usize, Option<EntryId>)>>>;

fn push(queue: &Queue, given: &Given, name: usize, size: usize) {
    let given = given.clone();
    queue.push(entry(size), Some(Box::new(move |at| given.lock().push((name, at)))));
}

fn id(millis: u64) -> EntryId {
    EntryId { millis, number: 0 }
}

fn numbers(queue: &Queue) -> Vec<u64> {
    queue.flying(|items| items.iter().map(|item| item.number).collect())
}

#[tokio::test]
async fn entries_leave_in_order_and_unanswered_ones_leave_again_before_the_others() {
    let (queue, given) = (queue(false), Given::default());
    (0..3).for_each(|name| push(&queue, &given, name, 10));
    assert_eq!(given.lock().len(), 3, "nobody waits where there is no order");
    queue.linked(true);
    assert!(queue.take().await);
    assert_eq!(numbers(&queue), [0, 1, 2]);
    push(&queue, &given, 3, 10);
    queue.linked(false);
    // Redis has the first alone
    queue.settle(Some(0));
    queue.linked(true);
    assert!(queue.take().await);
    assert_eq!(numbers(&queue), [1, 2, 3]);
    queue.answered(vec![Answer::Taken(id(1)), Answer::Refused, Answer::Taken(id(2))]);
    let counts = queue.counts();
    assert_eq!((counts.published, counts.unsure), (3, 1));
    assert_eq!((queue.last_taken(), queue.waiting()), (Some(id(2)), (0, 0)));
    queue.seal();
    assert!(!queue.take().await && queue.is_over());
}

#[tokio::test]
async fn what_is_not_now_is_tried_again_unless_a_later_one_was_taken() {
    let (queue, given) = (queue(false), Given::default());
    queue.linked(true);
    (0..4).for_each(|name| push(&queue, &given, name, 10));
    assert!(queue.take().await);
    let taken = || Answer::Taken(id(1));
    queue.answered(vec![taken(), Answer::NotNow, taken(), Answer::NotNow]);
    assert!(queue.take().await);
    assert_eq!(numbers(&queue), [3]);
    assert_eq!((queue.counts().published, queue.counts().dropped_down), (2, 1));
}

#[tokio::test]
async fn without_a_link_the_oldest_of_too_many_go_and_their_owners_are_told() {
    let (queue, given) = (queue(true), Given::default());
    (0..5).for_each(|name| push(&queue, &given, name, 30));
    assert_eq!(*given.lock(), [(0, None), (1, None)]);
    push(&queue, &given, 5, 101);
    assert_eq!(given.lock().last(), Some(&(5, None)), "it would push out all others");
    assert_eq!(queue.waiting(), (3, 90));
    queue.end();
    assert_eq!(given.lock().len(), 6);
    assert_eq!(queue.counts().dropped_down, 6);
    push(&queue, &given, 6, 1);
    assert_eq!(given.lock().last(), Some(&(6, None)));
}

#[tokio::test]
async fn own_entries_come_back_in_turn_each_once_and_lost_ones_without_a_place() {
    let (queue, given) = (queue(true), Given::default());
    queue.linked(true);
    (0..5).for_each(|name| push(&queue, &given, name, 10));
    assert!(queue.take().await);
    // It is read again before Redis's answer is.
    queue.came_back(0).unwrap()(Some(id(7)));
    let taken = || Answer::Taken(id(7));
    queue.answered(vec![taken(), taken(), Answer::Refused, taken(), taken()]);
    assert_eq!(*given.lock(), [(0, Some(id(7))), (2, None)]);
    // Those before it were not seen: the stream had lost them.
    queue.came_back(3).unwrap()(Some(id(9)));
    assert_eq!(given.lock()[2..], [(1, None), (3, Some(id(9)))]);
    assert!(queue.came_back(3).is_none() && queue.came_back(1).is_none());
    assert!(queue.is_awaited());
    queue.came_back(4).unwrap()(Some(id(10)));
    assert!(!queue.is_awaited());
}

#[tokio::test]
async fn who_waits_too_long_is_told_and_the_entry_is_passed_over_later() {
    let pending = Pending { max: 100, age: Duration::ZERO };
    let (queue, given) = (Queue::new(pending, true, Arc::default()), Given::default());
    queue.begin();
    queue.linked(true);
    push(&queue, &given, 0, 10);
    assert!(queue.take().await);
    std::thread::sleep(Duration::from_millis(2));
    queue.expire();
    assert_eq!(*given.lock(), [(0, None)]);
    queue.answered(vec![Answer::Taken(id(1))]);
    assert!(queue.came_back(0).is_none());
    assert_eq!(queue.counts().published, 1);
}

#[tokio::test]
async fn it_is_known_whether_everything_since_a_moment_was_taken() {
    let (queue, given) = (queue(false), Given::default());
    queue.linked(true);
    let mark = queue.mark();
    assert_eq!(queue.taken(mark).await, Ok(()));
    push(&queue, &given, 0, 10);
    assert!(queue.take().await);
    let (taken, ()) = tokio::join!(queue.taken(mark), async {
        queue.answered(vec![Answer::Taken(id(1))]);
    });
    assert_eq!(taken, Ok(()));
    push(&queue, &given, 1, 10);
    assert!(queue.take().await);
    queue.give_up();
    assert_eq!(queue.taken(mark).await, Err(Disconnected));
}
