//! A client that is not read from because its events wait, and what must come through nevertheless.

mod support;

use std::sync::{Arc, OnceLock};

use serde_json::json;
use support::{DEADLINE, Server, until, within};
use switchboard::{Gateway, Reply, Socket, Switchboard};
use tokio::sync::Semaphore;

/// More than may wait while the client is read from.
const MANY: u64 = 2_000;

#[tokio::test]
async fn an_acknowledgement_that_a_handler_waits_for_comes_past_a_full_queue() {
    let itself: Arc<OnceLock<Switchboard>> = Arc::default();
    let server = Arc::clone(&itself);
    let asks = move |socket: Socket| {
        let server = server.get().expect("set").clone();
        async move {
            let asked = server.of("/").to(socket.id());
            let acks = asked.emit_with_ack("question", &(), DEADLINE / 2).await;
            Reply::ack(&acks.map_or(0, |acks| acks.acks.len()))
        }
    };
    let gateway = Gateway::new("/").on("asks", asks).on("noise", async || Reply::ack(&()));
    let server = Server::start(Switchboard::builder().gateway(gateway)).await;
    assert!(itself.set(server.switchboard.clone()).is_ok());
    let mut ada = server.client().await;
    ada.send(r#"420["asks"]"#).await;
    let question = within("the question", ada.packet()).await.expect("a packet");
    assert!(question.ends_with(r#"["question"]"#), "{question}");
    let id: String = question[2..].chars().take_while(char::is_ascii_digit).collect();
    for number in 1..=MANY {
        ada.send(format!(r#"42{number}["noise"]"#)).await;
    }
    ada.send(format!(r#"43{id}["an answer"]"#)).await;
    assert_eq!(ada.acknowledged(0).await, json!(1), "it was heard before the noise was handled");
    assert_eq!(ada.acknowledged(MANY).await, json!(null));
}

#[tokio::test]
async fn a_client_that_leaves_while_its_events_wait_is_noticed_when_they_go_on() {
    let (gate, handled) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let waits = {
        let (gate, handled) = (Arc::clone(&gate), Arc::clone(&handled));
        move || {
            let (gate, handled) = (Arc::clone(&gate), Arc::clone(&handled));
            async move {
                gate.acquire().await.expect("open").forget();
                handled.add_permits(1);
                Reply::ack(&())
            }
        }
    };
    let gone = Arc::new(Semaphore::new(0));
    let left = {
        let gone = Arc::clone(&gone);
        move || {
            gone.add_permits(1);
            std::future::ready(())
        }
    };
    let gateway = Gateway::new("/").on("waits", waits).on_disconnect(left);
    let server = Server::start(Switchboard::builder().gateway(gateway)).await;
    let mut ada = server.client().await;
    for _ in 0..MANY {
        ada.emit("waits", json!(null)).await;
    }
    ada.vanish();
    gate.add_permits(MANY as usize * 2);
    until("all that it sent is handled", async || handled.available_permits() == MANY as usize)
        .await;
    within("the disconnect handler", gone.acquire()).await.expect("open").forget();
    until("it is gone", async || server.switchboard.socket_count() == 0).await;
}
