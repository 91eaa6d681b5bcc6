mod faults;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use redis::Value;
use test_kit::{
    network::Network,
    redis::RedisServer,
    redis_cluster,
    waiting::{eventually, until, within},
};

use super::{
    super::{Kind, Pending, RedisBroker, StreamSettings},
    *,
};
use crate::{
    cluster::{
        broker::{BrokerCounts, Carrier, Receive},
        log::Entry,
    },
    link::{
        Link,
        redis::{
            rights::Rights,
            testing::{Reached as _, target},
        },
    },
};

/// A node that keeps what it hears of a stream.
struct Node {
    broker: Arc<RedisBroker>,
    heard: Arc<Heard>,
}

#[derive(Default)]
struct Heard(Mutex<Vec<Entry>>);

impl Receive for Heard {
    fn frame(&self, _: &str, _: &Bytes) {}

    fn entry(&self, entry: &Entry) {
        self.0.lock().push(entry.clone());
    }
}

fn settings() -> StreamSettings {
    StreamSettings {
        names: StreamNames::new("s", 1),
        max_len: 100_000,
        ordered: false,
        reads: true,
    }
}

/// Entries wait for Redis for as long as a busy machine takes to start one.
fn patient() -> Pending {
    Pending { age: Duration::from_secs(60), ..Pending::default() }
}

impl Node {
    async fn with(target: Target, settings: StreamSettings, pending: Pending) -> Self {
        let rights = Arc::new(Rights::new(target.user(), target.address()));
        let broker = RedisBroker::new(target, Kind::Streams, rights, pending, Some(settings));
        let node = Self { broker: Arc::new(broker), heard: Arc::default() };
        node.broker.start(node.heard.clone(), false).await.unwrap();
        assert_eq!(*node.broker.link().borrow(), Link::Up);
        node
    }

    async fn at(target: Target) -> Self {
        Self::with(target, settings(), patient()).await
    }

    fn say(&self, text: &str) {
        self.say_in("/", text, None);
    }

    fn say_in(&self, namespace: &str, text: &str, returned: Option<Returned>) {
        let (from, data) = ("node.1".into(), text.as_bytes().to_vec());
        self.broker.append(NewEntry { from, namespace: namespace.into(), kind: 3, data }, returned);
    }

    fn heard(&self) -> Vec<String> {
        let heard = self.heard.0.lock();
        heard.iter().map(|entry| String::from_utf8(entry.data.to_vec()).unwrap()).collect()
    }

    /// Waits for these texts, and that nothing else was heard.
    async fn hears(&self, texts: &[&str]) {
        self.hears_numbers(texts.len()).await;
        assert_eq!(self.heard(), texts);
    }

    async fn hears_numbers(&self, wanted: usize) {
        let what = format!("{wanted} entries are heard");
        eventually(&what, || self.heard.0.lock().len() >= wanted).await;
    }

    async fn becomes(&self, wanted: Link) {
        let mut link = self.broker.link();
        within("the link", link.wait_for(|link| *link == wanted)).await.unwrap();
    }

    fn counts(&self) -> BrokerCounts {
        self.broker.counts()
    }

