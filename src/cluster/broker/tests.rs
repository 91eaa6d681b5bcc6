//! What every broker promises, asked of each: in memory, and over every kind of Redis.

mod faults;

use tokio::sync::mpsc;

use super::*;
use crate::{
    config::WireProtocol,
    redis::{
        target::Target,
        testing::{DEADLINE, Server, cluster, target, until},
    },
};

/// A broker and what it hears.
pub(super) struct Node {
    pub(super) broker: Arc<dyn Broker>,
    heard: mpsc::UnboundedReceiver<(String, Bytes)>,
}

impl Node {
    pub(super) async fn start(broker: impl Broker) -> Self {
        Self::waiting(broker, false).await.expect("the link can be made")
    }

    pub(super) async fn waiting(broker: impl Broker, wait: bool) -> Result<Self, LinkError> {
        let (tell, heard) = mpsc::unbounded_channel();
        let inbound: Inbound = Arc::new(move |channel: &str, frame: &Bytes| {
            let _ = tell.send((channel.to_owned(), frame.clone()));
        });
        broker.start(inbound, wait).await?;
        Ok(Self { broker: Arc::new(broker), heard })
    }

    pub(super) async fn listen(&self, channel: &str) {
        self.broker.listen(Topic::Channel(channel.into()));
        self.broker.settled().await;
    }

    pub(super) async fn hears(&mut self) -> (String, Bytes) {
        let heard = tokio::time::timeout(DEADLINE, self.heard.recv()).await;
        heard.expect("a frame in time").expect("the broker lives")
    }

    pub(super) async fn hears_on(&mut self, channel: &str, frame: &'static [u8]) {
        assert_eq!(self.hears().await, (channel.to_owned(), Bytes::from_static(frame)));
    }

    pub(super) async fn becomes(&self, wanted: Link) {
        let mut link = self.broker.link();
        let reached = tokio::time::timeout(DEADLINE, link.wait_for(|link| *link == wanted)).await;
        assert!(reached.is_ok(), "not {wanted:?} in time");
    }
}

/// A way to make brokers that hear each other.
enum Place {
    Memory(MemoryHub),
    Redis(Box<Target>, WireProtocol),
}

impl Place {
    async fn node(&self) -> Node {
        match self {
            Self::Memory(hub) => Node::start(hub.join()).await,
            Self::Redis(target, protocol) => {
                Node::start(RedisBroker::new((**target).clone(), *protocol)).await
            }
        }
    }
}

async fn every_promise(place: Place) {
    order_echo_and_content(&place).await;
    topics_are_counted(&place).await;
    listeners_are_counted(&place).await;
    what_is_settled_is_never_missed(&place).await;
    if !matches!(place, Place::Redis(_, WireProtocol::Sharded)) {
        prefixes(&place).await;
    }
}

async fn order_echo_and_content(place: &Place) {
    let (a, mut b) = (place.node().await, place.node().await);
    let mut echo = place.node().await;
    b.listen("order").await;
    echo.listen("echo").await;
    for number in 0..3000_u32 {
        a.broker.publish("order", Bytes::copy_from_slice(&number.to_be_bytes()));
    }
    for number in 0..3000_u32 {
        assert_eq!(b.hears().await.1.as_ref(), number.to_be_bytes());
    }
    for frame in [&b""[..], b"\0\xff\r\n$5"] {
        echo.broker.publish("echo", Bytes::from_static(frame));
        echo.hears_on("echo", frame).await;
    }
}

async fn topics_are_counted(place: &Place) {
    let (a, mut b) = (place.node().await, place.node().await);
    let topic = Topic::Channel("counted".into());
    b.listen("counted").await;
    b.listen("counted").await;
    b.listen("last").await;
    b.broker.unlisten(&topic);
    b.broker.settled().await;
    a.broker.publish("counted", Bytes::from_static(b"still"));
    b.hears_on("counted", b"still").await;
    // Left and joined again at once: joined.
    b.broker.unlisten(&topic);
    b.broker.listen(topic.clone());
    b.broker.settled().await;
    a.broker.publish("counted", Bytes::from_static(b"again"));
    b.hears_on("counted", b"again").await;
    b.broker.unlisten(&topic);
    until("nobody listens", async || {
        a.broker.listeners(vec!["counted".into()]).await == Ok(vec![0])
    })
    .await;
    a.broker.publish("counted", Bytes::from_static(b"too late"));
    a.broker.publish("last", Bytes::from_static(b"fence"));
    b.hears_on("last", b"fence").await;
}

async fn listeners_are_counted(place: &Place) {
    let (a, b) = (place.node().await, place.node().await);
    for node in [&a, &b] {
        node.listen("k#both").await;
    }
    b.listen("k#one").await;
    let asked = ["k#both", "k#none", "k#one"].map(Channel::from).to_vec();
    assert_eq!(a.broker.listeners(asked.clone()).await, Ok(vec![2, 0, 1]));
    b.broker.stop().await;
    until("who stops is not counted", async || {
        a.broker.listeners(asked.clone()).await == Ok(vec![1, 0, 0])
    })
    .await;
}

async fn what_is_settled_is_never_missed(place: &Place) {
    let (a, mut b) = (place.node().await, place.node().await);
    for round in 0..100 {
        let channel = format!("settled {round}");
        b.listen(&channel).await;
        a.broker.publish(&channel, Bytes::from_static(b"heard"));
        b.hears_on(&channel, b"heard").await;
    }
}

async fn prefixes(place: &Place) {
    let (a, mut b) = (place.node().await, place.node().await);
    b.broker.listen(Topic::Prefix("p[a]*#".into()));
    b.broker.settled().await;
    for channel in ["pa#x", "p[a]x#", "p[a]*#room#"] {
        a.broker.publish(channel, Bytes::from_static(b"frame"));
    }
    b.hears_on("p[a]*#room#", b"frame").await;
}

#[tokio::test]
async fn in_memory() {
    every_promise(Place::Memory(MemoryHub::default())).await;
}

#[tokio::test]
async fn classic() {
    let redis = Server::start().await;
    every_promise(Place::Redis(redis.target().into(), WireProtocol::Classic)).await;
}

#[tokio::test]
async fn sharded() {
    let redis = Server::start().await;
    every_promise(Place::Redis(redis.target().into(), WireProtocol::Sharded)).await;
}

#[tokio::test]
async fn through_a_unix_socket() {
    let redis = Server::with(&["--unixsocket", "{dir}/redis.sock"]).await;
    let url = format!("unix:{}/redis.sock", redis.dir.display());
    every_promise(Place::Redis(target(&url).into(), WireProtocol::Classic)).await;
}

#[tokio::test]
async fn with_a_password() {
    let redis = Server::with(&["--requirepass", "open sesame"]).await;
    let url = format!("redis://:open%20sesame@127.0.0.1:{}", redis.port);
    every_promise(Place::Redis(target(&url).into(), WireProtocol::Classic)).await;
}

async fn on_a_redis_cluster(protocol: WireProtocol) {
    let nodes = cluster().await;
    let seeds: Vec<String> = nodes.iter().map(|node| node.url()).collect();
    every_promise(Place::Redis(target(&seeds.join(",")).into(), protocol)).await;
}

#[tokio::test]
async fn classic_on_a_redis_cluster() {
    on_a_redis_cluster(WireProtocol::Classic).await;
}

#[tokio::test]
async fn sharded_on_a_redis_cluster() {
    on_a_redis_cluster(WireProtocol::Sharded).await;
}
