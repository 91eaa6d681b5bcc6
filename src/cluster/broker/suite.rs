//! The contract of [`Broker`] as tests: each implementation runs all of them.
//!
//! Every test makes its own nodes by the function it is given, and uses names of its own, so that
//! all may share one Redis.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use super::{Broker, Channel, Topic};
use crate::link::Link;

const DEADLINE: Duration = Duration::from_secs(15);

/// Runs each claim as a test of its own.
macro_rules! conformance {
    ($make:expr) => {
        $crate::cluster::broker::suite::conformance!(@tests $make,
            frames_arrive_in_order, a_node_hears_itself, left_is_not_heard, listens_are_counted,
            nodes_that_listen_are_counted, settled_means_heard, any_bytes_arrive,
            a_stopped_node_has_sent_everything
        );
    };
    ($make:expr, prefixes) => {
        $crate::cluster::broker::suite::conformance!($make);
        $crate::cluster::broker::suite::conformance!(@tests $make, prefixes_are_plain_text);
    };
    (@tests $make:expr, $($name:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::cluster::broker::suite::$name(&$make).await;
            }
        )+
    };
}
pub(super) use conformance;

/// All claims that need no prefixes, one after the other.
pub(super) async fn all(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    frames_arrive_in_order(make).await;
    a_node_hears_itself(make).await;
    left_is_not_heard(make).await;
    listens_are_counted(make).await;
    nodes_that_listen_are_counted(make).await;
    settled_means_heard(make).await;
    any_bytes_arrive(make).await;
    a_stopped_node_has_sent_everything(make).await;
}

/// A node whose frames are kept as they come.
pub(super) struct Node {
    pub(super) broker: Arc<dyn Broker>,
    heard: mpsc::UnboundedReceiver<(String, Bytes)>,
}

impl Node {
    pub(super) async fn start(broker: Arc<dyn Broker>) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let inbound = Arc::new(move |channel: &str, frame: &Bytes| {
            // the test may be over
            let _ = sender.send((channel.to_owned(), frame.clone()));
        });
        broker.start(inbound, false).await.unwrap();
        assert_eq!(*broker.link().borrow(), Link::Up);
        assert_eq!(broker.listeners(vec!["nobody".into()]).await, Ok(vec![0]));
        Self { broker, heard }
    }

    pub(super) async fn listen(&self, channels: &[&str]) {
        let topics: Vec<_> = channels.iter().map(|name| channel(name)).collect();
        topics.iter().for_each(|topic| self.broker.listen(topic.clone()));
        self.broker.settled(&topics).await;
    }

    pub(super) fn say(&self, channel: &str, text: &str) {
        self.broker.publish(channel, Bytes::copy_from_slice(text.as_bytes()));
    }

    pub(super) async fn next(&mut self) -> (String, Bytes) {
        let next = timeout(DEADLINE, self.heard.recv()).await;
        next.unwrap_or_else(|_| panic!("nothing heard: {:?}", self.broker.counts())).unwrap()
    }

    pub(super) async fn hears(&mut self, channel: &str, text: &str) {
        assert_eq!(
            self.next().await,
            (channel.to_owned(), Bytes::copy_from_slice(text.as_bytes()))
        );
    }

    pub(super) async fn becomes(&self, wanted: Link) {
        let mut link = self.broker.link();
        let reached = timeout(DEADLINE, link.wait_for(|link| *link == wanted)).await;
        let reason = self.broker.reason();
        assert!(reached.is_ok(), "not within {DEADLINE:?}: {wanted:?}, {reason:?}");
    }

    pub(super) async fn listeners(&self, name: &str) -> usize {
        self.broker.listeners(vec![name.into()]).await.unwrap()[0]
    }
}

pub(super) fn channel(name: &str) -> Topic {
    Topic::Channel(name.into())
}

async fn two(make: &impl AsyncFn() -> Arc<dyn Broker>) -> [Node; 2] {
    [Node::start(make().await).await, Node::start(make().await).await]
}

/// 10,000 frames over four channels: each channel in order.
pub(super) async fn frames_arrive_in_order(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    let [ann, mut bob] = two(make).await;
    let names = ["order.a", "order.b", "order.c", "order.d"];
    bob.listen(&names).await;
    for count in 0..10_000 {
        ann.say(names[count % 4], &count.to_string());
    }
    let mut next = [0, 1, 2, 3];
    for _ in 0..10_000 {
        let (name, frame) = bob.next().await;
        let lane = names.iter().position(|known| *known == name).unwrap();
        assert_eq!(frame, next[lane].to_string());
        next[lane] += 4;
    }
}

