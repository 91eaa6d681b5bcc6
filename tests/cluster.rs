//! Several nodes as one server, each story told in one process, over Redis in the classic and in
//! the sharded format, and with one pattern instead of interest.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Client, RedisServer, Server, by_name, rooms, until, within};
use switchboard::{
    Config, Data, Gateway, Payload, Reply, Socket, Switchboard,
    config::{OverLimit, SecretUrl, Subscribe, WireProtocol},
    interceptor::Propagate,
    server::{Builder, LocalCluster, ServeError},
    users::Presence,
};
use tokio::sync::mpsc;

#[derive(Clone, Copy)]
enum Link {
    Memory,
    Redis(WireProtocol, Subscribe),
}

const CLASSIC: Link = Link::Redis(WireProtocol::Classic, Subscribe::Interest);

/// Nodes that are one server.
struct Cluster {
    nodes: Vec<Server>,
    redis: Option<RedisServer>,
}

fn gateway() -> Gateway {
    rooms()
        .on("say", async |socket: Socket, Data(words): Data<Vec<String>>| {
            socket.to(words[0].clone()).emit("said", &words[1])?;
            Ok::<_, switchboard::Fault>(Reply::ack(&true))
        })
        .on("note", async |Data(text): Data<String>| Reply::event("note", &text))
        .on_server_side("which", async |_: Payload| Payload::ack(&"here").ok())
}

impl Cluster {
    async fn of(count: usize, link: Link) -> Self {
        Self::with(count, link, |_| {}, |builder, _| builder).await
    }

    async fn with(
        count: usize,
        link: Link,
        configure: impl Fn(&mut Config),
        build: impl Fn(Builder, usize) -> Builder,
    ) -> Self {
        let local = LocalCluster::default();
        let redis =
            if let Link::Redis(..) = link { Some(RedisServer::start().await) } else { None };
        let mut nodes = Vec::new();
        for number in 0..count {
            let mut config = Config::default();
            config.drain.grace = Duration::ZERO;
            config.drain.spread = Duration::from_millis(50);
            configure(&mut config);
            let builder = Switchboard::builder();
            let builder = match (link, &redis) {
                (Link::Redis(protocol, subscribe), Some(redis)) => {
                    config.redis.url = Some(SecretUrl::new(redis.url()));
                    config.redis.protocol = protocol;
                    config.redis.subscribe = subscribe;
                    builder
                }
                _ => builder.cluster(&local),
            };
            let builder =
                builder.config(config).global_middleware(by_name).global_interceptor(Propagate);
            nodes.push(Server::start(build(builder.gateway(gateway()), number)).await);
        }
        Self { nodes, redis }
    }

    fn node(&self, number: usize) -> &Switchboard {
        &self.nodes[number].switchboard
    }

    async fn client(&self, node: usize) -> Client {
        self.nodes[node].client().await
    }

    async fn client_of(&self, node: usize, user: &str) -> Client {
        self.nodes[node].client_of(user).await
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await.expect("a clean drain");
        }
        drop(self.redis);
    }
}

/// Asks for an event that comes after everything sent to this client before, on a way that the
/// emits of `node` take, too.
async fn nothing_else(cluster: &Cluster, node: usize, client: &mut Client, event: &str) {
    cluster.node(node).of("/").to(client.id.clone()).emit("fence", &()).unwrap();
    within("the fence", client.hears("fence")).await;
    let heard = client.heard_before("marker").await;
    assert!(heard.iter().all(|(name, _)| name != event), "{event} came once more: {heard:?}");
}

