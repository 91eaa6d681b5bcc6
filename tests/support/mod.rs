//! A server in this process and a small Socket.IO client, so that tests can tell stories.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses a part of it")]

pub mod admin;

use std::{collections::VecDeque, net::SocketAddr};

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use switchboard::{
    Data, Gateway, Reply, Socket, Switchboard,
    server::{Builder, ServeError},
};
use test_kit::websocket::WebSocket;
pub use test_kit::{
    redis::RedisServer,
    waiting::{DEADLINE, until, within},
};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_tungstenite::tungstenite::Message;

/// A server on a free port of this machine.
pub struct Server {
    pub switchboard: Switchboard,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub async fn start(builder: Builder) -> Self {
        let switchboard = builder.build().expect("the server can be built");
        let bound = switchboard.bind("127.0.0.1:0").await.expect("a free port");
        let address = bound.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(bound.serve(async {
            let _ = stopped.await;
        }));
        Self { switchboard, address, stop: Some(stop), serving }
    }

    /// Drains the server and gives what `serve` returned.
    pub async fn stop(mut self) -> Result<(), ServeError> {
        drop(self.stop.take());
        within("the drain", &mut self.serving).await.expect("serving does not panic")
    }

    pub async fn client(&self) -> Client {
        self.client_with("/", json!({})).await
    }

    pub async fn client_of(&self, user: &str) -> Client {
        self.client_with("/", json!({ "user": user })).await
    }

    pub async fn client_with(&self, namespace: &str, auth: Value) -> Client {
        let (mut client, answer) = self.ask(namespace, auth).await;
        let id = answer.expect("the socket is let in");
        client.id = id;
        client
    }

    /// Asks to be let in; answers with the socket's id, or the payload of CONNECT_ERROR.
    pub async fn ask(&self, namespace: &str, auth: Value) -> (Client, Result<String, Value>) {
        let mut client = Client::open(self.address).await;
        let answer = client.enter(namespace, auth).await;
        (client, answer)
    }
}

/// A client with one namespace.
pub struct Client {
    websocket: WebSocket,
    namespace: String,
    pub id: String,
    heard: VecDeque<(String, Vec<Value>)>,
    acks: VecDeque<(u64, Value)>,
    next_ack: u64,
}

