//! What the node needs of a [`Carrier`] beyond the published claims, and those claims run on it.
//!
//! Every test makes its own nodes by the function it is given, and uses names of its own, so that
//! all may share one Redis.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::mpsc, time::timeout};

use super::{Broker, BrokerError, Carrier, Disconnected, Mark, Receiver, Topic, conformance};
use crate::link::Link;

const DEADLINE: Duration = Duration::from_secs(15);

/// Runs each claim as a test of its own.
macro_rules! claims {
    ($make:expr) => {
        $crate::cluster::broker::suite::claims!(@published $make,
            frames_arrive_in_order, a_node_hears_itself, what_is_left_is_not_heard,
            nodes_that_listen_are_counted, what_is_settled_is_heard, any_bytes_arrive,
            the_largest_frame_arrives, what_is_flushed_is_not_lost, what_was_listened_to_before_the_start_is_heard,
            a_stopped_node_has_sent_everything
        );
        $crate::cluster::broker::suite::claims!(@own $make,
            listens_are_counted, a_stopped_node_counts_what_comes_too_late
        );
    };
    ($make:expr, prefixes) => {
        $crate::cluster::broker::suite::claims!($make);
        $crate::cluster::broker::suite::claims!(@own $make, prefixes_are_plain_text);
    };
    (@published $make:expr, $($name:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let make = $make;
                let make = async || $crate::cluster::broker::suite::Outward::of(make().await);
                $crate::cluster::broker::conformance::$name(&make).await;
            }
        )+
    };
    (@own $make:expr, $($name:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::cluster::broker::suite::$name(&$make).await;
            }
        )+
    };
}
pub(super) use claims;

/// All claims that need no prefixes, one after the other.
pub(super) async fn all(make: &impl AsyncFn() -> Arc<dyn Carrier>) {
    conformance::all(async || Outward::of(make().await)).await;
    listens_are_counted(make).await;
    a_stopped_node_counts_what_comes_too_late(make).await;
}

/// A carrier of ours, as a broker that a program brings.
pub(super) struct Outward {
    carrier: Arc<dyn Carrier>,
    /// What was listened to, for `settled`.
    topics: Mutex<Vec<Topic>>,
    /// From the start on.
    mark: Mutex<Mark>,
}

impl Outward {
    pub(super) fn of(carrier: Arc<dyn Carrier>) -> Self {
        Self { carrier, topics: Mutex::default(), mark: Mutex::default() }
    }
}

impl Broker for Outward {
    async fn start(&self, receiver: Receiver) -> Result<(), BrokerError> {
        let inbound = move |channel: &str, frame: &Bytes| receiver.frame(channel, frame);
        self.carrier.start(Arc::new(inbound), false).await?;
        *self.mark.lock() = self.carrier.mark();
        let topics = self.topics.lock().clone();
        self.carrier.settled(&topics).await;
        Ok(())
    }

    fn publish(&self, channel: &str, frame: Bytes) {
        self.carrier.publish(channel, frame);
    }

    async fn flush(&self) -> Result<(), Disconnected> {
        let mark = self.mark.lock().clone();
        self.carrier.taken(mark).await
    }

    fn listen(&self, channel: &str) {
        let topic = Topic::Channel(channel.into());
        self.topics.lock().push(topic.clone());
        self.carrier.listen(topic);
    }

    fn unlisten(&self, channel: &str) {
        self.carrier.unlisten(&Topic::Channel(channel.into()));
    }

    async fn settled(&self) {
        let topics = self.topics.lock().clone();
        self.carrier.settled(&topics).await;
    }

    async fn listeners(&self, channels: Vec<String>) -> Result<Vec<usize>, Disconnected> {
        self.carrier.listeners(channels.into_iter().map(Into::into).collect()).await
    }

    async fn stop(&self) {
        self.carrier.stop().await;
    }
}

/// A node whose frames are kept as they come.
pub(super) struct Node {
    pub(super) broker: Arc<dyn Carrier>,
    heard: mpsc::UnboundedReceiver<(String, Bytes)>,
}

impl Node {
    pub(super) async fn start(broker: Arc<dyn Carrier>) -> Self {
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

async fn two(make: &impl AsyncFn() -> Arc<dyn Carrier>) -> [Node; 2] {
    [Node::start(make().await).await, Node::start(make().await).await]
}

pub(super) async fn listens_are_counted(make: &impl AsyncFn() -> Arc<dyn Carrier>) {
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

pub(super) async fn a_stopped_node_counts_what_comes_too_late(
    make: &impl AsyncFn() -> Arc<dyn Carrier>,
) {
    let ann = Node::start(make().await).await;
    for count in 0..5000 {
        ann.say("last", &count.to_string());
    }
    ann.broker.stop().await;
    ann.becomes(Link::Down).await;
    ann.say("last", "too late");
    assert_eq!(ann.broker.counts().dropped_down, 1);
    assert_eq!(ann.broker.counts().published, 5000);
}

/// Glob characters in a prefix mean themselves.
pub(super) async fn prefixes_are_plain_text(make: &impl AsyncFn() -> Arc<dyn Carrier>) {
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