async fn emits_reach_every_node_once(link: Link) {
    let cluster = Cluster::of(3, link).await;
    let mut ada = cluster.client_of(0, "ada").await;
    let mut ada_too = cluster.client_of(1, "ada").await;
    let mut bob = cluster.client_of(2, "bob").await;
    let mut guest = cluster.client(2).await;
    assert_eq!(guest.ask("join", json!("lobby")).await, json!(true));
    assert_eq!(ada.ask("join", json!("lobby")).await, json!(true));

    let from = cluster.node(1);
    from.of("/").emit("all", &1).unwrap();
    from.of("/").to_user("ada").emit("user", &2).unwrap();
    from.of("/").to_authenticated().emit("known", &3).unwrap();
    from.of("/").to("lobby").to_user("bob").except_user("ada").emit("rooms", &4).unwrap();
    from.of("/").local().emit("local", &5).unwrap();
    for client in [&mut ada, &mut ada_too, &mut bob, &mut guest] {
        assert_eq!(within("all", client.hears("all")).await, json!(1));
    }
    for client in [&mut ada, &mut ada_too] {
        assert_eq!(within("user", client.hears("user")).await, json!(2));
    }
    for client in [&mut ada, &mut ada_too, &mut bob] {
        assert_eq!(within("known", client.hears("known")).await, json!(3));
    }
    for client in [&mut bob, &mut guest] {
        assert_eq!(within("rooms", client.hears("rooms")).await, json!(4));
    }
    assert_eq!(within("local", ada_too.hears("local")).await, json!(5));
    for client in [&mut ada, &mut ada_too, &mut bob, &mut guest] {
        nothing_else(&cluster, 1, client, "all").await;
    }
    cluster.stop().await;
}

async fn a_reply_reaches_the_other_tabs_once(link: Link) {
    let cluster = Cluster::of(2, link).await;
    let mut home = cluster.client_of(0, "ada").await;
    let mut work = cluster.client_of(1, "ada").await;
    let mut bob = cluster.client_of(1, "bob").await;
    home.emit("note", json!("milk")).await;
    for tab in [&mut home, &mut work] {
        assert_eq!(within("note", tab.hears("note")).await, json!("milk"));
    }
    nothing_else(&cluster, 1, &mut home, "note").await;
    nothing_else(&cluster, 0, &mut work, "note").await;
    nothing_else(&cluster, 0, &mut bob, "note").await;
    cluster.stop().await;
}

/// The next message after a join that was acknowledged is never missed, and none after a leave.
async fn who_was_told_it_joined_gets_the_next_message(link: Link) {
    let cluster = Cluster::of(2, link).await;
    let mut here = cluster.client(0).await;
    let mut there = cluster.client(1).await;
    assert_eq!(there.ask("join", json!("r")).await, json!(true));
    for round in 0..50 {
        assert_eq!(here.ask("join", json!("r")).await, json!(true));
        assert_eq!(there.ask("say", json!(["r", round.to_string()])).await, json!(true));
        let heard = within("said", here.hears("said")).await;
        assert_eq!(heard, json!(round.to_string()));
        here.ask("leave", json!("r")).await;
    }
    there.ask("say", json!(["r", "too late"])).await;
    nothing_else(&cluster, 1, &mut here, "said").await;
    cluster.stop().await;
}

async fn order_is_kept(link: Link) {
    let cluster = Cluster::of(2, link).await;
    let mut reader = cluster.client(1).await;
    reader.ask("join", json!("r")).await;
    for number in 0..2000 {
        cluster.node(0).of("/").to("r").emit("n", &number).unwrap();
    }
    for number in 0..2000 {
        assert_eq!(within("n", reader.hears("n")).await, json!(number));
    }
    cluster.stop().await;
}

