//! CONNECT_ERROR with data.

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::support::{Poller, Server, WebSocket, Well as _, options};

const REFUSED: &str =
    r#"44/closed,{"message":"forbidden: nobody may","data":{"code":"forbidden"}}"#;

#[tokio::test]
async fn a_refusal_on_a_websocket_has_its_data() {
    let server = Server::start().await;
    let mut ws = WebSocket::open(server.address).await;
    for _ in 0..3 {
        ws.say("40/closed,").await;
        assert_eq!(ws.hears().await, REFUSED);
    }
    ws.say("40/shut,").await;
    assert_eq!(ws.hears().await, r#"44/shut,{"message":"shut"}"#);
    ws.say("40/nowhere,").await;
    assert_eq!(ws.hears().await, r#"44/nowhere,{"message":"Invalid namespace"}"#);
}

#[tokio::test]
async fn a_refusal_by_polling_has_its_data() {
    let server = Server::start().await;
    let poller = Poller::open(server.address).await;
    for _ in 0..3 {
        assert_eq!(poller.post("40/closed,").await.0, 200);
        assert_eq!(poller.poll().await, (200, REFUSED.into()));
    }
    assert_eq!(poller.post("40/shut,").await.0, 200);
    assert_eq!(poller.poll().await, (200, r#"44/shut,{"message":"shut"}"#.into()));
}

#[tokio::test]
async fn a_refusal_after_an_upgrade_has_its_data() {
    let mut server = Server::start().await;
    let (poller, _) = server.polls().await;
    let mut ws = poller.probe().await;
    ws.probes().await;
    ws.say("5").await;
    ws.say("40/closed,").await;
    assert_eq!(ws.hears().await, REFUSED);
    ws.is_well().await;
}

fn msgpack(value: &Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("msgpack")
}

fn read(bytes: &[u8]) -> Value {
    rmp_serde::from_slice(bytes).expect("msgpack")
}

fn refused() -> Value {
    json!({
        "type": 4,
        "nsp": "/closed",
        "data": { "message": "forbidden: nobody may", "data": { "code": "forbidden" } },
    })
}

#[tokio::test]
async fn a_msgpack_refusal_on_a_websocket_has_its_data() {
    let server = Server::with(options(), true).await;
    let mut ws = WebSocket::open(server.address).await;
    ws.send(Message::binary(msgpack(&json!({ "type": 0, "nsp": "/closed" })))).await;
    match ws.next().await {
        Some(Message::Binary(packet)) => assert_eq!(read(&packet), refused()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_msgpack_refusal_by_polling_has_its_data() {
    let server = Server::with(options(), true).await;
    let poller = Poller::open(server.address).await;
    let connect = msgpack(&json!({ "type": 0, "nsp": "/closed" }));
    assert_eq!(poller.post(format!("b{}", BASE64.encode(connect))).await.0, 200);
    let (status, body) = poller.poll().await;
    assert_eq!(status, 200);
    let packet = BASE64.decode(body.strip_prefix('b').expect("binary")).expect("base64");
    assert_eq!(read(&packet), refused());
}