    fn has_lapse(&self) -> bool {
        self.broker.lapses().next().now_or_never().is_some()
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn add(server: &RedisServer, fields: &[&str]) {
    server.command(&[&["XADD", "s", "*"], fields].concat()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_arrive_in_order_and_a_node_does_not_hear_its_own() {
    let server = RedisServer::start().await;
    add(&server, &["uid", "x", "nsp", "/", "type", "3", "data", "before the start"]).await;
    let [ann, bob] = [Node::at(server.target()).await, Node::at(server.target()).await];
    for number in 0..5000 {
        ann.say(&number.to_string());
    }
    bob.hears_numbers(5000).await;
    assert_eq!(bob.heard(), numbers(0..5000));
    bob.say("back");
    ann.hears(&["back"]).await;
    let heard = bob.heard.0.lock();
    assert!(heard.is_sorted_by_key(|entry| entry.at), "by their places");
    let first = &heard[0];
    assert_eq!(
        (first.from.as_deref(), &*first.namespace, &*first.kind),
        (Some("node.1"), "/", "3")
    );
    assert_eq!(ann.counts().published, 5000);
    assert_eq!(bob.broker.read_up_to("/"), ann.broker.read_up_to("/"));
    assert!(!ann.has_lapse() && !bob.has_lapse());
}

/// As Node.js writes it, with one more field at the end.
#[tokio::test]
async fn an_entry_has_the_fields_of_node() {
    let server = RedisServer::start().await;
    let ann = Node::at(server.target()).await;
    ann.say_in("/chat", "{}", None);
    eventually("it is taken", || ann.counts().published == 1).await;
    let entries: Vec<(String, Vec<String>)> = server.ask(&["XRANGE", "s", "-", "+"]).await;
    let [(_, fields)] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(fields[..8], ["uid", "node.1", "nsp", "/chat", "type", "3", "data", "{}"]);
    assert_eq!(fields[8], "seq");
}

#[tokio::test]
async fn entries_that_are_no_messages_stop_nothing() {
    let server = RedisServer::start().await;
    let bob = Node::at(server.target()).await;
    add(&server, &["some", "thing"]).await;
    add(&server, &["nsp", "/"]).await;
    add(&server, &["type", "3", "data", "{}"]).await;
    let binary = ["uid", "x", "nsp", "/", "type", "3", "seq", "not-a-number", "data", "is heard"];
    add(&server, &binary).await;
    bob.hears(&["is heard"]).await;
    assert_eq!(bob.counts().log_malformed, 3);
    assert_eq!(*bob.broker.link().borrow(), Link::Up);
}

/// Messages of 300 kB: fewer are asked for at a time, and all arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_entries_arrive() {
    let server = RedisServer::start().await;
    let [ann, bob] = [Node::at(server.target()).await, Node::at(server.target()).await];
    for number in 0..60_u8 {
        ann.say(&char::from(b'0' + number % 10).to_string().repeat(300_000));
    }
    bob.hears_numbers(60).await;
    let heard = bob.heard();
    assert!(heard.iter().enumerate().all(|(number, text)| {
        text.len() == 300_000 && text.starts_with(&(number % 10).to_string())
    }));
}

#[tokio::test]
async fn without_a_link_what_is_too_old_or_too_much_is_dropped() {
    let mut server = RedisServer::start().await;
    let pending = Pending { max: 1000, age: Duration::from_millis(300) };
    let ann = Node::with(server.target(), settings(), pending).await;
    server.kill();
    ann.becomes(Link::Down).await;
    ann.say(&"x".repeat(2000));
    assert_eq!(ann.counts().dropped_down, 1);
    for _ in 0..3 {
        ann.say(&"x".repeat(400));
    }
    assert_eq!((ann.counts().dropped_down, ann.counts().queued), (2, 2));
    eventually("the rest is too old", || ann.counts().dropped_down == 4).await;
    let lapse = ann.broker.lapses().next().await;
    assert!(lapse.unsaid.is_some());
}

/// Own messages stand in the order of all, each with its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_ordered_node_own_messages_come_back_among_the_others() {
    let server = RedisServer::start().await;
    let ordered = || StreamSettings { ordered: true, ..settings() };
    let nodes = [
        Node::with(server.target(), ordered(), patient()).await,
        Node::with(server.target(), ordered(), patient()).await,
    ];
    assert!(nodes[0].broker.is_ordered());
    for number in 0..1000 {
        for (node, name) in nodes.iter().zip(["a", "b"]) {
            let (heard, text) = (node.heard.clone(), format!("{name}{number}"));
            let data = Bytes::from(text.clone());
            let returned = Box::new(move |at: Option<EntryId>| {
                assert!(at.is_some());
                let (namespace, kind) = ("/".into(), "own".into());
                heard.0.lock().push(Entry { at, from: None, namespace, kind, data });
            });
            node.say_in("/", &text, Some(returned));
        }
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for node in &nodes {
        node.hears_numbers(2000).await;
    }
    assert_eq!(nodes[0].heard(), nodes[1].heard(), "the same order on both");
    for node in &nodes {
        let heard = node.heard.0.lock();
        assert!(heard.is_sorted_by_key(|entry| entry.at));
        assert_eq!(heard.iter().filter(|entry| &*entry.kind == "own").count(), 1000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_message_that_redis_does_not_take_in_time_is_given_back_without_a_place() {
    let mut server = RedisServer::start().await;
    let pending = Pending { age: Duration::from_millis(500), ..Pending::default() };
    let ordered = StreamSettings { ordered: true, ..settings() };
    let ann = Node::with(server.target(), ordered, pending).await;
    let given = Arc::new(Mutex::new(Vec::new()));
    let say = |number: usize| {
        let given = given.clone();
        let returned = move |at: Option<EntryId>| given.lock().push((number, at.is_some()));
        ann.say_in("/", "text", Some(Box::new(returned)));
    };
    say(0);
    eventually("it is back", || given.lock().len() == 1).await;
    server.kill();
    ann.becomes(Link::Down).await;
    say(1);
    say(2);
    eventually("they are given back", || given.lock().len() == 3).await;
    server.restart().await;
    ann.becomes(Link::Up).await;
    say(3);
    eventually("it is back", || given.lock().len() == 4).await;
    ann.broker.stop().await;
    say(4);
    assert_eq!(*given.lock(), [(0, true), (1, false), (2, false), (3, true), (4, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_has_added_everything() {
    let server = RedisServer::start().await;
    let [ann, bob] = [Node::at(server.target()).await, Node::at(server.target()).await];
    let mark = ann.broker.mark();
    for number in 0..5000 {
        ann.say(&number.to_string());
    }
    assert_eq!(within("all are taken", ann.broker.taken(mark)).await, Ok(()));
    ann.say("last");
    let began = std::time::Instant::now();
    ann.broker.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    ann.say("too late");
    assert_eq!(ann.counts().dropped_down, 1);
    bob.hears_numbers(5001).await;
    assert_eq!(bob.heard().last().map(String::as_str), Some("last"));
}

/// An emitter writes and does not read.
#[tokio::test]
async fn who_only_writes_has_no_connection_that_reads() {
    let server = RedisServer::start().await;
    let bob = Node::at(server.target()).await;
    let writes = StreamSettings { reads: false, ..settings() };
    let ann = Node::with(server.target(), writes, patient()).await;
    ann.say("hello");
    bob.hears(&["hello"]).await;
    let list: String = server.ask(&["CLIENT", "LIST"]).await;
    assert_eq!(list.matches("cmd=xread").count(), 1, "{list}");
}

/// Four streams, and those to which Node.js writes for negative hashes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_streams_in_a_redis_cluster_are_all_read_and_move_with_their_slots() {
    let nodes = redis_cluster::start().await;
    let url = format!("{},{}", nodes[0].url(), nodes[1].url());
    let four = || StreamSettings { names: StreamNames::new("s", 4), ..settings() };
    let [ann, bob] = [
        Node::with(target(&url), four(), patient()).await,
        Node::with(target(&url), four(), patient()).await,
    ];
    let namespaces = ["/", "/admin", "/notifications", "/chat", "/tenant-1234", "/a", "/b"];
    for namespace in namespaces {
        ann.say_in(namespace, namespace, None);
    }
    bob.hears_numbers(namespaces.len()).await;
    let heard: BTreeSet<String> = bob.heard().into_iter().collect();
    assert_eq!(heard, namespaces.iter().map(ToString::to_string).collect());
    // as Node.js writes for a negative hash
    let any = target(&url);
    let mut commands = any.commands(&any.config()).await.unwrap();
    let mut command = redis::cmd("XADD");
    command.arg(&["s--3", "*", "uid", "x", "nsp", "/notifications", "type", "3", "data", "astray"]);
    commands.run::<Value>(&command).await.unwrap();
    bob.hears_numbers(namespaces.len() + 1).await;
    let astray = bob.heard.0.lock().last().cloned().unwrap();
    assert_eq!((&astray.data[..], astray.at), (&b"astray"[..], None));
    // the slot of the stream of `/` goes to another master
    let slot = slots::slot("s-3").to_string();
    let saying = async {
        for number in 0..200 {
            ann.say_in("/", &number.to_string(), None);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let pause = Duration::from_millis(20);
    tokio::join!(saying, redis_cluster::move_with_keys(&nodes, &slot, &["s-3"], pause));
    bob.hears_numbers(namespaces.len() + 201).await;
    assert_eq!(bob.heard()[namespaces.len() + 1..], numbers(0..200));
}
