//! The kit for tests of programs: without a port, and by tokio's clock.

mod support;

use std::time::Duration;

use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use support::by_name;
use switchboard::{
    Config, Data, Fault, Gateway, Handshake, Reply, Socket, Switchboard,
    server::Builder,
    testing::{Client, Cluster, Server},
    users::Presence,
};
use tokio::{sync::mpsc, time::Instant};

fn gateway() -> Gateway {
    Gateway::new("/")
        .on("echo", async |Data(data): Data<Value>| {
            (Reply::event("echo", &data), Reply::ack(&data))
        })
        .on("bytes", async |Data(bytes): Data<ByteBuf>| {
            (Reply::event("bytes", &("here", &bytes)), Reply::ack(&bytes))
        })
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&true))
        })
        .on("late", async || {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Reply::event("late", &())
        })
}

fn builder() -> Builder {
    Switchboard::builder().global_middleware(by_name).gateway(gateway())
}

async fn user(server: &Server, name: &str) -> Client {
    server.connect().auth(&json!({ "user": name })).await.expect("everybody may enter")
}

#[tokio::test]
async fn a_client_says_and_hears_text_and_bytes() {
    let server = Server::start(builder()).await;
    let ada = server.connect().await.expect("everybody may enter");
    assert_eq!(ada.id().to_string().len(), 20);
    assert_eq!(
        ada.ask::<Value>("echo", &json!({ "a": ["ü", null] })).await,
        json!({ "a": ["ü", null] })
    );
    assert_eq!(ada.hears::<Value>("echo").await["a"][0], "ü");
    let long = ByteBuf::from(vec![7; 300_000]);
    assert_eq!(ada.ask::<ByteBuf>("bytes", &long).await, long);
    assert_eq!(ada.hears::<(String, ByteBuf)>("bytes").await, ("here".into(), long));
}

#[tokio::test]
async fn a_server_asks_a_client() {
    let server = Server::start(builder()).await;
    let ada = server.connect().await.expect("everybody may enter");
    let everybody = server.of("/");
    let asked = everybody.emit_with_ack("how old?", "you", Duration::from_secs(5));
    let answering = async {
        let question = ada.asked::<String>("how old?").await;
        assert_eq!(question.data, "you");
        question.answer(&(36, ByteBuf::from([1])));
    };
    let (answers, ()) = tokio::join!(asked, answering);
    let answers = answers.expect("the only node");
    assert_eq!(answers.acks[0].decode::<(u8, ByteBuf)>().expect("two"), (36, ByteBuf::from([1])));
}

