//! Questions to clients on every node: who answers what, and who does not.

mod support;

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::{Client, Server, rooms, until, within};
use switchboard::{
    Code, Switchboard, id::SocketId, server::LocalCluster, sockets::AskError, testing::Cluster,
};

async fn two_nodes() -> [Server; 2] {
    let local = LocalCluster::default();
    let node = async || {
        let builder = Switchboard::builder().cluster(&local).gateway(rooms());
        Server::start(builder).await
    };
    [node().await, node().await]
}

fn id_of(client: &Client) -> SocketId {
    client.id.parse().expect("the id of a socket")
}

/// Waits for the next question, and gives the id of its acknowledgement.
async fn asked(client: &mut Client, event: &str) -> String {
    let packet = within("a question", client.packet()).await.expect("a question");
    let id = packet.strip_prefix("42").and_then(|rest| rest.strip_suffix(event));
    id.unwrap_or_else(|| panic!("{packet}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_says_whose_it_is_and_who_is_silent_is_named() {
    let [one, two] = two_nodes().await;
    let (mut ada, mut bob, mut mute) = (one.client().await, two.client().await, two.client().await);
    let ids = [id_of(&ada), id_of(&bob), id_of(&mute)];
    let server = one.switchboard.clone();
    let asking = tokio::spawn(async move {
        let asked = server.of("/").ask("name?", &(), Duration::from_secs(2)).await?;
        assert_eq!(asked.expected, 3);
        Ok::<_, switchboard::Fault>(asked.collect::<String>().await)
    });
    for (client, name) in [(&mut ada, "ada"), (&mut bob, "bob")] {
        let id = asked(client, r#"["name?"]"#).await;
        client.send(format!("43{id}{}", json!([name]))).await;
    }
    asked(&mut mute, r#"["name?"]"#).await;
    let replied = within("the answers", asking).await.expect("no panic").expect("asked");
    let mut answers = replied.answers.clone();
    answers.sort_by(|a, b| a.1.cmp(&b.1));
    let expected = [(ids[0], "ada".to_owned()), (ids[1], "bob".to_owned())];
    assert_eq!(answers, expected);
    assert!(matches!(&replied.silent[..], [(id, AskError::Timeout)] if *id == ids[2]));
    assert!(!replied.is_complete() && replied.missing_nodes.is_empty());
    assert_eq!(replied.complete().expect_err("one is silent").code(), Code::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_as_a_stream_and_whoever_leaves_is_gone() {
    let [one, two] = two_nodes().await;
    let (mut ada, mut bob) = (two.client().await, one.client().await);
    let question = one.switchboard.of("/").ask("name?", &(), Duration::from_secs(600)).await;
    let mut replies = question.expect("asked");
    let (ada_id, bob_id) = (id_of(&ada), id_of(&bob));
    let answering = tokio::spawn(async move {
        let id = asked(&mut ada, r#"["name?"]"#).await;
        ada.send(format!(r#"43{id}["ada",2]"#)).await;
        ada
    });
    let leaving = tokio::spawn(async move {
        asked(&mut bob, r#"["name?"]"#).await;
        bob.vanish();
    });
    let (id, answer) = within("the first", replies.next()).await.expect("an answer");
    // Whoever has left is not always noticed before the other one has answered.
    let (other, rest) = within("the second", replies.next()).await.expect("an end");
    let all = [(id, answer), (other, rest)];
    for (id, answer) in all {
        if id == ada_id {
            assert_eq!(answer.expect("ada").decode::<String>().expect("a name"), "ada");
        } else {
            assert_eq!(id, bob_id);
            assert!(answer.is_err(), "bob has left");
        }
    }
    assert!(replies.next().await.is_none());
    within("the client", answering).await.expect("no panic");
    within("the client", leaving).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_of_another_node_is_a_handle() {
    let [one, two] = two_nodes().await;
    let mut bob = two.client().await;
    let fetched = one.switchboard.of("/").fetch_sockets().await.expect("a link");
    let [remote] = &fetched.values[..] else { panic!("{fetched:?}") };
    assert_eq!(remote.id.to_string(), bob.id);
    remote.emit("hello", &1).expect("encodable");
    assert_eq!(bob.hears("hello").await, 1);
    remote.join(["a", "b"]);
    let in_room = async |room: &str| {
        let found = one.switchboard.of("/").to(room.to_owned()).fetch_sockets().await;
        found.expect("a link").values.len()
    };
    until("bob has joined", async || in_room("a").await == 1 && in_room("b").await == 1).await;
    remote.leave("a");
    until("bob has left", async || in_room("a").await == 0).await;
    let asking = {
        let remote = remote.clone();
        tokio::spawn(async move { remote.ask::<Value>("age?", &7, Duration::from_secs(600)).await })
    };
    let id = asked(&mut bob, r#"["age?",7]"#).await;
    bob.send(format!("43{id}[36]")).await;
    assert_eq!(within("an answer", asking).await.expect("no panic").expect("an age"), 36);
    remote.disconnect(false);
    bob.disconnected().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_are_no_success_where_some_are_missing() {
    let [one, two] = two_nodes().await;
    let (mut ada, mut bob) = (one.client().await, two.client().await);
    let ask = |timeout: u64| {
        let server = one.switchboard.clone();
        let timeout = Duration::from_millis(timeout);
        tokio::spawn(async move { server.of("/").emit_with_ack("name?", &(), timeout).await })
    };
    let asking = ask(600_000);
    for client in [&mut ada, &mut bob] {
        let id = asked(client, r#"["name?"]"#).await;
        client.send(format!(r#"43{id}["here"]"#)).await;
    }
    let acks = within("the answers", asking).await.expect("no panic").expect("asked");
    assert!(acks.is_complete());
    assert_eq!(acks.complete().expect("both").len(), 2);
    let asking = ask(500);
    let id = asked(&mut ada, r#"["name?"]"#).await;
    ada.send(format!(r#"43{id}["here"]"#)).await;
    asked(&mut bob, r#"["name?"]"#).await;
    let acks = within("the answer", asking).await.expect("no panic").expect("asked");
    assert_eq!((acks.acks.len(), acks.expected, acks.is_complete()), (1, 2, false));
    assert_eq!(acks.complete().expect_err("bob is silent").code(), Code::Timeout);
}

#[tokio::test]
async fn a_node_that_is_cut_off_takes_nothing_for_an_answer_of_all() {
    let cluster = Cluster::start(2, || Switchboard::builder().gateway(rooms())).await;
    let here = cluster.node(0).connect().await.expect("everybody may enter");
    let _there = cluster.node(1).connect().await.expect("everybody may enter");
    cluster.interrupt(0);
    let all = || cluster.node(0).of("/");
    let minute = Duration::from_secs(60);
    let asked = all().ask("name?", &(), minute).await;
    assert_eq!(asked.expect_err("there is no link").code(), Code::Unavailable);
    assert_eq!(all().fetch_sockets().await.expect_err("nor here").code(), Code::Unavailable);
    let question = all().emit_with_ack("name?", &(), Duration::from_millis(200));
    let answer = async { here.asked::<()>("name?").await.answer("here") };
    let (acks, ()) = tokio::join!(question, answer);
    let acks = acks.expect("encodable");
    assert_eq!((acks.acks.len(), acks.cluster_asked, acks.is_complete()), (1, false, false));
    assert_eq!(acks.complete().expect_err("who is there?").code(), Code::Unavailable);
}
