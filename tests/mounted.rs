//! A server inside another one: of hyper, of axum, and on connections of every kind.

mod support;

use std::{
    convert::Infallible, net::SocketAddr, path::Path, process::Command, sync::Arc, time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, routing::get};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use support::{Client, RedisServer, until, within};
use switchboard::{
    Config, Data, Gateway, Handshake, Reply, Socket, Switchboard, config::SecretUrl,
    gateway::opening::Opening,
};
use test_kit::websocket::WebSocket;
use tokio::net::TcpListener;
use tower_service::Service as _;

fn gateway() -> Gateway {
    Gateway::new("/")
        .middleware(async |handshake: Handshake| {
            let address = handshake.peer_addr().map(|address| address.to_string());
            handshake.socket().set("address", &address)
        })
        .on("where", async |socket: Socket| {
            Reply::ack(&socket.get::<Option<String>>("address").ok().flatten())
        })
        .on("echo", async |Data(data): Data<Value>| Reply::ack(&data))
}

fn built(config: Config) -> Switchboard {
    let routes = Router::new().route("/own", get(async || "of the builder"));
    let builder = Switchboard::builder().config(config).gateway(gateway()).routes(routes);
    builder.build().expect("it can be built")
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    (listener, address)
}

/// Served by hyper, which tells the address of a client or not.
async fn by_hyper(server: Switchboard, tells: bool) -> SocketAddr {
    let (listener, address) = listening().await;
    let service = server.into_service();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let service = service.clone();
            let service = service_fn(move |mut request: Request<Incoming>| {
                if tells {
                    request.extensions_mut().insert(ConnectInfo(peer));
                }
                service.clone().call(request)
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    address
}

async fn status(address: SocketAddr, path: &str) -> (u16, String) {
    let asked = reqwest::get(format!("http://{address}{path}"));
    let response = within("an answer", asked).await.expect("HTTP");
    (response.status().as_u16(), within("the body", response.text()).await.expect("text"))
}

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

#[tokio::test]
async fn hyper_serves_all_that_a_port_of_its_own_would() {
    let server = built(Config::default());
    let address = by_hyper(server.clone(), true).await;
    let mut client = Client::open(address).await;
    client.enter("/", json!({})).await.expect("it is let in");
    assert_eq!(client.ask("echo", json!("x".repeat(200_000))).await, json!("x".repeat(200_000)));
    assert_eq!(client.ask("where", json!(null)).await, "127.0.0.1");
    assert_eq!(status(address, "/own").await, (200, "of the builder".into()));
    assert_eq!(status(address, "/healthz").await.0, 200);
    assert_eq!(status(address, "/readyz").await.0, 200);
    assert_eq!(status(address, "/nowhere").await.0, 404);
    assert_eq!(status(address, HANDSHAKE).await.0, 200);
    assert_eq!(server.socket_count(), 1);
}

#[tokio::test]
async fn clients_whose_address_nobody_tells_share_its_limits() {
    let mut config = Config::default();
    config.limits.connections_per_address = 2;
    let address = by_hyper(built(config), false).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::open(address).await;
        client.enter("/", json!({})).await.expect("it is let in");
        assert_eq!(client.ask("where", json!(null)).await, "0.0.0.0");
        clients.push(client);
    }
    assert_eq!(status(address, HANDSHAKE).await.0, 503, "there is no third one");
}

#[tokio::test]
async fn a_layer_leaves_everything_else_to_the_application() {
    let server = built(Config::default());
    let app = Router::new()
        .route("/menu", get(async || "coffee"))
        .route("/socket.io.txt", get(async || "beside"))
        .layer(server.layer())
        .into_make_service_with_connect_info::<SocketAddr>();
    let (listener, address) = listening().await;
    tokio::spawn(axum::serve(listener, app).into_future());
    let mut client = Client::open(address).await;
    client.enter("/", json!({})).await.expect("it is let in");
    assert_eq!(status(address, "/menu").await, (200, "coffee".into()));
    assert_eq!(status(address, "/socket.io.txt").await, (200, "beside".into()));
    assert_eq!(status(address, "/healthz").await.0, 404, "the application has its own");
    assert_eq!(status(address, "/own").await.0, 404);
}

#[tokio::test]
async fn a_connection_may_be_of_any_kind() {
    let server = built(Config::default());
    let peer: SocketAddr = "192.0.2.7:4711".parse().expect("an address");
    let (client, accepted) = tokio::io::duplex(4096);
    tokio::spawn(server.clone().serve_connection(accepted, peer));
    let request = "ws://in.memory/socket.io/?EIO=4&transport=websocket";
    let opened = tokio_tungstenite::client_async(request, client);
    let (stream, _) = within("a handshake", opened).await.expect("a websocket");
    let mut websocket = WebSocket { stream };
    assert!(websocket.hears().await.starts_with("0{"));
    websocket.say("40").await;
    assert!(websocket.hears().await.starts_with("40{"));
    websocket.say(r#"420["where"]"#).await;
    assert_eq!(websocket.hears().await, r#"430["192.0.2.7"]"#);
    // A connection that ends takes its socket with it.
    drop(websocket);
    until("the socket has left", async || server.socket_count() == 0).await;
}

/// A certificate for this machine, made by openssl.
fn certificate(dir: &Path) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=test", "-keyout"])
        .args([key.as_os_str(), "-out".as_ref(), cert.as_os_str()])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
    let cert = CertificateDer::from_pem_file(cert).expect("a certificate");
    (cert, PrivateKeyDer::from_pem_file(key).expect("a key"))
}

#[tokio::test]
async fn a_port_speaks_tls_as_the_program_has_configured_it() {
    let dir = std::env::temp_dir().join(format!("switchboard-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let (cert, key) = certificate(&dir);
    std::fs::remove_dir_all(&dir).expect("it is ours");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they are safe")
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .expect("they fit");
    // HTTP/2 would be the death of websockets.
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // In each answer to a first request.
    let says = async |opening: Opening| [("x-secure", opening.is_secure().to_string())];
    let builder = Switchboard::builder().tls(&tls).allow_request(says);
    let server = builder.gateway(gateway()).build().expect("built");
    let bound = server.bind("127.0.0.1:0").await.expect("a free port");
    let address = bound.local_addr();
    tokio::spawn(bound.serve(std::future::pending()));
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true);
    let client = client.build().expect("a client");
    let asked = client.get(format!("https://{address}/healthz")).send();
    let response = within("an answer", asked).await.expect("HTTP");
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_11));
    let opened = within("an answer", client.get(format!("https://{address}{HANDSHAKE}")).send());
    assert_eq!(opened.await.expect("HTTP").headers()["x-secure"], "true");
    server.reload(&Config::default()).expect("nothing to read");
    assert!(
        within("an answer", client.get(format!("http://{address}/healthz")).send()).await.is_err(),
        "without TLS nothing is said"
    );
}

#[tokio::test]
async fn nobody_is_let_in_before_the_cluster_is_joined() {
    let mut redis = RedisServer::start().await;
    let mut config = Config::default();
    config.redis.url = Some(SecretUrl::new(format!("redis://127.0.0.1:{}", redis.port)));
    redis.kill();
    let server = built(config);
    assert!(server.join().await.is_err(), "there is no Redis");
    let address = by_hyper(server.clone(), true).await;
    let (refused, why) = status(address, HANDSHAKE).await;
    assert_eq!((refused, why.contains("Server is starting")), (503, true), "{why}");
    assert_eq!(status(address, "/readyz").await.0, 503);
    assert_eq!(status(address, "/own").await.0, 200, "what needs no cluster is served");
    redis.restart().await;
    until("it is let in", async || status(address, HANDSHAKE).await.0 == 200).await;
    until("it is ready", async || status(address, "/readyz").await.0 == 200).await;
    server.close().await;
}

#[tokio::test]
async fn polls_reach_a_mounted_node_through_another_one() {
    let cluster = switchboard::server::LocalCluster::default();
    let node = || {
        let builder = Switchboard::builder().cluster(&cluster).gateway(gateway());
        builder.build().expect("it can be built")
    };
    let (one, two) = (node(), node());
    let addresses = [by_hyper(one.clone(), true).await, by_hyper(two.clone(), true).await];
    one.advertise(addresses[0], false);
    two.advertise(addresses[1], false);
    until("both are in the cluster", async || status(addresses[0], HANDSHAKE).await.0 == 200).await;
    let (_, open) = status(addresses[0], HANDSHAKE).await;
    let open: Value = serde_json::from_str(&open[1..]).expect("OPEN");
    let id = open["sid"].as_str().expect("an id");
    let path = format!("{HANDSHAKE}&sid={id}");
    // The first node may not have been found yet; then the session is unknown there.
    let http = reqwest::Client::new();
    until("the other node finds it", async || {
        let posted = http.post(format!("http://{}{path}", addresses[1])).body("40").send();
        within("an answer", posted).await.expect("HTTP").status() == 200
    })
    .await;
    let (polled, connected) = status(addresses[1], &path).await;
    assert_eq!((polled, &connected[..3]), (200, "40{"));
    assert_eq!((one.socket_count(), two.socket_count()), (1, 0));
}

#[tokio::test]
async fn a_mounted_server_drains() {
    let mut config = Config::default();
    config.drain.grace = Duration::ZERO;
    config.drain.spread = Duration::ZERO;
    let server = built(config);
    let address = by_hyper(server.clone(), true).await;
    let mut client = Client::open(address).await;
    client.enter("/", json!({})).await.expect("it is let in");
    within("the drain", server.drain()).await.expect("in time");
    assert_eq!(server.socket_count(), 0);
    let (refused, why) = status(address, HANDSHAKE).await;
    assert_eq!((refused, why.contains("going away")), (503, true), "{why}");
    assert_eq!(status(address, "/readyz").await.0, 503);
    server.close().await;
}

/// What the tests above rely on: the service is one for bodies of axum as well.
#[tokio::test]
async fn a_service_takes_requests_that_no_connection_brought() {
    let mut service = built(Config::default()).into_service();
    let request = Request::get(HANDSHAKE).body(Body::empty()).expect("a request");
    let Ok::<_, Infallible>(response) = service.call(request).await;
    assert_eq!(response.status(), 200);
    let websocket = Request::get("/socket.io/?EIO=4&transport=websocket")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let request = websocket.body(Body::empty()).expect("a request");
    let Ok::<_, Infallible>(response) = service.call(request).await;
    assert_eq!(response.status(), 101, "nothing comes of it, and nothing breaks");
}

/// What stands before it may speak TLS, which only the program knows.
#[tokio::test]
async fn a_mounted_server_says_whether_its_clients_speak_tls() {
    for secure in [false, true] {
        let gateway =
            Gateway::new("/").on("secure", async |handshake: Handshake| handshake.is_secure());
        let server = Switchboard::builder().secure(secure).gateway(gateway).build().expect("built");
        let mut client = Client::open(by_hyper(server, true).await).await;
        client.enter("/", json!({})).await.expect("it is let in");
        assert_eq!(client.ask("secure", json!(null)).await, secure);
    }
}
