//! The order of a client's packets: that of the calls, whichever way each packet goes.

mod support;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use support::{Client, Server, by_name, rooms, within};
use switchboard::{Gateway, Reply, Switchboard};
use tokio::task::JoinSet;

async fn server() -> Server {
    let chat = Gateway::new("/chat").on("marker", async || Reply::ack(&()));
    let builder = Switchboard::builder().global_middleware(by_name).gateway(rooms()).gateway(chat);
    Server::start(builder).await
}

/// One numbered call of a caller: an event to its room or to one socket, short or long, with
/// attachments, or a question.
async fn call(server: &Switchboard, id: &str, caller: usize, number: usize) {
    let room = server.of("/").to("room");
    let data = json!({ "caller": caller, "number": number });
    match (number * 7 + caller) % 6 {
        0 | 1 => room.emit("event", &data).unwrap(),
        2 => {
            let socket = server.of("/").to(id.to_owned());
            socket.emit("event", &data).unwrap();
        }
        3 => {
            let long = json!({ "caller": caller, "number": number, "pad": "x".repeat(10_000) });
            room.emit("event", &long).unwrap();
        }
        4 => {
            let bytes = serde_bytes::ByteBuf::from(vec![7; 300]);
            room.emit("event", &(data, bytes)).unwrap();
        }
        _ => {
            // Nobody answers in time, but everybody is asked.
            let _ = room.emit_with_ack("event", &data, Duration::ZERO).await;
        }
    }
}

fn number_of(packet: &str) -> Option<(u64, u64)> {
    let start =
        packet.find('[').filter(|_| packet.starts_with("42") || packet.starts_with("45"))?;
    let arguments: Value = serde_json::from_str(&packet[start..]).expect("JSON");
    let data = &arguments[1];
    Some((data["caller"].as_u64()?, data["number"].as_u64()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_and_questions_come_in_the_order_of_each_callers_calls() {
    const CALLERS: usize = 3;
    const CALLS: usize = 400;
    let server = server().await;
    let mut client = server.client().await;
    assert_eq!(client.ask("join", json!("room")).await, json!(true));
    let mut callers = JoinSet::new();
    let id = client.id.clone();
    let switchboard = server.switchboard.clone();
    for caller in 0..CALLERS {
        let (switchboard, id) = (switchboard.clone(), id.clone());
        callers.spawn(async move {
            for number in 0..CALLS {
                call(&switchboard, &id, caller, number).await;
                tokio::task::yield_now().await;
            }
        });
    }
    let mut next = BTreeMap::new();
    within("all calls have come", async {
        while next.values().sum::<u64>() < (CALLERS * CALLS) as u64 {
            let packet = client.packet().await.expect("the connection stays");
            let Some((caller, number)) = number_of(&packet) else { continue };
            let expected = next.entry(caller).or_default();
            assert_eq!(number, *expected, "of caller {caller}: {packet:.80}");
            *expected += 1;
        }
    })
    .await;
    callers.join_all().await;
}

/// The numbers of the events that a client gets in each namespace, from its CONNECT on, and whether
/// one came before that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn from_its_connect_on_a_client_misses_nothing_and_nothing_comes_before() {
    let server = server().await;
    let (stop, mut stopped) = tokio::sync::watch::channel(());
    let switchboard = server.switchboard.clone();
    let emitting = tokio::spawn(async move {
        let mut number = 0_u64;
        while !stopped.has_changed().unwrap_or(true) {
            for namespace in ["/", "/chat"] {
                let data = json!({ "caller": 0, "number": number });
                switchboard.of(namespace).emit("event", &data).unwrap();
            }
            number += 1;
            tokio::task::yield_now().await;
        }
        stopped.mark_changed();
    });
    for round in 0..100 {
        let mut client = Client::open(server.address).await;
        client.send("40{}").await;
        client.send("40/chat,{}").await;
        let mut last: BTreeMap<&str, Option<u64>> = BTreeMap::new();
        let mut left = 100;
        within("events of both namespaces", async {
            while left > 0 || last.len() < 2 {
                let packet = client.packet().await.expect("the connection stays");
                let namespace = if packet[2..].starts_with("/chat,") { "/chat" } else { "/" };
                if packet.starts_with("40") {
                    assert!(last.insert(namespace, None).is_none(), "a second CONNECT");
                } else if let Some((_, number)) = number_of(&packet) {
                    let last = last.get_mut(namespace);
                    let last = last.unwrap_or_else(|| panic!("{round}: {packet} before CONNECT"));
                    assert!(
                        last.is_none_or(|last| last + 1 == number),
                        "{round}: {last:?} {packet}"
                    );
                    *last = Some(number);
                    left = i32::max(left - 1, 0);
                }
            }
        })
        .await;
    }
    stop.send(()).expect("it still emits");
    emitting.await.expect("emitting does not panic");
}