pub(super) async fn a_node_hears_itself(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    let mut ann = Node::start(make().await).await;
    ann.listen(&["echo"]).await;
    ann.say("echo", "me");
    ann.hears("echo", "me").await;
    assert_eq!(ann.broker.counts().received, 1);
}

pub(super) async fn left_is_not_heard(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    let [ann, mut bob] = two(make).await;
    bob.listen(&["left", "kept"]).await;
    bob.broker.unlisten(&channel("left"));
    bob.broker.settled(&[channel("left")]).await;
    ann.say("left", "1");
    ann.say("never", "2");
    ann.say("kept", "3");
    bob.hears("kept", "3").await;
    // left and at once taken up again
    bob.broker.unlisten(&channel("kept"));
    bob.broker.listen(channel("kept"));
    bob.broker.settled(&[channel("kept")]).await;
    ann.say("kept", "4");
    bob.hears("kept", "4").await;
}

pub(super) async fn listens_are_counted(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    let [ann, mut bob] = two(make).await;
    bob.listen(&["twice", "twice"]).await;
    bob.broker.unlisten(&channel("twice"));
    bob.broker.settled(&[channel("twice")]).await;
    ann.say("twice", "once");
    bob.hears("twice", "once").await;
    bob.broker.unlisten(&channel("twice"));
    bob.listen(&["end"]).await;
    ann.say("twice", "never");
    ann.say("end", "");
    bob.hears("end", "").await;
}

pub(super) async fn nodes_that_listen_are_counted(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    let [ann, bob] = two(make).await;
    ann.listen(&["count.both"]).await;
    bob.listen(&["count.both", "count.bob", "count.both"]).await;
    let names = ["count.both", "count.none", "count.bob", "count.both"];
    let asked: Vec<Channel> = names.map(Channel::from).into();
    assert_eq!(ann.broker.listeners(asked).await, Ok(vec![2, 0, 1, 2]));
    assert_eq!(ann.broker.listeners(vec![]).await, Ok(vec![]));
    bob.broker.stop().await;
    assert_eq!(ann.listeners("count.both").await, 1);
    assert!(bob.broker.listeners(vec!["count.both".into()]).await.is_err());
}

/// Again and again: every frame that another node sends after `settled` is heard.
pub(super) async fn settled_means_heard(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    let [ann, mut bob] = two(make).await;
    for round in 0..200 {
        let name = format!("settled.{}", round % 7);
        bob.listen(&[&name]).await;
        ann.say(&name, "heard");
        bob.hears(&name, "heard").await;
        bob.broker.unlisten(&channel(&name));
    }
}

pub(super) async fn any_bytes_arrive(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    let [ann, mut bob] = two(make).await;
    let name = "bytes #/ü*?[x]\\\r\n#";
    bob.listen(&[name]).await;
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for frame in [Bytes::new(), Bytes::from_static(b"\r\n$-1\0"), all.into()] {
        ann.broker.publish(name, frame.clone());
        assert_eq!(bob.next().await, (name.to_owned(), frame));
    }
}

pub(super) async fn a_stopped_node_has_sent_everything(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    let [ann, mut bob] = two(make).await;
    bob.listen(&["last"]).await;
    for count in 0..5000 {
        ann.say("last", &count.to_string());
    }
    ann.broker.stop().await;
    ann.becomes(Link::Down).await;
    ann.say("last", "too late");
    assert_eq!(ann.broker.counts().dropped_down, 1);
    assert_eq!(ann.broker.counts().published, 5000);
    for count in 0..5000 {
        bob.hears("last", &count.to_string()).await;
    }
}

/// Glob characters in a prefix mean themselves.
pub(super) async fn prefixes_are_plain_text(make: &impl AsyncFn() -> Arc<dyn Broker>) {
    let [ann, mut bob] = two(make).await;
    let prefix = Topic::Prefix("p[1]*?\\#".into());
    bob.broker.listen(prefix.clone());
    bob.broker.settled(&[prefix]).await;
    for name in ["p1x?\\#", "p[1]x?\\#", "p[1]*?\\", "p[1]*?\\#", "p[1]*?\\#room#"] {
        ann.say(name, "");
    }
    bob.hears("p[1]*?\\#", "").await;
    bob.hears("p[1]*?\\#room#", "").await;
    assert_eq!(ann.listeners("p[1]*?\\#").await, 0, "prefixes do not count");
    bob.broker.unlisten(&Topic::Prefix("p[1]*?\\#".into()));
    bob.listen(&["other"]).await;
    ann.say("p[1]*?\\#", "never");
    ann.say("other", "");
    bob.hears("other", "").await;
}