async fn binary_and_numbers_arrive_as_they_are(link: Link) {
    let cluster = Cluster::of(2, link).await;
    let mut reader = cluster.client(1).await;
    let odd = json!([1.5, -0.25, 9_007_199_254_740_991_i64, "é😀\"\\\n", null, {"a": [true]}]);
    cluster.node(0).of("/").emit("odd", &odd).unwrap();
    assert_eq!(within("odd", reader.hears("odd")).await, odd);
    let bytes = serde_bytes::Bytes::new(b"\x00\xffdata");
    cluster.node(0).of("/").emit("bytes", &(1, bytes)).unwrap();
    let packet = within("the packet", reader.packet()).await.unwrap();
    assert_eq!(packet, r#"451-["bytes",1,{"_placeholder":true,"num":0}]"#);
    cluster.stop().await;
}

async fn sockets_are_moved_and_shown_across_nodes(link: Link) {
    let cluster = Cluster::of(2, link).await;
    let mut here = cluster.client_of(0, "ada").await;
    let mut there = cluster.client_of(1, "ada").await;
    cluster.node(0).of("/").to_user("ada").join(["moved"]);
    let rooms = async || {
        let sockets = cluster.node(1).of("/").to("moved").fetch_sockets().await.unwrap();
        assert_eq!((sockets.missing_nodes.len(), sockets.missing_foreign), (0, 0));
        sockets.values
    };
    until("both have joined", async || rooms().await.len() == 2).await;
    let mut sockets = rooms().await;
    sockets.sort_by_key(|socket| socket.id);
    let mut ids = [here.id.clone(), there.id.clone()];
    ids.sort();
    assert_eq!(sockets.iter().map(|socket| socket.id.to_string()).collect::<Vec<_>>(), ids);
    for socket in sockets {
        assert_eq!(socket.handshake["auth"]["user"], json!("ada"));
        assert_eq!(socket.handshake["query"]["EIO"], json!("4"));
        assert!(socket.rooms.iter().any(|room| room == "user:ada"), "{:?}", socket.rooms);
    }
    let all = cluster.node(0).of("/").rooms().await.unwrap().values;
    assert!(all.iter().any(|room| room == "moved"), "{all:?}");

    cluster.node(1).of("/").to_user("ada").leave(["moved"]);
    until("both have left", async || rooms().await.is_empty()).await;
    cluster.node(0).of("/").to_user("ada").disconnect(false);
    within("both are disconnected", here.disconnected()).await;
    within("both are disconnected", there.disconnected()).await;
    cluster.stop().await;
}

async fn acknowledgements_come_from_every_node(link: Link) {
    let cluster = Cluster::of(2, link).await;
    let mut here = cluster.client(0).await;
    let mut there = cluster.client(1).await;
    let asking = cluster.node(0).of("/").emit_with_ack("ask", &1, Duration::from_secs(10));
    let answer = async |client: &mut Client, with: Value| {
        let packet = within("the question", client.packet()).await.unwrap();
        let id: String = packet[2..].chars().take_while(char::is_ascii_digit).collect();
        client.send(format!("43{id}{with}")).await;
    };
    let (acks, ()) = tokio::join!(asking, async {
        answer(&mut here, json!(["here"])).await;
        answer(&mut there, json!(["there"])).await;
    });
    let acks = acks.unwrap();
    assert_eq!((acks.expected, acks.missing_nodes.len(), acks.cluster_asked), (2, 0, true));
    let mut values: Vec<String> = acks.acks.iter().map(|ack| ack.decode().unwrap()).collect();
    values.sort();
    assert_eq!(values, ["here", "there"]);

    let answers = cluster.node(0).of("/").server_side_emit_with_ack("which", &()).await.unwrap();
    let values: Vec<String> = answers.values.iter().map(|a| a.decode().unwrap()).collect();
    assert_eq!((values, answers.missing_nodes.len()), (vec!["here".to_owned()], 0));
    cluster.stop().await;
}

async fn a_node_without_sockets_may_ask(link: Link) {
    let tables = || {
        Gateway::new("/tables/{table}")
            .on_server_side("which", async |_: Payload| Payload::ack(&"here").ok())
    };
    let cluster = Cluster::with(2, link, |_| {}, |builder, _| builder.gateway(tables())).await;
    let mut there = cluster.client(1).await;
    there.send("40/tables/7,").await;
    let packet = within("the namespace", there.packet()).await.unwrap();
    let told = packet.strip_prefix("40/tables/7,").expect("CONNECT");
    let told: serde_json::Value = serde_json::from_str(told).expect("JSON");
    // There is no such namespace on the other node before somebody comes to it.
    let asker = || cluster.node(0).of("/tables/7");
    let found = asker().fetch_sockets().await.unwrap();
    assert_eq!((found.missing_nodes.len(), found.missing_foreign), (0, 0));
    let ids: Vec<&str> = found.values.iter().map(|socket| socket.id.as_str()).collect();
    assert_eq!(ids, [told["sid"].as_str().expect("an id")]);

    let asking = asker().emit_with_ack("ask", &1, Duration::from_secs(10));
    let (acks, ()) = tokio::join!(asking, async {
        let packet = within("the question", there.packet()).await.unwrap();
        let id = packet.trim_start_matches("42/tables/7,").split('[').next().unwrap().to_owned();
        there.send(format!("43/tables/7,{id}[\"there\"]")).await;
    });
    let acks = acks.unwrap();
    assert_eq!((acks.expected, acks.missing_nodes.len(), acks.missing_foreign), (1, 0, 0));
    assert_eq!(acks.acks[0].decode::<String>().unwrap(), "there");

    let answers = asker().server_side_emit_with_ack("which", &()).await.unwrap();
    assert_eq!((answers.values.len(), answers.missing_nodes.len()), (1, 0));
    cluster.stop().await;
}

/// `/tables/a` with the room `b` and `/tables/a#b` have one channel.
async fn namespaces_that_share_a_channel_hear_their_own(link: Link) {
    // Redis delivers a frame once for each pattern, and here two fit.
    if matches!(link, Link::Redis(_, Subscribe::All)) {
        return;
    }
    let tables = || {
        Gateway::new("/tables/{table}").on("marker", async || Reply::ack(&())).on(
            "join",
            async |socket: Socket, Data(room): Data<String>| {
                socket.join(room).await.map(|()| Reply::ack(&true))
            },
        )
    };
    let cluster = Cluster::with(2, link, |_| {}, |builder, _| builder.gateway(tables())).await;
    let mut short = cluster.nodes[1].client_with("/tables/a", json!({})).await;
    let mut long = cluster.nodes[1].client_with("/tables/a#b", json!({})).await;
    short.ask("join", json!("b")).await;
    long.ask("join", json!("c")).await;
    let from = cluster.node(0);
    from.of("/tables/a").to("b").emit("said", &"to the room").unwrap();
    from.of("/tables/a#b").emit("said", &"to the namespace").unwrap();
    from.of("/tables/a#b").to("c").emit("said", &"to its room").unwrap();
    from.of("/tables/a").emit("said", &"to the short one").unwrap();
    assert_eq!(within("the first", short.hears("said")).await, json!("to the room"));
    assert_eq!(within("the second", short.hears("said")).await, json!("to the short one"));
    assert_eq!(within("the first", long.hears("said")).await, json!("to the namespace"));
    assert_eq!(within("the second", long.hears("said")).await, json!("to its room"));
    for client in [&mut short, &mut long] {
        assert_eq!(client.heard_before("marker").await, []);
    }
    let found = from.of("/tables/a#b").fetch_sockets().await.unwrap();
    assert_eq!(found.values.len(), 1);
    cluster.stop().await;
}

async fn a_user_is_known_everywhere(link: Link) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let configure = |config: &mut Config| config.users.offline_after = Duration::from_millis(100);
    let cluster = Cluster::with(2, link, configure, |builder, node| {
        let tell = tell.clone();
        builder.on_presence(move |presence: Presence| {
            let _ = tell.send((node, presence));
            std::future::ready(())
        })
    })
    .await;
    let home = cluster.client_of(0, "ada").await;
    let work = cluster.client_of(1, "ada").await;
    for node in 0..2 {
        let sockets = cluster.node(node).sockets_of("ada").await.unwrap();
        let ids: Vec<String> = sockets.iter().map(|socket| socket.id.to_string()).collect();
        assert_eq!(ids, [home.id.clone(), work.id.clone()]);
        assert_eq!(cluster.node(node).users(None, 10).await.unwrap().users, [("ada".into(), 2)]);
    }
    home.close().await;
    work.close().await;
    let (_, first) = within("online", told.recv()).await.unwrap();
    assert_eq!(first, Presence::Online("ada".into()));
    let (_, second) = within("offline", told.recv()).await.unwrap();
    assert_eq!(second, Presence::Offline("ada".into()));
    cluster.stop().await;
    drop(tell);
    assert_eq!(told.recv().await, None, "told once in the whole cluster");
}

