//! A limit of 0 is no limit: each is set to it, and what it would have refused goes through.

mod support;

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use support::{Client, Server, by_name, rooms, within};
use switchboard::{Config, Data, Gateway, Reply, Switchboard, config::SecretUrl};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The keys of which the page of the configuration says that 0 is no limit.
const PAGE: &str = include_str!("../docs/configuration.md");

/// Sets a key to 0.
type Set = fn(&mut Config);

/// Every such key.
const KEYS: [(&str, Set); 13] = [
    ("edge.max_bodies", |config| config.edge.max_bodies = 0),
    ("edge.max_bodies_per_address", |config| config.edge.max_bodies_per_address = 0),
    ("inbox.max_bytes", |config| config.inbox.max_bytes = 0),
    ("inbox.max_messages", |config| config.inbox.max_messages = 0),
    ("limits.connections_per_address", |config| config.limits.connections_per_address = 0),
    ("limits.connections_per_second", |config| config.limits.connections_per_second = 0),
    ("limits.events_per_second", |config| config.limits.events_per_second = 0),
    ("limits.max_buffered_bytes", |config| config.limits.max_buffered_bytes = 0),
    ("limits.max_connections", |config| config.limits.max_connections = 0),
    ("limits.max_event_name", |config| config.limits.max_event_name = 0),
    ("limits.max_namespaces", |config| config.limits.max_namespaces = 0),
    ("limits.max_rooms_per_socket", |config| config.limits.max_rooms_per_socket = 0),
    ("users.max_sockets", |config| config.users.max_sockets = 0),
];

/// A name of an event that is longer than is allowed by default.
fn long_name() -> String {
    "long".repeat(100)
}

/// A server to which `change` is made.
async fn server(change: impl FnOnce(&mut Config)) -> Server {
    let config = Config::with(|config| {
        config.drain.grace = Duration::ZERO;
        config.drain.spread = Duration::ZERO;
        config.store.url = Some(SecretUrl::new("sqlite::memory:"));
        config.inbox.enabled = true;
        change(config);
    });
    let echo = async |Data(it): Data<Value>| Reply::ack(&it);
    let main = rooms().middleware(by_name).on("echo", echo).on(long_name(), echo);
    let chat = Gateway::new("/chat/{room}").on("echo", echo);
    Server::start(Switchboard::builder().config(config).gateway(main).gateway(chat)).await
}

#[test]
fn every_key_of_this_kind_is_tried_here() {
    let mut section = "";
    let mut keys = BTreeSet::new();
    for line in PAGE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.trim_matches(['`', '[', ']']);
        }
        let key = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
        if let Some(key) = key.filter(|_| line.contains("0: no limit")) {
            keys.insert(format!("{section}.{key}"));
        }
    }
    assert_eq!(keys, KEYS.map(|(key, _)| key.to_owned()).into());
}

#[tokio::test]
async fn zero_is_no_limit() {
    let server = server(|config| KEYS.iter().for_each(|(_, set)| set(config))).await;
    // More connections of one address in one second than any limit of a test would allow, all of one user.
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(server.client_of("ada").await);
    }
    for client in &mut clients {
        assert_eq!(client.ask("echo", json!(1)).await, json!(1), "nobody had to go");
    }
    let ada = &mut clients[0];
    let asked = events(ada, 400).await;
    assert!(asked.iter().all(|answer| answer == &json!("x")), "{asked:?}");
    assert_eq!(ada.ask(&long_name(), json!(1)).await, json!(1));
    // More than the default.
    for room in 0..200 {
        assert_eq!(ada.ask("join", json!(format!("room {room}"))).await, json!(true));
    }
    let mut chats = Vec::new();
    for room in 0..20 {
        chats.push(server.client_with(&format!("/chat/{room}"), json!({})).await);
    }
    for chat in &mut chats {
        assert_eq!(chat.ask("echo", json!(2)).await, json!(2));
    }
    // It waits for the handler, then for the client.
    let large = json!("x".repeat(900_000));
    assert_eq!(ada.ask("echo", large.clone()).await, large);
    post_together(&server, &large).await;
    // More of both than the default.
    let inbox = server.switchboard.inbox().expect("it is enabled");
    for _ in 0..1_100 {
        inbox.to("bob").keep("note", &"x".repeat(1_000)).await.expect("there is room");
    }
    clients.into_iter().chain(chats).for_each(Client::vanish);
    server.stop().await.expect("a clean drain");
}

/// The answers to so many events that are sent at once.
async fn events(client: &mut Client, count: usize) -> Vec<Value> {
    let mut asked = Vec::new();
    for _ in 0..count {
        asked.push(client.emit_asking("echo", json!("x")).await);
    }
    let mut answers = Vec::new();
    for id in asked {
        answers.push(client.acknowledged(id).await);
    }
    answers
}

/// Clients that poll send large bodies at the same time: none is whole before all are nearly.
async fn post_together(server: &Server, value: &Value) {
    let http = reqwest::Client::new();
    let text = async |request: reqwest::RequestBuilder| {
        let response = within("an answer", request.send()).await.expect("a response");
        assert_eq!(response.status(), 200);
        response.text().await.expect("a body")
    };
    let body = format!("420{}", json!(["echo", value]));
    let mut posts = Vec::new();
    for _ in 0..3 {
        let path = "/socket.io/?EIO=4&transport=polling";
        let open = text(http.get(format!("http://{}{path}", server.address))).await;
        let open: Value = serde_json::from_str(&open[1..]).expect("the packet OPEN");
        let path = format!("{path}&sid={}", open["sid"].as_str().expect("an id"));
        let url = format!("http://{}{path}", server.address);
        assert_eq!(text(http.post(&url).body("40")).await, "ok");
        assert!(text(http.get(&url)).await.starts_with("40"));
        let mut stream = TcpStream::connect(server.address).await.expect("it listens");
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}", body.len());
        let all_but_one = &body[..body.len() - 1];
        let start = format!("{head}\r\nConnection: close\r\n\r\n{all_but_one}");
        // Whoever is refused does not read it to the end.
        let _ = stream.write_all(start.as_bytes()).await;
        posts.push((stream, url));
    }
    for (stream, _) in &mut posts {
        let _ = stream.write_all(&body.as_bytes()[body.len() - 1..]).await;
    }
    for (mut stream, url) in posts {
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(text(http.get(&url)).await, format!("430{}", json!([value])));
    }
}