#[tokio::test]
async fn a_middleware_sees_what_a_client_came_with() {
    let seen = async |handshake: Handshake| {
        let query = handshake.uri().query().unwrap_or_default().to_owned();
        let seen = json!([
            handshake.headers().get("x-tenant").map(|tenant| tenant.as_bytes().len()),
            query.contains("a%26b=1%3D2"),
            handshake.peer_addr(),
        ]);
        Err::<(), _>(Fault::forbidden(seen.to_string()))
    };
    let server = Server::start(builder().gateway(Gateway::new("/closed").middleware(seen))).await;
    let asking =
        server.connect().namespace("/closed").query("a&b", "1=2").header("x-tenant", "acme");
    let refused = asking.from("203.0.113.9:1".parse().expect("an address")).await.unwrap_err();
    assert_eq!(refused.message, r#"forbidden: [4,true,"203.0.113.9"]"#);
    assert_eq!(refused.data["code"], "forbidden");
    let nowhere = server.connect().namespace("/nowhere").await.unwrap_err();
    assert_eq!((&*nowhere.message, nowhere.status), ("Invalid namespace", None));
    let mut config = Config::default();
    config.limits.max_connections = 1;
    let full = Server::start(builder().config(config)).await;
    let _first = full.connect().await.expect("a place");
    assert_eq!(full.connect().await.unwrap_err().status, Some(503));
}

#[tokio::test]
async fn a_client_learns_how_it_ended() {
    let server = Server::start(builder()).await;
    let (ada, bob) = (user(&server, "ada").await, user(&server, "bob").await);
    server.disconnect_user("ada").await.expect("the only node");
    assert_eq!((ada.disconnected().await, ada.is_connected()), ("io server disconnect", false));
    assert!(bob.is_connected());
    bob.disconnect().await;
    assert_eq!(server.socket_count(), 0);
}

#[tokio::test]
async fn nodes_hear_one_another_unless_they_are_apart() {
    let cluster = Cluster::start(3, builder).await;
    let mut clients = Vec::new();
    for node in cluster.nodes() {
        let client = node.connect().await.expect("everybody may enter");
        assert!(client.ask::<bool>("join", "lobby").await);
        clients.push(client);
    }
    cluster.node(0).of("/").to("lobby").emit("hello", &1).expect("valid");
    for client in &clients {
        assert_eq!(client.hears::<u8>("hello").await, 1);
    }
    cluster.interrupt(2);
    cluster.node(0).of("/").to("lobby").emit("hello", &2).expect("valid");
    assert_eq!(clients[1].hears::<u8>("hello").await, 2);
    assert!(clients[2].heard_within(Duration::from_millis(50)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_hour_takes_no_time() {
    let server = Server::start(builder()).await;
    let ada = server.connect().await.expect("everybody may enter");
    let (started, began) = (Instant::now(), std::time::Instant::now());
    ada.emit("late", &());
    let early = ada.heard_within(Duration::from_secs(3599)).await;
    assert!(early.is_empty(), "{early:?}");
    ada.hears::<()>("late").await;
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(3600) && took < Duration::from_secs(3602), "{took:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "by the clock on the wall");
    // Pings were answered all the time.
    assert!(ada.is_connected());
}

#[tokio::test(start_paused = true)]
async fn who_answers_no_ping_is_gone_and_offline_when_its_time_has_come() {
    let (says, mut changes) = mpsc::unbounded_channel();
    let listening = builder().on_presence(move |change: Presence| {
        says.send((change, Instant::now())).ok();
        std::future::ready(())
    });
    let server = Server::start(listening).await;
    let silent = server.connect().auth(&json!({ "user": "ada" })).without_pongs();
    let ada = silent.await.expect("everybody may enter");
    let (online, came) = changes.recv().await.expect("a change");
    assert_eq!(online, Presence::Online("ada".into()));
    let (offline, left) = changes.recv().await.expect("a change");
    assert_eq!(offline, Presence::Offline("ada".into()));
    assert_eq!(ada.disconnected().await, "transport close");
    // Ping interval, ping timeout, and `users.offline_after`.
    let there = left - came;
    let expected = Duration::from_secs(25 + 20 + 5);
    assert!(there.abs_diff(expected) < Duration::from_secs(1), "{there:?}");
}

#[tokio::test(start_paused = true)]
async fn rates_of_events_follow_the_clock_of_the_test() {
    let mut config = Config::default();
    config.limits.events_per_second = 1;
    let server = Server::start(builder().config(config)).await;
    let ada = server.connect().await.expect("everybody may enter");
    let mut refused = 0;
    for _ in 0..3 {
        let answer: Value = ada.ask("echo", &1).await;
        refused += u8::from(answer["error"]["code"] == "rate_limited");
    }
    assert_eq!(refused, 1, "two in a burst");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ada.ask::<Value>("echo", &1).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_watched_from_its_first_word_to_its_end() {
    let server = Server::start(builder()).await;
    let ada = server.connect().await.expect("everybody may enter");
    let started = Instant::now();
    let watching = async {
        assert_eq!(ada.hears::<Value>("server:draining").await["seconds"], 10);
        assert_eq!(server.connect().await.unwrap_err().status, Some(503));
    };
    let (drained, ()) = tokio::join!(server.drain(), watching);
    drained.expect("in time");
    assert_eq!(ada.disconnected().await, "transport close");
    assert!(started.elapsed() >= Duration::from_secs(12), "grace and spread");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the event `never` does not come; heard: [\"echo\"]")]
async fn who_waits_in_vain_is_told_what_came_instead() {
    let server = Server::start(builder()).await;
    let ada = server.connect().await.expect("everybody may enter");
    ada.emit("echo", &1);
    ada.hears::<()>("never").await;
}
