//! A network that delivers everything in pieces of 1 to 7 bytes.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    super::frames,
    support::{Poller, Server, WebSocket, Well as _, within},
};

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut chunk = [0; 4096];
    let mut piece = 0;
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        let mut rest = &chunk[..n];
        while !rest.is_empty() {
            piece = piece % 7 + 1;
            let (now, later) = rest.split_at(piece.min(rest.len()));
            if to.write_all(now).await.is_err() {
                return;
            }
            rest = later;
            tokio::task::yield_now().await; // lets the other end see this piece alone
        }
    }
    to.shutdown().await.ok();
}

async fn proxy(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(target).await.expect("connected");
            client.set_nodelay(true).expect("set");
            server.set_nodelay(true).expect("set");
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(copy(from_client, to_server));
            tokio::spawn(copy(from_server, to_client));
        }
    });
    address
}

#[tokio::test]
async fn a_websocket_works_in_pieces() {
    let mut server = Server::start().await;
    let mut ws = WebSocket::open(proxy(server.address).await).await;
    ws.say("40/closed,").await;
    assert!(ws.hears().await.contains(r#""data":{"code":"forbidden"}"#));
    ws.say("40").await;
    assert!(ws.hears().await.starts_with("40{"));
    server.sees_connect().await;
    for len in [0, 1, 125, 126, 127, 70_000] {
        let text = format!(r#"42["echo","{}"]"#, "x".repeat(len));
        ws.say(&text).await;
        assert_eq!(ws.hears().await, text);
    }
    ws.say(r#"451-["binary",{"_placeholder":true,"num":0}]"#).await;
    ws.send(Message::binary(vec![7; 300])).await;
    ws.hears().await;
    assert_eq!(ws.next().await, Some(Message::binary(vec![7; 300])));
}

#[tokio::test]
async fn polling_and_an_upgrade_work_in_pieces() {
    let mut server = Server::start().await;
    let poller = Poller::open(proxy(server.address).await).await;
    assert_eq!(poller.post("40").await.0, 200);
    assert!(poller.poll().await.1.starts_with("40{"));
    server.sees_connect().await;
    poller.is_well().await;
    let mut ws = poller.probe().await;
    ws.probes().await;
    ws.say("5").await;
    ws.is_well().await;
}

#[tokio::test]
async fn what_comes_in_one_piece_with_the_handshake_is_read_after_it() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let mut bytes = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: a\r\n\
        connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    frames::client_frame(frames::TEXT, b"40", &mut bytes);
    let mut event = Vec::new();
    frames::client_frame(frames::TEXT, br#"42["echo",1]"#, &mut event);
    let (begun, rest) = event.split_at(9);
    bytes.extend_from_slice(begun);
    stream.write_all(&bytes).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("an answer", stream.read_u8()).await.expect("more"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let mut ws = WebSocket::over(stream).await;
    assert!(ws.hears().await.starts_with("0{"));
    while !ws.hears().await.starts_with("40{") {} // a ping may come before
    ws.stream.get_mut().write_all(rest).await.expect("sent");
    assert_eq!(ws.hears().await, r#"42["echo",1]"#);
}
