use futures_util::FutureExt as _;

use super::*;
use crate::cluster::broker::redis::routes;

fn topic(name: &str) -> Topic {
    Topic::Channel(name.into())
}

#[test]
fn only_the_first_and_the_last_of_a_topic_are_changes() {
    let subscriptions = Subscriptions::new();
    subscriptions.listen(topic("a"));
    subscriptions.listen(topic("a"));
    let changes = subscriptions.take(0).unwrap();
    assert_eq!((changes.listen, changes.unlisten), (vec![topic("a")], vec![]));
    subscriptions.unlisten(&topic("a"));
    assert!(subscriptions.take(0).is_none());
    subscriptions.unlisten(&topic("a"));
    let changes = subscriptions.take(0).unwrap();
    assert_eq!((changes.listen, changes.unlisten), (vec![], vec![topic("a")]));
    assert!(subscriptions.told(0).is_empty());
}

#[test]
fn left_and_taken_up_again_is_still_listened_to() {
    let subscriptions = Subscriptions::new();
    subscriptions.listen(topic("a"));
    subscriptions.take(0);
    subscriptions.unlisten(&topic("a"));
    subscriptions.listen(topic("a"));
    let changes = subscriptions.take(0).unwrap();
    assert!(changes.listen.is_empty() && changes.unlisten.is_empty());
    subscriptions.confirm(0, &changes);
    assert_eq!(subscriptions.settled(&[topic("a")]).now_or_never(), Some(()));
    assert_eq!(subscriptions.told(0), [topic("a")]);
    // and with the changes taken in between
    subscriptions.unlisten(&topic("a"));
    assert_eq!(subscriptions.settled(&[topic("a")]).now_or_never(), None);
    assert_eq!(subscriptions.take(0).unwrap().unlisten, [topic("a")]);
    subscriptions.listen(topic("a"));
    assert_eq!(subscriptions.take(0).unwrap().listen, [topic("a")]);
}

#[test]
fn a_new_link_is_told_everything_once() {
    let subscriptions = Subscriptions::new();
    subscriptions.listen(topic("a"));
    subscriptions.take(0);
    subscriptions.listen(topic("b"));
    subscriptions.listen(topic("c"));
    subscriptions.unlisten(&topic("c"));
    let mut all = subscriptions.everything(0).listen;
    all.sort_by_key(|topic| format!("{topic:?}"));
    assert_eq!(all, [topic("a"), topic("b")]);
    assert!(subscriptions.take(0).is_none());
}

#[test]
fn one_leave_too_many_is_forgiven() {
    let subscriptions = Subscriptions::new();
    subscriptions.unlisten(&topic("a"));
    subscriptions.listen(topic("a"));
    assert_eq!(subscriptions.take(0).unwrap().listen, [topic("a")]);
}

#[test]
fn a_topic_that_moves_is_told_to_the_new_lane_with_its_gap_and_holds_up_nobody_else() {
    let subscriptions = Subscriptions::new();
    subscriptions.add_lane();
    subscriptions.listen(topic("foo"));
    subscriptions.listen(topic("bar"));
    let all = subscriptions.everything(0);
    subscriptions.confirm(0, &all);
    subscriptions.confirm(1, &subscriptions.everything(1));
    let watermark = Instant::now();
    subscriptions.reroute(routes::one_channel("foo", 1), &[Some(watermark), None]);
    assert!(subscriptions.take(0).is_none());
    assert_eq!(subscriptions.told(0), [topic("bar")]);
    assert_eq!(subscriptions.settled(&[topic("foo")]).now_or_never(), None);
    // what is on another lane is not waited for
    assert_eq!(subscriptions.settled(&[topic("bar")]).now_or_never(), Some(()));
    let changes = subscriptions.take(1).unwrap();
    assert_eq!((&changes.listen[..], changes.gap), (&[topic("foo")][..], Some(watermark)));
    // refused for now: still to be done, and still a gap
    subscriptions.again(1, &changes.listen, changes.gap);
    let changes = subscriptions.take(1).unwrap();
    assert_eq!((&changes.listen[..], changes.gap), (&[topic("foo")][..], Some(watermark)));
    subscriptions.confirm(1, &changes);
    assert_eq!(subscriptions.settled(&[topic("foo")]).now_or_never(), Some(()));
    // a lane without a link is not waited for
    subscriptions.listen(topic("foo"));
    subscriptions.listen(topic("new"));
    subscriptions.lost(0);
    assert_eq!(subscriptions.settled(&[topic("new")]).now_or_never(), Some(()));
}
