//! Nodes that find each other, each with a program of its own around it.

use std::time::Duration;

use switchboard::{
    Config, Gateway, Switchboard,
    config::SecretUrl,
    server::{Builder, LocalCluster},
};
use test_kit::{
    redis::RedisServer,
    waiting::{until, within},
};
use tokio::task::JoinHandle;

/// A server that serves, and its port.
struct Node {
    server: Switchboard,
    port: u16,
    serving: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn node(listen: &str, builder: Builder) -> Node {
    let server = builder.gateway(Gateway::new("/")).build().expect("a server");
    let bound = server.bind(listen).await.expect("a port");
    let port = bound.local_addr().port();
    let serving = tokio::spawn(async move {
        bound.serve(std::future::pending()).await.expect("it serves");
    });
    Node { server, port, serving }
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    config.drain.grace = Duration::ZERO;
    change(&mut config);
    config
}

/// Opens a polling session, and returns its id.
async fn session(node: &Node) -> String {
    let url = format!("http://127.0.0.1:{}/socket.io/?EIO=4&transport=polling", node.port);
    let open = reqwest::get(url).await.expect("an answer").text().await.expect("a body");
    let open: serde_json::Value = serde_json::from_str(&open[1..]).expect("OPEN");
    open["sid"].as_str().expect("an id").to_owned()
}

/// The status of a post of this session.
async fn posted(node: &Node, sid: &str) -> u16 {
    let url =
        format!("http://127.0.0.1:{}/socket.io/?EIO=4&transport=polling&sid={sid}", node.port);
    let sent = reqwest::Client::new().post(url).body("40").send();
    within("an answer", sent).await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn nodes_of_one_process_take_each_others_sessions() {
    let cluster = LocalCluster::default();
    let one = node("127.0.0.1:0", Switchboard::builder().cluster(&cluster)).await;
    let two = node("127.0.0.1:0", Switchboard::builder().cluster(&cluster)).await;
    let alone = node("127.0.0.1:0", Switchboard::builder()).await;
    until("the other node serves the session", async || {
        posted(&two, &session(&one).await).await == 200
    })
    .await;
    assert_eq!(posted(&alone, &session(&one).await).await, 400);
    assert_eq!(posted(&two, &session(&alone).await).await, 400);
}

#[tokio::test]
async fn a_node_that_listens_everywhere_finds_the_address_by_which_it_is_reached() {
    let redis = RedisServer::start().await;
    let builder = || {
        let url = redis.url();
        Switchboard::builder().config(config(|config| config.redis.url = Some(SecretUrl::new(url))))
    };
    let one = node("0.0.0.0:0", builder()).await;
    let two = node("127.0.0.1:0", builder()).await;
    let addresses = async || {
        let nodes = two.server.nodes().await.unwrap_or_default();
        let addresses = nodes.into_iter().filter_map(|node| node.address);
        let mut addresses: Vec<_> = addresses.collect();
        addresses.sort_unstable();
        addresses
    };
    let mut expected = [one.port, two.port].map(|port| format!("127.0.0.1:{port}"));
    expected.sort_unstable();
    until("both are listed", async || addresses().await == expected).await;
    until("the other node serves the session", async || {
        posted(&two, &session(&one).await).await == 200
    })
    .await;
}

#[tokio::test]
async fn an_advertised_address_is_taken_as_it_is() {
    let redis = RedisServer::start().await;
    let builder = Switchboard::builder().config(config(|config| {
        config.redis.url = Some(SecretUrl::new(redis.url()));
        config.edge.advertise = Some("node-1.invalid:3000".into());
    }));
    let one = node("127.0.0.1:0", builder).await;
    until("it is listed", async || {
        let nodes = one.server.nodes().await.unwrap_or_default();
        nodes.iter().any(|node| node.address.as_deref() == Some("node-1.invalid:3000"))
    })
    .await;
}
