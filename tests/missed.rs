//! Clients that may have missed messages of other nodes are cut off, those who cannot have are not.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Client, Server, by_name, rooms, until, within};
use switchboard::{
    Config, Gateway, Reply, Switchboard,
    config::OnMissed,
    server::{KillReason, LocalCluster},
};

struct Nodes {
    cluster: LocalCluster,
    nodes: Vec<Server>,
}

impl Nodes {
    async fn new(count: usize, configure: impl Fn(&mut Config)) -> Self {
        let cluster = LocalCluster::default();
        let mut nodes = Vec::new();
        for number in 0..count {
            let mut config = Config::default();
            config.node_id = Some(format!("node-{number}"));
            config.drain.grace = Duration::ZERO;
            config.drain.spread = Duration::from_millis(50);
            configure(&mut config);
            let builder = Switchboard::builder().config(config).cluster(&cluster);
            let chat = Gateway::new("/chat").on("marker", async || Reply::ack(&()));
            let builder = builder.global_middleware(by_name).gateway(rooms()).gateway(chat);
            nodes.push(Server::start(builder).await);
        }
        Self { cluster, nodes }
    }

    fn node(&self, number: usize) -> &Switchboard {
        &self.nodes[number].switchboard
    }

    async fn client_in(&self, node: usize, rooms: &[&str]) -> Client {
        let mut client = self.nodes[node].client().await;
        for room in rooms {
            assert_eq!(client.ask("join", json!(room)).await, json!(true));
        }
        client
    }

    /// A node is cut off from the others for as long as this takes.
    async fn while_interrupted(&self, node: usize, meanwhile: impl AsyncFnOnce()) {
        let id = self.node(node).node().clone();
        self.cluster.interrupt(&id);
        meanwhile().await;
        self.cluster.mend(&id);
    }

    fn cut(&self, node: usize) -> u64 {
        let killed = self.node(node).transports().killed;
        killed.iter().find(|(reason, _)| *reason == KillReason::Missed).map_or(0, |(_, n)| *n)
    }

    /// A client may hear of its end a moment before the count can be read.
    async fn have_cut<const N: usize>(&self, expected: [u64; N]) {
        let counted = || std::array::from_fn(|node| self.cut(node));
        until("as many are counted", async || counted() == expected).await;
    }
}

/// It hears the other nodes, and has not been cut.
async fn is_there(nodes: &Nodes, from: usize, client: &mut Client) {
    nodes.node(from).of("/").to(client.id.clone()).emit("still there", &()).unwrap();
    within("it hears", client.hears("still there")).await;
    client.ask("marker", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_have_missed_an_event_is_cut_and_nobody_else() {
    let nodes = Nodes::new(2, |_| {}).await;
    let (mut here, mut concerned) =
        (nodes.client_in(0, &["room"]).await, nodes.client_in(1, &["room", "quiet"]).await);
    let mut quiet = nodes.client_in(1, &["quiet"]).await;
    nodes
        .while_interrupted(1, async || {
            nodes.node(0).of("/").to("room").emit("lost", &()).unwrap();
        })
        .await;
    let mut later = nodes.client_in(1, &["room"]).await;
    within("it is cut", concerned.closed()).await;
    for client in [&mut here, &mut quiet, &mut later] {
        is_there(&nodes, 0, client).await;
        is_there(&nodes, 1, client).await;
    }
    nodes.have_cut([0, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_could_not_say_cuts_the_clients_of_the_others() {
    let nodes = Nodes::new(3, |_| {}).await;
    let mut concerned =
        vec![nodes.client_in(0, &["room"]).await, nodes.client_in(2, &["room"]).await];
    let mut others = vec![nodes.client_in(0, &[]).await, nodes.client_in(1, &["room"]).await];
    nodes
        .while_interrupted(1, async || {
            nodes.node(1).of("/").to("room").emit("lost", &()).unwrap();
        })
        .await;
    for client in &mut concerned {
        within("it is cut", client.closed()).await;
    }
    for client in &mut others {
        is_there(&nodes, 2, client).await;
    }
    nodes.have_cut([1, 0, 1]).await;
}

/// A client for each kind of word that other nodes have, and one for whom there is none.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_a_socket_counts_and_what_is_volatile_or_a_question_does_not() {
    let nodes = Nodes::new(2, |_| {}).await;
    let rooms = ["joined", "left", "gone", "asked"];
    let mut concerned = Vec::new();
    for room in rooms {
        concerned.push(nodes.client_in(1, &[room]).await);
    }
    let own = nodes.client_in(1, &[]).await;
    let id = own.id.clone();
    concerned.push(own);
    concerned.push(nodes.nodes[1].client_with("/chat", json!({})).await);
    let mut quiet = vec![
        nodes.client_in(1, &["volatile"]).await,
        nodes.client_in(1, &["fetched"]).await,
        nodes.client_in(1, &[]).await,
    ];
    nodes
        .while_interrupted(1, async || {
            let of = |room: &str| nodes.node(0).of("/").to(room.to_owned());
            of("joined").join(["another"]);
            of("left").leave(["left"]);
            of("gone").disconnect(false);
            let _ = of("asked").emit_with_ack("question", &(), Duration::ZERO).await;
            let _ = of("fetched").fetch_sockets().await;
            of(id.as_str()).emit("to one", &()).unwrap();
            nodes.node(0).of("/chat").emit("to all", &()).unwrap();
            of("volatile").volatile().emit("lost", &()).unwrap();
        })
        .await;
    for client in &mut concerned {
        within("it is cut", client.closed()).await;
    }
    for client in &mut quiet {
        is_there(&nodes, 0, client).await;
    }
    nodes.have_cut([0, concerned.len() as u64]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_cut_where_that_is_not_wanted() {
    let is_second = |config: &Config| config.node_id.as_deref() == Some("node-1");
    let nodes = Nodes::new(3, |config| {
        if is_second(config) {
            config.redis.missed = OnMissed::Ignore;
        }
    })
    .await;
    let mut ignored = nodes.client_in(1, &["room", "other"]).await;
    let (mut told, mut asked) =
        (nodes.client_in(0, &["room"]).await, nodes.client_in(0, &["other"]).await);
    nodes
        .while_interrupted(1, async || {
            nodes.node(0).of("/").to("room").emit("lost", &()).unwrap();
            nodes.node(1).of("/").to("room").emit("lost", &()).unwrap();
        })
        .await;
    within("the other node was told all the same", told.closed()).await;
    nodes
        .while_interrupted(0, async || {
            nodes.node(1).of("/").to("other").emit("lost", &()).unwrap();
            nodes.node(2).of("/").to("other").emit("lost", &()).unwrap();
        })
        .await;
    within("the other node was answered all the same", asked.closed()).await;
    is_there(&nodes, 2, &mut ignored).await;
    assert_eq!(nodes.cut(1), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_are_cut_a_few_at_a_time() {
    const CLIENTS: usize = 200;
    let nodes = Nodes::new(2, |_| {}).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(nodes.client_in(1, &[]).await);
    }
    // Taken before the first is cut: on a busy machine many are until somebody looks.
    let began = std::time::Instant::now();
    nodes.while_interrupted(1, async || nodes.node(0).of("/").emit("lost", &()).unwrap()).await;
    until("all are cut", async || nodes.cut(1) == CLIENTS as u64).await;
    // 50 at once, and then every 50 ms
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    for client in &mut clients {
        within("it is cut", client.closed()).await;
    }
}