impl Client {
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[]).await
    }

    /// With these headers in the request that opens the connection.
    pub async fn open_with(address: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        Self {
            websocket: WebSocket::open_with(address, headers).await,
            namespace: "/".into(),
            id: String::new(),
            heard: VecDeque::new(),
            acks: VecDeque::new(),
            next_ack: 0,
        }
    }

    /// Connects to a namespace of this connection.
    pub async fn enter(&mut self, namespace: &str, auth: Value) -> Result<String, Value> {
        self.namespace = namespace.into();
        let prefix = self.prefix();
        self.send(format!("40{prefix}{auth}")).await;
        loop {
            let packet = self.packet().await.expect("an answer to CONNECT");
            if let Some(body) = packet.strip_prefix(&format!("40{prefix}")) {
                let body: Value = serde_json::from_str(body).expect("JSON");
                self.id = body["sid"].as_str().expect("an id").to_owned();
                return Ok(self.id.clone());
            }
            if let Some(body) = packet.strip_prefix(&format!("44{prefix}")) {
                return Err(serde_json::from_str(body).expect("JSON"));
            }
            self.keep(&packet);
        }
    }

    fn prefix(&self) -> String {
        if self.namespace == "/" { String::new() } else { format!("{},", self.namespace) }
    }

    pub async fn send(&mut self, packet: impl Into<String>) {
        self.websocket.say(&packet.into()).await;
    }

    pub async fn emit(&mut self, event: &str, data: Value) {
        let prefix = self.prefix();
        self.send(format!("42{prefix}{}", json!([event, data]))).await;
    }

    /// Emits and waits for the acknowledgement; gives its first argument.
    pub async fn ask(&mut self, event: &str, data: Value) -> Value {
        let id = self.emit_asking(event, data).await;
        self.acknowledged(id).await
    }

    /// Emits with an acknowledgement asked for, without waiting for it.
    pub async fn emit_asking(&mut self, event: &str, data: Value) -> u64 {
        let (id, prefix) = (self.next_ack, self.prefix());
        self.next_ack += 1;
        self.send(format!("42{prefix}{id}{}", json!([event, data]))).await;
        id
    }

    pub async fn acknowledged(&mut self, id: u64) -> Value {
        loop {
            if let Some(at) = self.acks.iter().position(|(ack, _)| *ack == id) {
                return self.acks.remove(at).expect("just found").1;
            }
            let packet = self.packet().await.expect("an acknowledgement");
            self.keep(&packet);
        }
    }

    /// Waits for the next event of this name, and gives its first argument. Others stay for later.
    pub async fn hears(&mut self, event: &str) -> Value {
        loop {
            if let Some(at) = self.heard.iter().position(|(name, _)| name == event) {
                let (_, mut arguments) = self.heard.remove(at).expect("just found");
                return if arguments.is_empty() { Value::Null } else { arguments.swap_remove(0) };
            }
            let packet = self.packet().await.unwrap_or_else(|| panic!("waiting for `{event}`"));
            self.keep(&packet);
        }
    }

    /// The events heard up to now, as far as the server had sent them: `marker` is asked for an
    /// acknowledgement, which comes after them.
    pub async fn heard_before(&mut self, marker: &str) -> Vec<(String, Vec<Value>)> {
        self.ask(marker, Value::Null).await;
        self.heard.drain(..).collect()
    }

    /// Waits for the end of the connection.
    pub async fn closed(&mut self) {
        while let Some(packet) = self.packet().await {
            self.keep(&packet);
        }
    }

    /// Waits for DISCONNECT of the namespace.
    pub async fn disconnected(&mut self) {
        let expected = format!("41{}", self.prefix());
        loop {
            let packet = self.packet().await.expect("DISCONNECT");
            if packet == expected {
                return;
            }
            self.keep(&packet);
        }
    }

    /// Leaves without a word, as a crashed client does.
    pub fn vanish(self) {
        drop(self);
    }

    pub async fn close(mut self) {
        let _ = self.websocket.stream.close(None).await;
    }

    /// The next packet; heartbeats are answered on the way. None: the connection has ended.
    pub async fn packet(&mut self) -> Option<String> {
        loop {
            match self.websocket.next().await? {
                Message::Text(text) if text == "2" => {
                    self.websocket.stream.send(Message::text("3")).await.ok()?;
                }
                Message::Text(text) => return Some(text.to_string()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    fn keep(&mut self, packet: &str) {
        let prefix = self.prefix();
        if let Some(event) = packet.strip_prefix(&format!("42{prefix}")) {
            let mut event: Vec<Value> = serde_json::from_str(event).expect("an array");
            let name = event.remove(0).as_str().expect("a name").to_owned();
            self.heard.push_back((name, event));
        } else if let Some(ack) = packet.strip_prefix(&format!("43{prefix}")) {
            let digits = ack.find('[').expect("an array");
            let arguments: Vec<Value> = serde_json::from_str(&ack[digits..]).expect("an array");
            let id = ack[..digits].parse().expect("an id");
            self.acks.push_back((id, arguments.into_iter().next().unwrap_or(Value::Null)));
        }
    }
}

/// A gateway whose clients join and leave rooms, and ask for a marker.
pub fn rooms() -> Gateway {
    Gateway::new("/")
        .on("marker", async || Reply::ack(&()))
        .on("join", async |socket: Socket, Data(room): Data<String>| {
            socket.join(room).await.map(|()| Reply::ack(&true))
        })
        .on("leave", async |socket: Socket, Data(room): Data<String>| {
            socket.leave(&room);
            Reply::ack(&true)
        })
}

/// Who the test's client says that it is: `{user}` in the CONNECT payload.
pub async fn by_name(handshake: switchboard::Handshake) -> Result<(), switchboard::Fault> {
    let auth: Value = handshake.auth()?;
    if let Some(user) = auth["user"].as_str() {
        handshake.set_identity(switchboard::Identity::user(user));
    }
    Ok(())
}
