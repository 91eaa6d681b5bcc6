//! What every [`Broker`] does, as tests. The crate's own pass them, too: in memory, over Redis in its
//! three formats, and over a Redis Cluster.
//!
//! ```
//! # use switchboard::cluster::{Broker, BrokerError, Disconnected, Receiver, conformance};
//! # async fn of_the_program(brokers: impl AsyncFn() -> MyBroker) {
//! // A test of the program: each call makes the broker of a further node of one cluster.
//! conformance::all(async || brokers().await).await;
//!
//! // Or each claim in a test of its own.
//! conformance::frames_arrive_in_order(&brokers).await;
//! conformance::a_node_hears_itself(&brokers).await;
//! conformance::what_is_left_is_not_heard(&brokers).await;
//! conformance::nodes_that_listen_are_counted(&brokers).await;
//! conformance::what_is_settled_is_heard(&brokers).await;
//! conformance::any_bytes_arrive(&brokers).await;
//! conformance::the_largest_frame_arrives(&brokers).await;
//! conformance::what_is_flushed_is_not_lost(&brokers).await;
//! conformance::what_was_listened_to_before_the_start_is_heard(&brokers).await;
//! conformance::a_stopped_node_has_sent_everything(&brokers).await;
//! # }
//! # struct MyBroker;
//! # impl Broker for MyBroker {
//! #     async fn start(&self, _: Receiver) -> Result<(), BrokerError> { Ok(()) }
//! #     fn publish(&self, _: &str, _: bytes::Bytes) {}
//! #     async fn flush(&self) -> Result<(), Disconnected> { Ok(()) }
//! #     fn listen(&self, _: &str) {}
//! #     fn unlisten(&self, _: &str) {}
//! #     async fn settled(&self) {}
//! #     async fn listeners(&self, c: Vec<String>) -> Result<Vec<usize>, Disconnected> { Ok(vec![0; c.len()]) }
//! #     async fn stop(&self) {}
//! # }
//! ```
//!
//! Each claim makes its own nodes by the function that it is given, and uses names of its own, so
//! that all may share one system. A claim that does not hold panics, and says what was expected.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Broker, Receive,
    seam::{LinkToBroker, Receiver},
};

/// How long a claim waits for what should come soon.
const DEADLINE: Duration = Duration::from_secs(15);

/// All claims, one after the other.
///
/// # Panics
/// If one of them does not hold.
pub async fn all<B: Broker>(make: impl AsyncFn() -> B) {
    frames_arrive_in_order(&make).await;
    a_node_hears_itself(&make).await;
    what_is_left_is_not_heard(&make).await;
    nodes_that_listen_are_counted(&make).await;
    what_is_settled_is_heard(&make).await;
    any_bytes_arrive(&make).await;
    the_largest_frame_arrives(&make).await;
    what_is_flushed_is_not_lost(&make).await;
    what_was_listened_to_before_the_start_is_heard(&make).await;
    a_stopped_node_has_sent_everything(&make).await;
}

/// A node, as far as its broker goes.
struct Node<B> {
    broker: B,
    heard: mpsc::UnboundedReceiver<(String, Bytes)>,
    receiver: Receiver,
}

struct Keeps(mpsc::UnboundedSender<(String, Bytes)>);

impl Receive for Keeps {
    fn frame(&self, channel: &str, frame: &Bytes) {
        // The claim may be over.
        let _ = self.0.send((channel.to_owned(), frame.clone()));
    }

    fn entry(&self, _: &super::Entry) {}
}

