//! A connection: a task that reads packets and writes what is queued, in one of two ways.
//!
//! [`Message`]: tungstenite makes the frames and buffers them. [`Bytes`]: the whole frame is encoded
//! once for all, and a second task writes those bytes to the stream, past tungstenite.

use std::rc::Rc;

use bench_support::result::Result;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncWriteExt, join, sink},
    net::{TcpStream, tcp::OwnedWriteHalf},
    select,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::rooms::{Client, Packet, Server};

const OPEN: &str = r#"0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

/// How a connection writes what is queued.
pub(crate) trait Write: Packet {
    async fn run(
        stream: WebSocketStream<TcpStream>,
        queued: UnboundedReceiver<Self>,
        client: Client<Self>,
    ) -> Result<()>;
}

/// An idle connection is measured as well: no more than its packets need.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(512)
}

pub(crate) async fn serve<P: Write>(stream: TcpStream, server: Rc<Server<P>>) -> Result<()> {
    stream.set_nodelay(true)?;
    // Whoever waits for the server to listen says nothing.
    let Ok(stream) = tokio_tungstenite::accept_async_with_config(stream, Some(config())).await
    else {
        return Ok(());
    };
    let (queue, queued) = unbounded_channel();
    let client = Client::new(server, queue);
    client.say(OPEN);
    P::run(stream, queued, client).await
}

impl Packet for Message {
    fn encode(text: &str) -> Self {
        Self::text(text)
    }
}

impl Write for Message {
    async fn run(
        mut stream: WebSocketStream<TcpStream>,
        mut queued: UnboundedReceiver<Self>,
        mut client: Client<Self>,
    ) -> Result<()> {
        loop {
            select! {
                message = stream.next() => match message {
                    Some(Ok(Self::Text(text))) => client.packet(text.as_str()).await?,
                    _ => return Ok(()),
                },
                Some(first) = queued.recv() => {
                    stream.feed(first).await?;
                    while let Ok(next) = queued.try_recv() {
                        stream.feed(next).await?;
                    }
                    stream.flush().await?;
                }
            }
        }
    }
}

impl Packet for Bytes {
    /// A text frame of a server: a header and the payload (RFC 6455, section 5.2).
    fn encode(text: &str) -> Self {
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
}

impl Write for Bytes {
    async fn run(
        stream: WebSocketStream<TcpStream>,
        queued: UnboundedReceiver<Self>,
        mut client: Client<Self>,
    ) -> Result<()> {
        let (read, write_half) = stream.into_inner().into_split();
        tokio::task::spawn_local(write(write_half, queued));
        // What is read goes through tungstenite; what is written does not.
        let reads = join(read, sink());
        let mut messages =
            WebSocketStream::from_raw_socket(reads, Role::Server, Some(config())).await;
        while let Some(Ok(Message::Text(text))) = messages.next().await {
            client.packet(text.as_str()).await?;
        }
        Ok(())
    }
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