async fn a_limit_holds_across_nodes(link: Link) {
    let configure = |config: &mut Config| {
        config.users.max_sockets = 2;
        config.users.over_limit = OverLimit::DisconnectOldest;
    };
    let cluster = Cluster::with(2, link, configure, |builder, _| builder).await;
    let mut oldest = cluster.client_of(0, "ada").await;
    let _second = cluster.client_of(1, "ada").await;
    let _third = cluster.client_of(1, "ada").await;
    within("the oldest goes", oldest.disconnected()).await;
    assert_eq!(cluster.node(0).sockets_of("ada").await.unwrap().len(), 2);
    assert_eq!(cluster.node(1).disconnect_user("ada").await.unwrap(), 2);
    cluster.stop().await;
}

async fn a_join_past_the_api_is_found(link: Link) {
    let cluster = Cluster::with(
        2,
        link,
        |_| {},
        |builder, _| {
            builder.gateway(Gateway::new("/raw").on("raw join", async |socket: Socket| {
                if let Some(socket) = socket.raw() {
                    socket.join("secret");
                }
                Reply::ack(&())
            }))
        },
    )
    .await;
    let mut client = cluster.nodes[0].client_with("/raw", json!({})).await;
    client.ask("raw join", json!(null)).await;
    // Within a second; until then emits are missed.
    let (emitter, mut count) = (cluster.node(1).clone(), 0);
    until("it is heard", async || {
        count += 1;
        emitter.of("/raw").to("secret").emit("psst", &count).unwrap();
        tokio::time::timeout(Duration::from_millis(20), client.hears("psst")).await.is_ok()
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_start_that_failed_may_be_tried_again() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let mut config = Config::default();
    config.redis.url = Some(SecretUrl::new(redis.url()));
    let server = Switchboard::builder().config(config).gateway(gateway()).build().unwrap();
    for _ in 0..2 {
        assert!(matches!(server.bind("127.0.0.1:0").await, Err(ServeError::Redis(_))));
    }
    redis.restart().await;
    let mut bound = None;
    until("Redis is back", async || {
        bound = server.bind("127.0.0.1:0").await.ok();
        bound.is_some()
    })
    .await;
    until("the node is counted", async || {
        let numsub = ["PUBSUB", "NUMSUB", "socket.io-request#/#"];
        redis.ask::<Vec<(String, usize)>>(&numsub).await[0].1 == 1
    })
    .await;
}

async fn a_drain_concerns_the_clients_of_its_node_alone(link: Link) {
    let Cluster { nodes, redis } = Cluster::of(2, link).await;
    let mut moved = nodes[0].client().await;
    let mut stays = nodes[1].client().await;
    // The notice would go the way that this goes, and before it.
    let drained = nodes[0].switchboard.clone();
    let (ended, ()) = tokio::join!(drained.drain(), async {
        within("the notice", moved.hears("server:draining")).await;
        drained.of("/").emit("behind it", &()).unwrap();
        within("what is behind it", stays.hears("behind it")).await;
    });
    ended.expect("a clean drain");
    let heard = stays.heard_before("marker").await;
    assert!(heard.iter().all(|(name, _)| name != "server:draining"), "{heard:?}");
    for node in nodes {
        node.stop().await.expect("a clean drain");
    }
    drop(redis);
}

macro_rules! stories {
    ($($story:ident),+ $(,)?) => {
        mod in_one_process {
            $(#[tokio::test] async fn $story() { super::$story(super::Link::Memory).await; })+
        }
        mod over_redis {
            $(#[tokio::test] async fn $story() { super::$story(super::CLASSIC).await; })+
        }
        mod over_redis_with_one_pattern {
            use super::*;
            const LINK: Link = Link::Redis(WireProtocol::Classic, Subscribe::All);
            $(#[tokio::test] async fn $story() { super::$story(LINK).await; })+
        }
        mod over_sharded_redis {
            use super::*;
            const LINK: Link = Link::Redis(WireProtocol::Sharded, Subscribe::Interest);
            $(#[tokio::test] async fn $story() { super::$story(LINK).await; })+
        }
    };
}

stories![
    emits_reach_every_node_once,
    a_reply_reaches_the_other_tabs_once,
    who_was_told_it_joined_gets_the_next_message,
    order_is_kept,
    binary_and_numbers_arrive_as_they_are,
    sockets_are_moved_and_shown_across_nodes,
    acknowledgements_come_from_every_node,
    a_node_without_sockets_may_ask,
    namespaces_that_share_a_channel_hear_their_own,
    a_user_is_known_everywhere,
    a_limit_holds_across_nodes,
    a_join_past_the_api_is_found,
    a_drain_concerns_the_clients_of_its_node_alone,
];
