//! What a delivery costs at the least on this runtime and with these crates: tokio, tungstenite, and
//! nothing of Socket.IO but the few packets that the benchmark's clients need.
//!
//! One thread. An emit is encoded once, as a whole websocket frame, and each receiver's connection
//! writes those bytes; packets that are there together leave in one write. There are no rooms to
//! leave, no heartbeats, no limits and no errors. Nobody should build a server like this; it is the
//! yardstick for one that does all that.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use bench_support::result::Result;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncWriteExt, join, sink},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

/// The argument that makes this program the server.
pub(crate) const ARGUMENT: &str = "serve-floor";

const OPEN: &str = r#"0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

/// Who gets what is emitted to a room. A user's room is `user:<id>`, as everywhere.
type Rooms = Rc<RefCell<HashMap<String, Vec<UnboundedSender<Bytes>>>>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auth {
    user_id: String,
    #[serde(default)]
    room: Option<String>,
}

/// The argument of `room:emit` and `user:emit`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Emit<'a> {
    #[serde(default)]
    room: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
    event: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A text frame of a server: a header and the payload (RFC 6455, section 5.2).
fn frame(text: &str) -> Bytes {
    let mut frame = BytesMut::with_capacity(text.len() + 10);
    frame.put_u8(0x81);
    match u16::try_from(text.len()) {
        Ok(len @ 0..126) => frame.put_u8(len.to_le_bytes()[0]),
        Ok(len) => {
            frame.put_u8(126);
            frame.put_u16(len);
        }
        Err(_) => {
            frame.put_u8(127);
            frame.put_u64(text.len() as u64);
        }
    }
    frame.put_slice(text.as_bytes());
    frame.freeze()
}

/// Writes what is queued, as much as there is in one go.
async fn write(mut stream: OwnedWriteHalf, mut queue: UnboundedReceiver<Bytes>) {
    let mut together = BytesMut::new();
    while let Some(first) = queue.recv().await {
        let written = match queue.try_recv() {
            Err(_) => stream.write_all(&first).await,
            Ok(second) => {
                together.clear();
                together.extend_from_slice(&first);
                together.extend_from_slice(&second);
                while let Ok(next) = queue.try_recv() {
                    together.extend_from_slice(&next);
                }
                stream.write_all(&together).await
            }
        };
        if written.is_err() {
            return;
        }
    }
}

struct Client {
    rooms: Rooms,
    queue: UnboundedSender<Bytes>,
    user: String,
}

impl Client {
    fn say(&self, text: &str) {
        // A connection that has ended hears nothing.
        let _ = self.queue.send(frame(text));
    }

    fn emit(&self, room: &str, text: &str) {
        let frame = frame(text);
        for queue in self.rooms.borrow().get(room).into_iter().flatten() {
            let _ = queue.send(frame.clone());
        }
    }

    fn join(&self, room: String) {
        self.rooms.borrow_mut().entry(room).or_default().push(self.queue.clone());
    }

    /// One packet of the benchmark's clients.
    fn packet(&mut self, packet: &str) -> Result<()> {
        if let Some(auth) = packet.strip_prefix("40") {
            let Auth { user_id, room } = serde_json::from_str(auth)?;
            self.user = format!("user:{user_id}");
            self.join(self.user.clone());
            room.into_iter().for_each(|room| self.join(room));
            self.say(r#"40{"sid":"floor"}"#);
            return Ok(());
        }
        let event = packet.strip_prefix("42").ok_or("not an event")?;
        let start = event.find('[').ok_or("not an event")?;
        let (ack, event) = event.split_at(start);
        let (name, argument): (&str, &RawValue) = serde_json::from_str(event)?;
        match name {
            "echo" => {}
            "events" => self.emit(&self.user, &format!(r#"42["events",{}]"#, argument.get())),
            "room:emit" | "user:emit" => {
                let Emit { room, user_id, event, data } = serde_json::from_str(argument.get())?;
                let room = room.or_else(|| user_id.map(|user| format!("user:{user}")));
                let room = room.ok_or("to nobody")?;
                self.emit(&room, &format!(r#"42["{event}",{}]"#, data.get()));
            }
            other => return Err(format!("unknown event {other}").into()),
        }
        if !ack.is_empty() {
            self.say(&format!("43{ack}[{}]", argument.get()));
        }
        Ok(())
    }
}

async fn serve_client(stream: TcpStream, rooms: Rooms) -> Result<()> {
    stream.set_nodelay(true)?;
    // An idle connection is measured as well: no more than its packets need.
    let config = Some(WebSocketConfig::default().read_buffer_size(512));
    let stream = tokio_tungstenite::accept_async_with_config(stream, config).await?.into_inner();
    let (read, write_half) = stream.into_split();
    let (queue, queued) = unbounded_channel();
    tokio::task::spawn_local(write(write_half, queued));
    let mut client = Client { rooms, queue, user: String::new() };
    client.say(OPEN);
    // What is read goes through tungstenite; what is written does not.
    let mut messages =
        WebSocketStream::from_raw_socket(join(read, sink()), Role::Server, config).await;
    while let Some(Ok(Message::Text(text))) = messages.next().await {
        client.packet(text.as_str())?;
    }
    Ok(())
}

/// Serves on `PORT` until the process is killed.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve() -> Result<()> {
    let port: u16 = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let rooms = Rooms::default();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            let rooms = rooms.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = serve_client(stream, rooms).await {
                    eprintln!("floor: {error}");
                }
            });
        }
    };
    tokio::task::LocalSet::new().run_until(accept).await
}
