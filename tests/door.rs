//! Who may come in: what decides sees the whole request, and says no in its own words.

mod support;

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use support::{Client, Server};
use switchboard::{
    Fault, Gateway, Handshake, Reply, Socket, State, Switchboard, gateway::opening::Opening,
};

#[tokio::test]
async fn a_refusal_has_the_words_of_the_program_and_ours_stay_as_they_are() {
    let gateway = Gateway::new("/").middleware(async |handshake: Handshake| {
        let how: String = handshake.auth::<Value>()?["how"].as_str().unwrap_or("").to_owned();
        Err::<(), _>(match &*how {
            "plain" => Fault::plain("Auth failed"),
            "code" => Fault::plain("Auth failed").with_code("no_seat"),
            "data" => Fault::plain("Auth failed").with_data(json!({ "seats": 0 })),
            _ => Fault::forbidden("never"),
        })
    });
    let server = Server::start(Switchboard::builder().gateway(gateway)).await;
    for (how, payload) in [
        ("plain", json!({ "message": "Auth failed" })),
        (
            "code",
            json!({
                "message": "Auth failed",
                "data": { "code": "no_seat", "message": "Auth failed", "retry": false },
            }),
        ),
        ("data", json!({ "message": "Auth failed", "data": { "seats": 0 } })),
        (
            "ours",
            json!({
                "message": "forbidden: never",
                "data": { "code": "forbidden", "message": "never", "retry": false },
            }),
        ),
    ] {
        let (_client, answer) = server.ask("/", json!({ "how": how })).await;
        assert_eq!(answer, Err(payload), "{how}");
    }
}

#[tokio::test]
async fn the_whole_request_is_seen_at_the_door_and_later() {
    let gateway = Gateway::new("/")
        .middleware(async |handshake: Handshake| {
            match (handshake.cookie("session"), handshake.is_secure()) {
                (Some("abc"), false) => Ok(()),
                _ => Err(Fault::plain("no session")),
            }
        })
        .on("later", async |handshake: Handshake| {
            json!({
                "cookie": handshake.cookie("session"),
                "engine": handshake.query().get("EIO"),
                "auth": handshake.auth::<Value>().ok(),
                "whole": handshake.to_json(),
            })
        })
        .on_disconnect(async |socket: Socket| assert!(Handshake::of(&socket).is_none()));
    let server = Server::start(Switchboard::builder().gateway(gateway)).await;
    let headers = [("cookie", "theme=dark; session=abc"), ("x-own", "1")];
    let mut client = Client::open_with(server.address, &headers).await;
    client.enter("/", json!({ "token": "mine" })).await.expect("a session");
    let seen = client.ask("later", Value::Null).await;
    assert_eq!(seen["cookie"], "abc");
    assert_eq!(seen["engine"], "4");
    assert_eq!(seen["auth"], json!({ "token": "mine" }));
    let whole = &seen["whole"];
    assert_eq!(whole["headers"]["x-own"], "1");
    assert_eq!(whole["query"]["transport"], "websocket");
    assert_eq!(whole["auth"], json!({ "token": "mine" }));
    assert_eq!((&whole["secure"], &whole["xdomain"]), (&json!(false), &json!(false)));
    assert!(whole["url"].as_str().is_some_and(|url| url.starts_with("/socket.io/?")), "{whole}");
    let (_other, refused) = server.ask("/", json!({})).await;
    assert_eq!(refused, Err(json!({ "message": "no session" })));
}

#[derive(Clone)]
struct Delay(Duration);

#[tokio::test]
async fn the_program_is_asked_before_a_connection_is_opened() {
    let allow = async |opening: Opening, State(Delay(delay)): State<Delay>| {
        tokio::time::sleep(delay).await;
        match opening.query().get("key") {
            Some("right") => {
                let mut headers = HeaderMap::new();
                headers.append(header::SET_COOKIE, HeaderValue::from_static("seen=1"));
                headers.append("x-own", HeaderValue::from_static("yes"));
                Ok(headers)
            }
            Some("panic") => panic!("in the program"),
            _ => Err(Fault::plain("the \"key\" is wrong")),
        }
    };
    let delay = Delay(Duration::from_millis(30));
    let gateway = Gateway::new("/").on("here", async || Reply::ack(&true));
    let builder = Switchboard::builder().state(delay).allow_request(allow).gateway(gateway);
    let server = Server::start(builder).await;
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.address);
    let open = async |key: &str| reqwest::get(format!("{url}&key={key}")).await.expect("an answer");
    let started = Instant::now();
    let opened = open("right").await;
    assert!(started.elapsed() >= Duration::from_millis(30), "the client waits");
    assert_eq!(opened.status(), StatusCode::OK);
    assert_eq!(opened.headers()[header::SET_COOKIE], "seen=1");
    assert_eq!(opened.headers()["x-own"], "yes");
    let body = opened.text().await.expect("a body");
    let (_, body) = body.split_once('{').expect("an open packet");
    let body: Value = serde_json::from_str(&format!("{{{body}")).expect("JSON");
    // The session's own requests are not asked about.
    let sid = body["sid"].as_str().expect("a session id");
    let sent = reqwest::Client::new().post(format!("{url}&sid={sid}")).body("40").send().await;
    assert_eq!(sent.expect("an answer").status(), StatusCode::OK);
    for (key, message) in
        [("wrong", "the \"key\" is wrong"), ("panic", "something went wrong on the server")]
    {
        let refused = open(key).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{key}");
        let text = refused.text().await.expect("a body");
        let said: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(said, json!({ "code": 4, "message": message }));
    }
}