impl<B: Broker> Node<B> {
    async fn start(broker: B) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let receiver = Receiver::new(Arc::new(Keeps(sender)), Arc::<LinkToBroker>::default());
        within("a broker starts", broker.start(receiver.clone()))
            .await
            .unwrap_or_else(|error| panic!("the broker cannot start: {error}"));
        Self { broker, heard, receiver }
    }

    async fn listen(&self, channels: &[&str]) {
        channels.iter().for_each(|channel| self.broker.listen(channel));
        within("what is listened to is in force", self.broker.settled()).await;
    }

    fn say(&self, channel: &str, text: &str) {
        self.broker.publish(channel, Bytes::copy_from_slice(text.as_bytes()));
    }

    async fn next(&mut self, expected: &str) -> (String, Bytes) {
        let next = timeout(DEADLINE, self.heard.recv()).await.ok().flatten();
        next.unwrap_or_else(|| panic!("not heard within {DEADLINE:?}: {expected}"))
    }

    async fn hears(&mut self, channel: &str, text: &str) {
        let expected = format!("{text:?} on {channel:?}");
        let (on, frame) = self.next(&expected).await;
        assert!(
            on == channel && frame == text.as_bytes(),
            "heard {:?} on {on:?} where {expected} was next",
            String::from_utf8_lossy(&frame)
        );
    }

    async fn listeners(&self, channels: &[&str]) -> Vec<usize> {
        let asked = channels.iter().map(ToString::to_string).collect();
        within("listeners are counted", self.broker.listeners(asked))
            .await
            .unwrap_or_else(|error| panic!("the listeners of {channels:?} are not known: {error}"))
    }

    async fn stop(&self) {
        within("a broker stops", self.broker.stop()).await;
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

async fn two<B: Broker>(make: &impl AsyncFn() -> B) -> [Node<B>; 2] {
    [Node::start(make().await).await, Node::start(make().await).await]
}

/// 10,000 frames over four channels: each channel in order, and nothing twice.
///
/// # Panics
/// If it does not hold.
pub async fn frames_arrive_in_order<B: Broker>(make: &impl AsyncFn() -> B) {
    let [ann, mut bob] = two(make).await;
    let names = ["order.a", "order.b", "order.c", "order.d"];
    bob.listen(&names).await;
    for count in 0..10_000 {
        ann.say(names[count % 4], &count.to_string());
    }
    let mut next = [0, 1, 2, 3];
    for count in 0..10_000 {
        let (name, frame) = bob.next(&format!("the frame {count} of 10000")).await;
        let at = names.iter().position(|known| *known == name);
        let at = at.unwrap_or_else(|| panic!("heard on {name:?}, which nobody listens to"));
        let frame = String::from_utf8_lossy(&frame);
        assert_eq!(frame, next[at].to_string(), "out of order, lost or twice on {name}");
        next[at] += 4;
    }
    assert!(bob.heard.try_recv().is_err(), "more was heard than was said");
    ann.stop().await;
    bob.stop().await;
}

/// A node hears what it says itself, once.
///
/// # Panics
/// If it does not hold.
pub async fn a_node_hears_itself<B: Broker>(make: &impl AsyncFn() -> B) {
    let mut ann = Node::start(make().await).await;
    ann.listen(&["echo"]).await;
    ann.say("echo", "me");
    ann.say("echo", "again");
    ann.hears("echo", "me").await;
    ann.hears("echo", "again").await;
    assert_eq!(ann.receiver.received(), 2, "each frame is heard once");
    ann.stop().await;
}

/// A channel that was left is not heard, and is heard again when it is taken up again.
///
/// # Panics
/// If it does not hold.
pub async fn what_is_left_is_not_heard<B: Broker>(make: &impl AsyncFn() -> B) {
    let [ann, mut bob] = two(make).await;
    bob.listen(&["left", "kept"]).await;
    bob.broker.unlisten("left");
    within("what is left is settled", bob.broker.settled()).await;
    until_counted(&ann, "left", 0).await;
    ann.say("left", "1");
    ann.say("never", "2");
    ann.say("kept", "3");
    bob.hears("kept", "3").await;
    // Left, and at once taken up again.
    bob.broker.unlisten("kept");
    bob.listen(&["kept"]).await;
    ann.say("kept", "4");
    bob.hears("kept", "4").await;
    ann.stop().await;
    bob.stop().await;
}

/// A channel that was left is counted no more after a while.
async fn until_counted<B: Broker>(node: &Node<B>, channel: &str, wanted: usize) {
    let what = format!("{wanted} listeners of {channel:?}");
    within(&what, async {
        while node.listeners(&[channel]).await != [wanted] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// The nodes that listen to a channel are counted, and no others.
///
/// # Panics
/// If it does not hold.
pub async fn nodes_that_listen_are_counted<B: Broker>(make: &impl AsyncFn() -> B) {
    let [ann, bob] = two(make).await;
    ann.listen(&["count.both"]).await;
    bob.listen(&["count.both", "count.bob"]).await;
    let asked = ["count.both", "count.none", "count.bob", "count.both"];
    assert_eq!(ann.listeners(&asked).await, [2, 0, 1, 2], "listeners of {asked:?}");
    assert_eq!(ann.listeners(&[]).await, [0; 0], "nothing was asked");
    bob.stop().await;
    until_counted(&ann, "count.both", 1).await;
    let asked = bob.broker.listeners(vec!["count.both".into()]);
    let told = within("a stopped broker is asked", asked).await;
    assert!(told.is_err(), "a stopped broker does not know who listens, and says {told:?}");
    ann.stop().await;
}

/// Again and again: everything that another node says after `settled` is heard.
///
/// # Panics
/// If it does not hold.
pub async fn what_is_settled_is_heard<B: Broker>(make: &impl AsyncFn() -> B) {
    let [ann, mut bob] = two(make).await;
    for round in 0..200 {
        let name = format!("settled.{}", round % 7);
        bob.listen(&[&name]).await;
        ann.say(&name, &round.to_string());
        bob.hears(&name, &round.to_string()).await;
        bob.broker.unlisten(&name);
    }
    ann.stop().await;
    bob.stop().await;
}

/// Frames and channels are not looked into: empty ones, any bytes, any text.
///
/// # Panics
/// If it does not hold.
pub async fn any_bytes_arrive<B: Broker>(make: &impl AsyncFn() -> B) {
    let [ann, mut bob] = two(make).await;
    let name = "bytes #/ü*?[x]\\\r\n#";
    bob.listen(&[name]).await;
    let all: Vec<u8> = (0..=255).cycle().take(ann.broker.largest().min(100_000)).collect();
    for frame in [Bytes::new(), Bytes::from_static(b"\r\n$-1\0"), all.into()] {
        ann.broker.publish(name, frame.clone());
        let heard = bob.next(&format!("{} bytes", frame.len())).await;
        assert!(heard == (name.to_owned(), frame), "something else was heard on {:?}", heard.0);
    }
    ann.stop().await;
    bob.stop().await;
}

/// A frame arrives that is as large as the broker says it may be; of 1 MiB, if it says more or
/// nothing.
///
/// # Panics
/// If it does not hold.
pub async fn the_largest_frame_arrives<B: Broker>(make: &impl AsyncFn() -> B) {
    let [ann, mut bob] = two(make).await;
    bob.listen(&["large"]).await;
    let size = ann.broker.largest().min(1024 * 1024);
    ann.broker.publish("large", vec![7; size].into());
    let (_, heard) = bob.next(&format!("a frame of {size} bytes")).await;
    assert_eq!(heard.len(), size, "not the whole frame was heard");
    ann.stop().await;
    bob.stop().await;
}

/// `flush` ends well, and what was said before is heard.
///
/// # Panics
/// If it does not hold.
pub async fn what_is_flushed_is_not_lost<B: Broker>(make: &impl AsyncFn() -> B) {
    let [ann, mut bob] = two(make).await;
    bob.listen(&["flushed"]).await;
    for count in 0..1000 {
        ann.say("flushed", &count.to_string());
    }
    let flushed = within("what was said is taken", ann.broker.flush()).await;
    assert!(flushed.is_ok(), "nothing was in the way of these frames: {flushed:?}");
    for count in 0..1000 {
        bob.hears("flushed", &count.to_string()).await;
    }
    ann.stop().await;
    bob.stop().await;
}

/// A channel may be listened to before the broker has started.
///
/// # Panics
/// If it does not hold.
pub async fn what_was_listened_to_before_the_start_is_heard<B: Broker>(make: &impl AsyncFn() -> B) {
    let ann = Node::start(make().await).await;
    let broker = make().await;
    broker.listen("early");
    let mut bob = Node::start(broker).await;
    ann.say("early", "heard");
    bob.hears("early", "heard").await;
    ann.stop().await;
    bob.stop().await;
}

/// A node that leaves has sent what it had said, and sends nothing later.
///
/// # Panics
/// If it does not hold.
pub async fn a_stopped_node_has_sent_everything<B: Broker>(make: &impl AsyncFn() -> B) {
    let [ann, mut bob] = two(make).await;
    bob.listen(&["last", "end"]).await;
    for count in 0..5000 {
        ann.say("last", &count.to_string());
    }
    ann.stop().await;
    ann.say("last", "too late");
    for count in 0..5000 {
        bob.hears("last", &count.to_string()).await;
    }
    bob.say("end", "");
    bob.hears("end", "").await;
    bob.stop().await;
}
