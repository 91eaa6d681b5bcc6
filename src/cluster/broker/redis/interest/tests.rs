use futures_util::FutureExt as _;

use super::*;
use crate::cluster::broker::redis::routes;

fn topic(name: &str) -> Topic {
    Topic::Channel(name.into())
}

#[test]
fn only_the_first_and_the_last_of_a_topic_are_changes() {
    let interest = Interest::new();
    interest.listen(topic("a"));
    interest.listen(topic("a"));
    let changes = interest.take(0).unwrap();
    assert_eq!((changes.listen, changes.unlisten), (vec![topic("a")], vec![]));
    interest.unlisten(&topic("a"));
    assert!(interest.take(0).is_none());
    interest.unlisten(&topic("a"));
    let changes = interest.take(0).unwrap();
    assert_eq!((changes.listen, changes.unlisten), (vec![], vec![topic("a")]));
    assert!(interest.told(0).is_empty());
}

#[test]
fn left_and_taken_up_again_is_still_listened_to() {
    let interest = Interest::new();
    interest.listen(topic("a"));
    interest.take(0);
    interest.unlisten(&topic("a"));
    interest.listen(topic("a"));
    let changes = interest.take(0).unwrap();
    assert!(changes.listen.is_empty() && changes.unlisten.is_empty());
    interest.confirm(0, &changes);
    assert_eq!(interest.settled(&[topic("a")]).now_or_never(), Some(()));
    assert_eq!(interest.told(0), [topic("a")]);
    // and with the changes taken in between
    interest.unlisten(&topic("a"));
    assert_eq!(interest.settled(&[topic("a")]).now_or_never(), None);
    assert_eq!(interest.take(0).unwrap().unlisten, [topic("a")]);
    interest.listen(topic("a"));
    assert_eq!(interest.take(0).unwrap().listen, [topic("a")]);
}

#[test]
fn a_new_link_is_told_everything_once() {
    let interest = Interest::new();
    interest.listen(topic("a"));
    interest.take(0);
    interest.listen(topic("b"));
    interest.listen(topic("c"));
    interest.unlisten(&topic("c"));
    let mut all = interest.everything(0).listen;
    all.sort_by_key(|topic| format!("{topic:?}"));
    assert_eq!(all, [topic("a"), topic("b")]);
    assert!(interest.take(0).is_none());
}

#[test]
fn one_leave_too_many_is_forgiven() {
    let interest = Interest::new();
    interest.unlisten(&topic("a"));
    interest.listen(topic("a"));
    assert_eq!(interest.take(0).unwrap().listen, [topic("a")]);
}

#[test]
fn a_topic_that_moves_is_told_to_the_new_lane_with_its_gap_and_holds_up_nobody_else() {
    let interest = Interest::new();
    interest.add_lane();
    interest.listen(topic("foo"));
    interest.listen(topic("bar"));
    let all = interest.everything(0);
    interest.confirm(0, &all);
    interest.confirm(1, &interest.everything(1));
    let sound = Instant::now();
    interest.reroute(routes::one_channel("foo", 1), &[Some(sound), None]);
    assert!(interest.take(0).is_none());
    assert_eq!(interest.told(0), [topic("bar")]);
    assert_eq!(interest.settled(&[topic("foo")]).now_or_never(), None);
    // what is on another lane is not waited for
    assert_eq!(interest.settled(&[topic("bar")]).now_or_never(), Some(()));
    let changes = interest.take(1).unwrap();
    assert_eq!((&changes.listen[..], changes.gap), (&[topic("foo")][..], Some(sound)));
    // refused for now: still to be done, and still a gap
    interest.again(1, &changes.listen, changes.gap);
    let changes = interest.take(1).unwrap();
    assert_eq!((&changes.listen[..], changes.gap), (&[topic("foo")][..], Some(sound)));
    interest.confirm(1, &changes);
    assert_eq!(interest.settled(&[topic("foo")]).now_or_never(), Some(()));
    // a lane without a link is not waited for
    interest.listen(topic("foo"));
    interest.listen(topic("new"));
    interest.lost(0);
    assert_eq!(interest.settled(&[topic("new")]).now_or_never(), Some(()));
}
