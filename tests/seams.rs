//! A broker and a user directory that a program has written itself, with public names only: both keep
//! the published claims, and two nodes work on them.

#[path = "seams/book.rs"]
mod book;
#[path = "seams/hub.rs"]
mod hub;
mod support;

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc};

use book::{Book, BookDirectory};
use futures_util::FutureExt as _;
use hub::{Hub, HubBroker, Shared};
use serde_json::{Value, json};
use support::by_name;
use switchboard::{
    Config, Data, Gateway, Reply, Socket, Switchboard, cluster,
    server::{BuildError, Builder, LocalCluster, ServeError},
    testing::{Client, Server},
    users::{self, UserDirectory},
};
use test_kit::waiting::until;

/// Books by the names of their clusters.
fn books(fault: book::Fault) -> impl AsyncFn(String) -> BookDirectory {
    let books = std::sync::Mutex::new(HashMap::new());
    async move |cluster: String| {
        let mut books = books.lock().expect("nobody panics here");
        books.entry(cluster).or_insert_with(|| Book::with(fault)).directory()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_the_program_keeps_the_claims() {
    let hub = Hub::default();
    cluster::conformance::all(async || hub.broker()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_the_program_keeps_the_claims() {
    users::conformance::all(books(book::Fault::None)).await;
}

/// What the suite says of a broker or directory that does something wrong.
async fn found(suite: impl Future<Output = ()>) -> String {
    let panicked = AssertUnwindSafe(suite).catch_unwind().await.expect_err("it is found out");
    let said = panicked.downcast_ref::<String>().cloned();
    said.or_else(|| panicked.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

// By tokio's clock: some faults show only when a deadline is over.
#[tokio::test(start_paused = true)]
async fn a_broker_that_does_something_wrong_is_found_out() {
    let faults = [
        (hub::Fault::Reorders, "out of order"),
        (hub::Fault::Repeats, "out of order, lost or twice"),
        (hub::Fault::Loses, "out of order, lost"),
        (hub::Fault::CountsAll, "listeners of"),
        (hub::Fault::LosesLargeOnes, "a frame of 1048576 bytes"),
    ];
    for (fault, says) in faults {
        let hub = Hub::with(fault);
        let said = found(cluster::conformance::all(async || hub.broker())).await;
        assert!(said.contains(says), "{says} is expected, and this is said: {said}");
    }
    // A frame that nobody listened to in time does not come at all.
    let hub = Hub::with(hub::Fault::ListensLate);
    let make = async || hub.broker();
    let said = found(cluster::conformance::what_is_settled_is_heard(&make)).await;
    assert!(said.starts_with("not heard within"), "it waits for what was said too early");
}

// By tokio's clock: some faults show only when a deadline is over.
#[tokio::test(start_paused = true)]
async fn a_directory_that_does_something_wrong_is_found_out() {
    let faults = [
        (book::Fault::ForgetsNamespaces, "a node sees its own changes at once"),
        (book::Fault::TwoSteps, "two of twenty who came at once"),
        (book::Fault::RemovesTheNewest, "the oldest goes"),
    ];
    for (fault, says) in faults {
        let said = found(users::conformance::all(books(fault))).await;
        assert!(said.contains(says), "{says} is expected, and this is said: {said}");
    }
}

fn gateway() -> Gateway {
    Gateway::new("/")
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&true))
        })
        .on("say", async |Data((room, text)): Data<(String, String)>| {
            Reply::event("said", &text).to(room)
        })
}

fn builder() -> Builder {
    Switchboard::builder().global_middleware(by_name).gateway(gateway())
}

/// Two nodes in the same hub, with the same book.
async fn two() -> ([Server; 2], Arc<HubBroker>) {
    let (hub, book) = (Hub::default(), Book::default());
    let first = Arc::new(hub.broker());
    let one = builder().broker(Shared(first.clone(), 0.into())).user_directory(book.directory());
    let two = builder().broker(hub.broker()).user_directory(book.directory());
    ([Server::start(one).await, Server::start(two).await], first)
}

async fn user(server: &Server, name: &str) -> Client {
    server.connect().auth(&json!({ "user": name })).await.expect("everybody may enter")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_server_for_their_clients() {
    let ([one, two], _) = two().await;
    let (ada, bob) = (user(&one, "ada").await, user(&two, "bob").await);
    let home = user(&two, "ada").await;
    for client in [&ada, &bob] {
        assert!(client.ask::<bool>("join", "lobby").await);
    }
    ada.emit("say", &("lobby", "hello"));
    assert_eq!(bob.hears::<String>("said").await, "hello");
    bob.emit("say", &("lobby", "hello yourself"));
    assert_eq!(ada.hears::<String>("said").await, "hello");
    assert_eq!(ada.hears::<String>("said").await, "hello yourself");
    two.of("/").to_user("ada").emit("news", &1).expect("a payload");
    assert_eq!((ada.hears::<u8>("news").await, home.hears::<u8>("news").await), (1, 1));

    for server in [&one, &two] {
        assert_eq!(server.sockets_of("ada").await.expect("it is known").len(), 2);
        assert_eq!(
            server.online(&["ada", "bob", "eve"]).await.expect("it is known"),
            [true, true, false]
        );
        assert_eq!(server.nodes().await.expect("they are known").len(), 2);
        let sockets = server.of("/").fetch_sockets().await.expect("both nodes are asked");
        assert_eq!((sockets.values.len(), sockets.missing_nodes.len()), (3, 0));
    }
    assert_eq!(two.disconnect_user("ada").await.expect("both nodes are reached"), 2);
    ada.disconnected().await;
    home.disconnected().await;
    until("ada has left", async || one.sockets_of("ada").await.expect("it is known").is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_broker_has_lost_its_connection_says_so() {
    let ([one, two], broker) = two().await;
    let (ada, _bob) = (user(&one, "ada").await, user(&two, "bob").await);
    broker.cut();
    let asked = one.of("/").fetch_sockets().await;
    assert!(asked.is_err(), "half an answer is none: {asked:?}");
    assert!(one.disconnect_user("bob").await.is_err(), "nobody knows whether that was heard");
    let metrics = one.metrics().await;
    let dropped = metrics.lines().find(|line| line.contains("dropped") && line.ends_with(" 1"));
    assert!(dropped.is_some(), "a frame was lost: {metrics}");
    assert!(ada.is_connected(), "the clients of the node itself stay for now");
}

/// Why a server cannot be built.
fn refusal(builder: Builder) -> String {
    let refused = builder.gateway(Gateway::new("/")).build().expect_err("it is refused");
    assert!(matches!(refused, BuildError::Cluster(_)), "{refused:?}");
    refused.to_string()
}

#[tokio::test]
async fn what_does_not_go_together_is_refused() {
    let (hub, book) = (Hub::default(), Book::default());
    let new = Switchboard::builder;
    let said = refusal(new().broker(hub.broker()));
    assert!(said.contains("Builder::user_directory"), "{said}");
    let said = refusal(new().cluster(&LocalCluster::default()).broker(hub.broker()));
    assert!(said.contains("inside one process"), "{said}");
    let streams =
        Config::with(|config| config.redis.protocol = switchboard::config::WireProtocol::Streams);
    let with_both = new().broker(hub.broker()).user_directory(book.directory());
    let said = refusal(with_both.config(streams));
    assert!(said.contains("streams"), "{said}");
}

/// A directory alone, for a node without others.
#[tokio::test]
async fn a_single_node_may_have_a_directory_of_its_own() {
    let directory = Book::default().directory();
    let server = Server::start(builder().user_directory(directory.clone())).await;
    let _ada = user(&server, "ada").await;
    assert_eq!(directory.users_here(), 1);
    assert_eq!(server.sockets_of("ada").await.expect("it is known").len(), 1);
}

#[tokio::test]
async fn a_broker_that_cannot_connect_stops_the_start_or_is_waited_for() {
    let (hub, book) = (Hub::default(), Book::default());
    let reluctant = || Shared(Arc::new(hub.broker()), 3.into());
    let node = || builder().broker(reluctant()).user_directory(book.directory());
    let refused = node().build().expect("a server").bind("127.0.0.1:0").await;
    let refused = refused.err().expect("there is no link");
    assert!(matches!(refused, ServeError::Redis(_)), "{refused:?}");
    assert!(refused.to_string().contains("nobody is there yet"), "{refused}");

    let waits = Server::start(node().wait_for_redis(true)).await;
    let _ada = user(&waits, "ada").await;
    until("it is linked at last", async || waits.of("/").fetch_sockets().await.is_ok()).await;
    let sockets: Value = json!(waits.sockets_of("ada").await.expect("it is known"));
    assert_eq!(sockets.as_array().map(Vec::len), Some(1));
}
