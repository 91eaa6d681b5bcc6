//! Requests that are not welcome, and what they are told.

use std::time::Duration;

use http::{HeaderMap, Method, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::support::{
    Poller, Server, WebSocket, Well as _, eventually, options, request, rest_of, url, within,
};
use crate::edge::{EdgeOptions, Limits};

async fn ask(server: &Server, method: Method, query: &str) -> (u16, String) {
    request(reqwest::Client::new().request(method, url(server.address, query))).await
}

#[tokio::test]
async fn errors_are_those_of_node() {
    let server = Server::start().await;
    for (method, query, code, message) in [
        (Method::GET, "EIO=4", 0, "Transport unknown"),
        (Method::GET, "EIO=4&transport=carrier-pigeon", 0, "Transport unknown"),
        (Method::GET, "EIO=4&transport=polling&sid=unknown", 1, "Session ID unknown"),
        (Method::POST, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::PUT, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::GET, "EIO=4&transport=websocket", 3, "Bad request"),
        (
            Method::GET,
            "EIO=4&transport=websocket&transport=polling&transport=x",
            0,
            "Transport unknown",
        ),
        (Method::POST, "EIO=4&transport=polling&sid=", 2, "Bad handshake method"),
        (Method::GET, "EIO=4&transport=polling&j=0", 3, "JSONP polling is not supported"),
        (Method::GET, "EIO=2&transport=polling", 5, "Unsupported protocol version"),
        (Method::GET, "transport=polling", 5, "Unsupported protocol version"),
    ] {
        let error = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        assert_eq!(ask(&server, method, query).await, (400, error), "{query}");
    }
    assert!(server.transports.is_empty());
}

#[tokio::test]
async fn a_transport_that_is_switched_off_is_unknown() {
    let server = Server::with(EdgeOptions { polling: false, ..options() }, false).await;
    let refused = ask(&server, Method::GET, "EIO=4&transport=polling").await;
    assert_eq!(refused, (400, r#"{"code":0,"message":"Transport unknown"}"#.into()));
    WebSocket::open(server.address).await;
}

#[tokio::test]
async fn other_paths_are_not_ours() {
    let server = Server::start().await;
    let address = server.address;
    let http = reqwest::Client::new();
    let health = request(http.get(format!("http://{address}/healthz"))).await;
    assert_eq!(health, (200, "fine".into()));
    assert_eq!(request(http.get(format!("http://{address}/socket.iot/"))).await.0, 404);
    let bare = format!("http://{address}/socket.io?EIO=4&transport=polling");
    assert_eq!(request(http.get(bare)).await.0, 200);
}

#[tokio::test]
async fn a_full_server_says_so_before_the_engine_knows() {
    let server = Server::with(
        EdgeOptions { limits: Limits { max_connections: 2, ..Limits::default() }, ..options() },
        false,
    )
    .await;
    let ws = WebSocket::open(server.address).await;
    let _poller = Poller::open(server.address).await;
    let http = reqwest::Client::new();
    let refused =
        http.get(url(server.address, "EIO=4&transport=polling")).send().await.expect("a response");
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(refused.text().await.expect("text"), r#"{"code":4,"message":"Server is full"}"#);
    let refused = WebSocket::try_at(server.address, "EIO=4&transport=websocket").await.err();
    assert_eq!(refused.map(|(status, _)| status), Some(503));
    drop(ws);
    eventually("a free place", || server.transports.all().len() == 1).await;
    // the place is given back with the last that holds it, an instant after the registry
    within("an open door", async {
        while WebSocket::try_at(server.address, "EIO=4&transport=websocket").await.is_err() {}
    })
    .await;
}

#[tokio::test]
async fn limits_change_while_running() {
    let server = Server::start().await;
    let _first = WebSocket::open(server.address).await;
    server.edge.set_limits(Limits { connections_per_address: 1, ..Limits::default() });
    let refused = WebSocket::try_at(server.address, "EIO=4&transport=websocket").await.err();
    assert_eq!(refused.map(|(status, _)| status), Some(503));
    server.edge.set_limits(Limits::default());
    WebSocket::open(server.address).await;
}

#[tokio::test]
async fn a_draining_server_lets_the_present_go_on() {
    let mut server = Server::start().await;
    let (poller, _) = server.polls().await;
    let (mut ws, _) = server.websocket().await;
    server.edge.start_draining();
    let (status, _) = ask(&server, Method::GET, "EIO=4&transport=polling").await;
    assert_eq!(status, 503);
    poller.is_well().await;
    ws.is_well().await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let options = EdgeOptions { handshake_timeout: Duration::from_millis(200), ..options() };
    let server = Server::with(options, false).await;
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream.write_all(b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.expect("sent");
    rest_of(stream).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let head = format!("GET /socket.io/ HTTP/1.1\r\nX-Large: {}\r\n\r\n", "x".repeat(100_000));
    // the server may have closed before all of it is sent
    stream.write_all(head.as_bytes()).await.ok();
    let answer = rest_of(stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_too_large_ends_its_session_only() {
    let mut server = Server::with(EdgeOptions { max_payload: 1000, ..options() }, false).await;
    let (other, _) = server.polls().await;
    let (poller, sid) = server.polls().await;
    let (status, body) = poller.post("4".repeat(1001)).await;
    assert_eq!((status, &*body), (413, r#"{"code":3,"message":"Payload too large"}"#));
    server.sees_disconnect(sid).await;
    other.is_well().await;
    // of unknown length
    let (poller, sid) = server.polls().await;
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: a\r\n\
         Transfer-Encoding: chunked\r\n\r\n3e9\r\n{}",
        poller.id,
        "4".repeat(1001)
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut status = [0; 12];
    within("a response", stream.read_exact(&mut status)).await.expect("a response");
    assert_eq!(&status, b"HTTP/1.1 413");
    server.sees_disconnect(sid).await;
    other.is_well().await;
}

async fn asked_from(server: &Server, method: Method, origin: &str) -> (u16, HeaderMap) {
    let response = reqwest::Client::new()
        .request(method, url(server.address, "EIO=4&transport=polling"))
        .header("origin", origin)
        .send()
        .await
        .expect("a response");
    (response.status().as_u16(), response.headers().clone())
}

#[tokio::test]
async fn pages_of_listed_origins_may_poll() {
    let cors_origins = vec!["https://a.test".to_owned()];
    let server = Server::with(EdgeOptions { cors_origins, ..options() }, false).await;
    for (method, status) in [(Method::OPTIONS, 204), (Method::GET, 200)] {
        let (got, headers) = asked_from(&server, method.clone(), "https://a.test").await;
        assert_eq!(got, status);
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.test");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        let (_, headers) = asked_from(&server, method, "https://b.test").await;
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}

#[tokio::test]
async fn polls_are_not_for_caches_and_connections_are_kept() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    for _ in 0..3 {
        let ask = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(ask).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            answer.push(within("a byte", stream.read_u8()).await.expect("a byte"));
        }
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
    }
    assert_eq!(server.transports.all().len(), 3);
}
