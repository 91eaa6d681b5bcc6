//! A websocket client that speaks packets of Engine.IO as they are written.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::Role},
};

use crate::waiting::within;

/// The query of a new session.
const NEW: &str = "EIO=4&transport=websocket";

/// The client's end of a websocket.
pub struct WebSocket<S = MaybeTlsStream<TcpStream>> {
    /// The websocket itself.
    pub stream: WebSocketStream<S>,
}

impl WebSocket {
    /// A new session, its OPEN packet read.
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[]).await
    }

    /// The same, with these headers in the request.
    pub async fn open_with(address: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        let asked = Self::ask(address, NEW, headers).await;
        let mut websocket = asked.unwrap_or_else(|refused| panic!("refused: {refused:?}"));
        let open = websocket.hears().await;
        assert!(open.starts_with("0{"), "not OPEN: {open}");
        websocket
    }

    /// What this query asks for.
    pub async fn at(address: SocketAddr, query: &str) -> Self {
        let asked = Self::try_at(address, query).await;
        asked.unwrap_or_else(|refused| panic!("refused: {refused:?}"))
    }

    /// The same, or the status and the body of the refusal.
    ///
    /// # Errors
    /// If the server refuses the websocket.
    pub async fn try_at(address: SocketAddr, query: &str) -> Result<Self, (u16, String)> {
        Self::ask(address, query, &[]).await
    }

    async fn ask(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, String)> {
        let url = format!("ws://{address}/socket.io/?{query}");
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        match within("a handshake", connect_async(request)).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
            }
            Err(error) => panic!("{error}"),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Over a stream on which the handshake is done.
    pub async fn over(stream: S) -> Self {
        Self { stream: WebSocketStream::from_raw_socket(stream, Role::Client, None).await }
    }

    /// Sends a packet.
    pub async fn say(&mut self, packet: &str) {
        self.send(Message::text(packet)).await;
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Message) {
        within("sending", self.stream.send(message)).await.expect("the connection is open");
    }

    /// The next packet, which must be text.
    pub async fn hears(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text.as_str().to_owned(),
            other => panic!("no text but {other:?}"),
        }
    }

    /// The next message; none at the end of the connection.
    pub async fn next(&mut self) -> Option<Message> {
        within("a message", self.stream.next()).await?.ok()
    }

    /// Whatever still comes, it comes to an end.
    pub async fn ends(mut self) {
        within("the end", async { while let Some(Ok(_)) = self.stream.next().await {} }).await;
    }
}
