//! A server with an edge, and clients that speak the protocol byte by byte.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use socketioxide::{
    ParserConfig, SocketIo,
    adapter::Adapter,
    extract::{Data, SocketRef},
    handler::ConnectHandler,
    socket::DisconnectReason,
};
use socketioxide_core::Sid;
use std::sync::Arc;
pub(super) use test_kit::{
    waiting::{eventually, within},
    websocket::WebSocket,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::{Edge, EdgeOptions, Site, Transports, serve_connection};

/// What the server's handlers have seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Connect(Sid),
    Disconnect(Sid, String),
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) io: SocketIo,
    pub(super) transports: Transports,
    pub(super) edge: Arc<Edge<socketioxide::adapter::LocalAdapter>>,
    seen: UnboundedReceiver<Seen>,
    _stop: DropGuard,
}

/// What reads the requests.
#[derive(Clone, Copy)]
enum Front {
    Own,
    Foreign,
}

/// Serves a connection as a program does that uses hyper and knows nothing of ours.
async fn foreign<A: Adapter>(stream: TcpStream, peer: SocketAddr, edge: Arc<Edge<A>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let edge = Arc::clone(&edge);
        async move { Ok::<_, Infallible>(edge.handle_mounted(request, peer).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // It fails when its client leaves.
    connection.with_upgrades().await.ok();
}

/// Heartbeats that no test meets by accident.
pub(super) fn options() -> EdgeOptions {
    EdgeOptions {
        node_id: "n1".into(),
        secrets: vec![b"secret".to_vec()],
        ping_interval: Duration::from_secs(300),
        ping_timeout: Duration::from_secs(200),
        ..EdgeOptions::default()
    }
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(options(), false).await
    }

    pub(super) async fn with(options: EdgeOptions, msgpack: bool) -> Self {
        Self::in_front(options, msgpack, Front::Own).await
    }

    /// Mounted in a server of hyper that the edge knows nothing of.
    pub(super) async fn mounted(options: EdgeOptions) -> Self {
        Self::in_front(options, false, Front::Foreign).await
    }

    async fn in_front(options: EdgeOptions, msgpack: bool, front: Front) -> Self {
        let (tell, seen) = unbounded_channel();
        let transports = Transports::default();
        let builder = SocketIo::builder()
            .req_path("/socket.io")
            .ping_interval(options.ping_interval)
            .ping_timeout(options.ping_timeout)
            .max_payload(options.max_payload)
            .ws_max_message_size(options.max_payload as usize)
            .ws_max_frame_size(options.max_payload as usize)
            .max_buffer_size(100_000);
        let builder = if msgpack { builder.with_parser(ParserConfig::msgpack()) } else { builder };
        let (service, io) = builder.build_svc();
        io.ns("/", async move |socket: SocketRef| {
            let gone = tell.clone();
            socket.on_disconnect(async move |socket: SocketRef, reason: DisconnectReason| {
                gone.send(Seen::Disconnect(socket.id, format!("{reason:?}"))).ok();
            });
            socket.on("echo", async |socket: SocketRef, Data::<Value>(data)| {
                socket.emit("echo", &data).ok();
            });
            socket.on("binary", async |socket: SocketRef, Data::<Bytes>(data)| {
                socket.emit("binary", &data).ok();
            });
            // the handlers are there: from now on the client may speak
            tell.send(Seen::Connect(socket.id)).ok();
        });
        let refusing = transports.clone();
        let refuse = async move |socket: SocketRef| {
            refusing.refuse_with(socket.id, "/closed", json!({ "code": "forbidden" }));
            Err::<(), _>("forbidden: nobody may")
        };
        io.ns("/closed", (async |_: SocketRef| {}).with(refuse));
        io.ns("/shut", (async |_: SocketRef| {}).with(async |_: SocketRef| Err::<(), _>("shut")));

        let edge = Edge::new(options, service, transports.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let other = Router::new().route("/healthz", get(|| async { "fine" }));
        let (accepting, stopped) = (Arc::clone(&edge), stop.clone());
        tokio::spawn(async move {
            while let Some(Ok((stream, peer))) =
                stopped.run_until_cancelled(listener.accept()).await
            {
                let (edge, other, stop) = (Arc::clone(&accepting), other.clone(), stopped.clone());
                match front {
                    Front::Own => {
                        let site = Site { edge, other };
                        tokio::spawn(serve_connection(stream, peer, site, None, stop));
                    }
                    Front::Foreign => drop(tokio::spawn(foreign(stream, peer, edge))),
                }
            }
        });
        Self { address, io, transports, edge, seen, _stop: stop.drop_guard() }
    }

    pub(super) async fn sees(&mut self) -> Seen {
        within("anything at the server", self.seen.recv()).await.expect("the server is there")
    }

    pub(super) async fn sees_connect(&mut self) -> Sid {
        match self.sees().await {
            Seen::Connect(sid) => sid,
            other @ Seen::Disconnect(..) => panic!("no connect but {other:?}"),
        }
    }

    pub(super) async fn sees_disconnect(&mut self, sid: Sid) {
        match self.sees().await {
            Seen::Disconnect(gone, _) => assert_eq!(gone, sid),
            other @ Seen::Connect(_) => panic!("no disconnect but {other:?}"),
        }
    }

    /// Nothing of what was seen is left to be looked at.
    pub(super) fn saw_nothing_else(&mut self) {
        assert!(self.seen.try_recv().is_err());
    }

    /// A poller whose socket is in the main namespace.
    pub(super) async fn polls(&mut self) -> (Poller, Sid) {
        let poller = Poller::open(self.address).await;
        assert_eq!(poller.post("40").await, (200, "ok".into()));
        let (status, body) = poller.poll().await;
        assert_eq!(status, 200);
        assert!(body.starts_with("40{"), "{body}");
        let sid = self.sees_connect().await;
        (poller, sid)
    }

    /// A websocket whose socket is in the main namespace.
    pub(super) async fn websocket(&mut self) -> (WebSocket, Sid) {
        let mut ws = WebSocket::open(self.address).await;
        ws.say("40").await;
        let connected = ws.hears().await;
        assert!(connected.starts_with("40{"), "{connected}");
        let sid = self.sees_connect().await;
        (ws, sid)
    }
}

pub(super) fn url(address: SocketAddr, query: &str) -> String {
    format!("http://{address}/socket.io/?{query}")
}

/// An Engine.IO 4 client that polls.
#[derive(Clone)]
pub(super) struct Poller {
    pub(super) http: reqwest::Client,
    pub(super) address: SocketAddr,
    pub(super) id: String,
    pub(super) version: u8,
}

impl Poller {
    pub(super) async fn open(address: SocketAddr) -> Self {
        let http = reqwest::Client::new();
        let (status, body) = request(http.get(url(address, "EIO=4&transport=polling"))).await;
        assert_eq!(status, 200, "{body}");
        let open: Value = serde_json::from_str(&body[1..]).expect("an OPEN packet");
        let id = open["sid"].as_str().expect("an id").to_owned();
        Self { http, address, id, version: 4 }
    }

    pub(super) fn url(&self) -> String {
        let Self { address, id, version, .. } = self;
        url(*address, &format!("EIO={version}&transport=polling&sid={id}"))
    }

    pub(super) async fn poll(&self) -> (u16, String) {
        request(self.http.get(self.url())).await
    }

    pub(super) async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        request(self.http.post(self.url()).body(body)).await
    }

    /// The session answers as it should, whatever was done to it.
    pub(super) async fn is_well(&self) {
        assert_eq!(self.post(r#"42["echo","well"]"#).await, (200, "ok".into()));
        assert_eq!(self.poll().await, (200, r#"42["echo","well"]"#.into()));
    }

    /// A poll that is waiting at the server when this returns.
    pub(super) async fn poll_on_own_connection(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        let Self { id, version, .. } = self;
        let request = format!(
            "GET /socket.io/?EIO={version}&transport=polling&sid={id} HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream
    }

    pub(super) async fn probe(&self) -> WebSocket {
        let Self { address, id, version, .. } = self;
        WebSocket::at(*address, &format!("EIO={version}&transport=websocket&sid={id}")).await
    }
}

pub(super) async fn request(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = within("a response", request.send()).await.expect("a response");
    let status = response.status().as_u16();
    (status, within("a body", response.text()).await.expect("a body"))
}

/// All bytes until the other end closes.
pub(super) async fn rest_of(mut stream: TcpStream) -> String {
    let mut read = Vec::new();
    // a reset ends it as well as a proper end
    within("the end of the stream", stream.read_to_end(&mut read)).await.ok();
    String::from_utf8_lossy(&read).into_owned()
}

/// A websocket to a [`Server`].
pub(super) trait Well {
    /// The session answers as it should, whatever was done to it.
    async fn is_well(&mut self);

    /// Probes for an upgrade, and hears that it may go on.
    async fn probes(&mut self);
}

impl Well for WebSocket {
    async fn is_well(&mut self) {
        self.say(r#"42["echo","well"]"#).await;
        assert_eq!(self.hears().await, r#"42["echo","well"]"#);
    }

    async fn probes(&mut self) {
        self.say("2probe").await;
        assert_eq!(self.hears().await, "3probe");
    }
}
