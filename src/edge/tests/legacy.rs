//! Engine.IO 3.

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::support::{Poller, Server, WebSocket, Well as _, options, request, url};
use crate::edge::{EdgeOptions, Legacy};

const UNSUPPORTED: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

async fn open(server: &Server, extra: &str) -> Poller {
    let http = reqwest::Client::new();
    let query = format!("EIO=3&transport=polling{extra}");
    let (status, body) = request(http.get(url(server.address, &query))).await;
    assert_eq!(status, 200, "{body}");
    let (len, packet) = body.split_once(':').expect("a length");
    assert_eq!(len.parse(), Ok(packet.len()), "{body}");
    let open: Value = serde_json::from_str(&packet[1..]).expect("an OPEN packet");
    let id = open["sid"].as_str().expect("an id").to_owned();
    Poller { http, address: server.address, id, version: 3 }
}

async fn legacy() -> Server {
    Server::with(EdgeOptions { legacy: Legacy::All, ..options() }, false).await
}

#[tokio::test]
async fn a_websocket_is_welcome() {
    let mut server = Server::start().await;
    let mut ws = WebSocket::at(server.address, "EIO=3&transport=websocket").await;
    assert!(ws.hears().await.starts_with("0{"));
    assert_eq!(ws.hears().await, "40");
    server.sees_connect().await;
    ws.is_well().await;
    ws.say("2").await;
    assert_eq!(ws.hears().await, "3", "the client pings");
    ws.say(r#"451-["binary",{"_placeholder":true,"num":0}]"#).await;
    ws.send(Message::binary(vec![4, 1, 2, 3])).await;
    assert_eq!(ws.hears().await, r#"451-["binary",{"_placeholder":true,"num":0}]"#);
    assert_eq!(ws.next().await, Some(Message::binary(vec![4, 1, 2, 3])));
}

#[tokio::test]
async fn polling_is_refused_unless_configured() {
    let server = Server::start().await;
    let url = url(server.address, "EIO=3&transport=polling");
    let refused = request(reqwest::Client::new().get(url)).await;
    assert_eq!(refused, (400, UNSUPPORTED.into()));
}

#[tokio::test]
async fn polling_works_if_configured() {
    let mut server = legacy().await;
    let poller = open(&server, "").await;
    assert_eq!(poller.poll().await, (200, "2:40".into()));
    server.sees_connect().await;
    assert_eq!(poller.post(r#"14:42["echo","é"]"#).await.0, 200);
    assert_eq!(poller.poll().await, (200, r#"14:42["echo","é"]"#.into()));
}

#[tokio::test]
async fn binary_by_polling_arrives() {
    let mut server = legacy().await;
    for extra in ["&b64=1", ""] {
        let poller = open(&server, extra).await;
        assert_eq!(poller.poll().await, (200, "2:40".into()));
        server.sees_connect().await;
        let event = r#"451-["binary",{"_placeholder":true,"num":0}]"#;
        let body = format!("{}:{event}6:b4AQID", event.len());
        assert_eq!(poller.post(body.clone()).await.0, 200);
        let (status, answer) = poller.poll().await;
        assert_eq!(status, 200);
        if extra.is_empty() {
            // the binary framing, in which strings are allowed: 0, length, 255, packet
            assert!(answer.starts_with("\0\u{4}\u{4}"), "{answer:?}");
            assert!(answer.ends_with("b4AQID") && answer.contains("\0\u{6}"), "{answer:?}");
        } else {
            assert_eq!(answer, body);
        }
    }
}

#[tokio::test]
async fn an_upgrade_works() {
    let mut server = legacy().await;
    let poller = open(&server, "").await;
    assert_eq!(poller.poll().await, (200, "2:40".into()));
    server.sees_connect().await;
    let mut ws = poller.probe().await;
    let waiting = tokio::spawn({
        let poller = poller.clone();
        async move { poller.poll().await }
    });
    ws.probes().await;
    assert_eq!(waiting.await.expect("joined"), (200, "1:6".into()));
    ws.say("5").await;
    ws.is_well().await;
}
