//! Who may come in: what decides sees the whole request, and says no in its own words.

mod support;

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use support::{Client, Server, within};
use switchboard::{
    Config, Fault, Gateway, Handshake, Reply, Socket, State, Switchboard,
    axum::{Json, response::IntoResponse},
    gateway::opening::{Opening, Refusal},
    testing,
};
use tokio::sync::mpsc;

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
async fn the_whole_request_is_seen_at_the_door_and_until_the_end() {
    let (last, mut at_the_end) = mpsc::unbounded_channel();
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
        .on_disconnect(move |socket: Socket, handshake: Handshake| {
            let seen = json!([
                handshake.cookie("session"),
                handshake.query().get("EIO"),
                handshake.headers().get("x-own").and_then(|own| own.to_str().ok()),
                handshake.auth::<Value>().ok(),
                *handshake.socket() == socket,
            ]);
            let last = last.clone();
            async move { last.send(seen).map_err(|_| Fault::internal()) }
        });
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
    client.vanish();
    let seen = within("the end", at_the_end.recv()).await.expect("the handler tells");
    assert_eq!(seen, json!(["abc", "4", "1", { "token": "mine" }, true]));
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

/// What the program says no with, by the client's `how`.
async fn in_its_own_way(opening: Opening) -> Result<[(&'static str, String); 2], Refusal> {
    let retry = (header::RETRY_AFTER, HeaderValue::from_static("30"));
    match opening.query().get("how") {
        Some("fault") => Err(Fault::unauthorized("log in first"))?,
        Some("status") => Err(Refusal::new(StatusCode::UNAUTHORIZED, "log in first")
            .with_header(header::SET_COOKIE, HeaderValue::from_static("session=; Max-Age=0"))
            .with_header(header::SET_COOKIE, HeaderValue::from_static("seen=1"))),
        Some("text") => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "")
            .with_header(retry.0, retry.1)
            .with_body(HeaderValue::from_static("text/plain"), "we open at nine")),
        Some("answer") => {
            let answer = (StatusCode::TOO_MANY_REQUESTS, [retry], Json(json!({ "left": 0 })));
            Err(answer.into_response().into())
        }
        Some("header") => Ok([("x-own", "two\r\nlines".into()), ("x-other", "1".into())]),
        _ => Ok([("set-cookie", "one=1".into()), ("set-cookie", "two=2".into())]),
    }
}

#[tokio::test]
async fn a_connection_is_refused_with_the_answer_of_the_program() {
    let config = Config::with(|it| it.engine.cors_origins = vec!["https://app.example".into()]);
    let builder = Switchboard::builder().config(config).allow_request(in_its_own_way);
    let server = Server::start(builder.gateway(Gateway::new("/"))).await;
    let open = async |transport: &str, how: &str| {
        let url = format!("http://{}/socket.io/?EIO=4&transport={transport}", server.address);
        let request = reqwest::Client::new().get(format!("{url}&how={how}"));
        let request = request.header("origin", "https://app.example");
        let answer = match transport {
            "websocket" => request
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            _ => request,
        };
        let answer = answer.send().await.expect("an answer");
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example", "{how}");
        answer
    };
    let all = |answer: &reqwest::Response, name: &str| -> Vec<String> {
        let values = answer.headers().get_all(name).iter();
        values.map(|value| value.to_str().expect("text").to_owned()).collect()
    };
    let engine = |message: &str| json!({ "code": 4, "message": message }).to_string();
    let wrong = "something went wrong on the server";
    for transport in ["polling", "websocket"] {
        for (how, status, kind, cookies, retry, body) in [
            ("fault", 403, "application/json", &[][..], &[][..], engine("log in first")),
            (
                "status",
                401,
                "application/json",
                &["session=; Max-Age=0", "seen=1"],
                &[],
                engine("log in first"),
            ),
            ("text", 503, "text/plain", &[], &["30"], "we open at nine".into()),
            ("answer", 429, "application/json", &[], &["30"], r#"{"left":0}"#.into()),
            ("header", 403, "application/json", &[], &[], engine(wrong)),
        ] {
            let answer = open(transport, how).await;
            assert_eq!(answer.status(), status, "{transport} {how}");
            assert_eq!(all(&answer, "content-type"), [kind], "{transport} {how}");
            assert_eq!(all(&answer, "set-cookie"), cookies, "{transport} {how}");
            assert_eq!(all(&answer, "retry-after"), retry, "{transport} {how}");
            assert_eq!(answer.text().await.expect("a body"), body, "{transport} {how}");
        }
        let opened = open(transport, "well").await;
        assert_eq!(opened.status(), if transport == "polling" { 200 } else { 101 });
        assert_eq!(all(&opened, "set-cookie"), ["one=1", "two=2"], "{transport}");
    }
}

#[tokio::test]
async fn a_client_of_a_test_sees_how_it_was_refused_and_what_it_was_given() {
    let builder = Switchboard::builder().allow_request(in_its_own_way);
    let server = testing::Server::start(builder.gateway(Gateway::new("/"))).await;
    let refused = server.connect().query("how", "text").await.expect_err("refused");
    assert_eq!((refused.status, &*refused.message), (Some(503), "we open at nine"));
    assert_eq!(refused.headers["retry-after"], "30");
    let client = server.connect().await.expect("let in");
    assert_eq!(client.headers().get_all("set-cookie").iter().count(), 2);
}
