//! How a client of a test comes in.

use std::{future::IntoFuture, net::SocketAddr};

use http::{HeaderName, HeaderValue, Request, header};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{io::DuplexStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, handshake::client::generate_key},
};

use super::{Client, PATIENCE, Refused};
use crate::{Switchboard, future::BoxFuture};

/// Bytes that wait in the pipe to a client that does not read.
const PIPE: usize = 64 * 1024;

/// A client that is about to connect; see [`Server::connect`](super::Server::connect). Awaited, it
/// connects.
///
/// ```
/// use switchboard::{Authenticate, Gateway, Jwt, Switchboard, testing::Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let secret = "a secret of at least 32 bytes, please";
/// let builder = Switchboard::builder()
///     .global_middleware(Authenticate::required(Jwt::hs256(secret)))
///     .gateway(Gateway::new("/chat"));
/// let server = Server::start(builder).await;
/// let refused = server.connect().namespace("/chat").token("nonsense").await.unwrap_err();
/// assert!(refused.message.starts_with("unauthorized"));
/// # }
/// ```
#[must_use = "it connects when it is awaited"]
pub struct Connecting {
    server: Switchboard,
    peer: SocketAddr,
    namespace: String,
    auth: Option<Value>,
    query: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) answers_pings: bool,
}

impl Connecting {
    pub(super) fn to(server: Switchboard, peer: SocketAddr) -> Self {
        Self {
            server,
            peer,
            namespace: "/".into(),
            auth: None,
            query: String::new(),
            headers: Vec::new(),
            answers_pings: true,
        }
    }

    /// Another namespace than `/`.
    ///
    /// ```
    /// use switchboard::testing::{Client, Refused, Server};
    ///
    /// async fn enters(server: &Server) -> Result<Client, Refused> {
    ///     server.connect().namespace("/chat").await
    /// }
    /// ```
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// The payload of CONNECT: `auth` of the official client.
    ///
    /// ```
    /// use switchboard::testing::{Client, Refused, Server};
    ///
    /// async fn enters(server: &Server) -> Result<Client, Refused> {
    ///     server.connect().auth(&serde_json::json!({ "name": "ada" })).await
    /// }
    /// ```
    ///
    /// # Panics
    /// If it is no JSON.
    pub fn auth<T: Serialize + ?Sized>(mut self, auth: &T) -> Self {
        self.auth = Some(serde_json::to_value(auth).expect("auth can be JSON"));
        self
    }

    /// The token, as `auth.token`.
    ///
    /// ```
    /// use switchboard::testing::{Client, Refused, Server};
    ///
    /// async fn enters(server: &Server) -> Result<Client, Refused> {
    ///     server.connect().token("a.b.c").await
    /// }
    /// ```
    pub fn token(self, token: &str) -> Self {
        self.auth(&json!({ "token": token }))
    }

    /// A parameter of the request that opens the connection.
    ///
    /// ```
    /// use switchboard::testing::{Client, Refused, Server};
    ///
    /// async fn enters(server: &Server) -> Result<Client, Refused> {
    ///     server.connect().query("seat", "7").await
    /// }
    /// ```
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        encoded.append_pair(name, value);
        self.query.push('&');
        self.query.push_str(&encoded.finish());
        self
    }

    /// A header of that request.
    ///
    /// ```
    /// use switchboard::testing::{Client, Refused, Server};
    ///
    /// async fn enters(server: &Server) -> Result<Client, Refused> {
    ///     server.connect().header("accept-language", "en").await
    /// }
    /// ```
    ///
    /// # Panics
    /// If it is none.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = name.parse().expect("the name of a header");
        self.headers.push((name, value.parse().expect("the value of a header")));
        self
    }

    /// The address of the client.
    ///
    /// ```
    /// use switchboard::testing::{Client, Refused, Server};
    ///
    /// async fn enters(server: &Server) -> Result<Client, Refused> {
    ///     server.connect().from("198.51.100.7:4711".parse().expect("an address")).await
    /// }
    /// ```
    pub fn from(mut self, peer: SocketAddr) -> Self {
        self.peer = peer;
        self
    }

    /// A client that is there and never answers a ping, as one whose network is gone.
    ///
    /// ```
    /// use switchboard::testing::Server;
    ///
    /// async fn is_given_up(server: &Server) {
    ///     let silent = server.connect().without_pongs().await.expect("everybody may enter");
    ///     // After `engine.ping_interval` and `engine.ping_timeout`, which take no time on a paused clock.
    ///     assert_eq!(silent.disconnected().await, "transport close");
    /// }
    /// ```
    pub fn without_pongs(mut self) -> Self {
        self.answers_pings = false;
        self
    }

    async fn open(self) -> Result<Client, Refused> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let path = self.server.config().path.clone();
        tokio::spawn(self.server.clone().serve_connection(theirs, self.peer));
        let mut request =
            Request::get(format!("ws://in.memory{path}?EIO=4&transport=websocket{}", self.query))
                .header(header::HOST, "in.memory")
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_VERSION, "13")
                .header(header::SEC_WEBSOCKET_KEY, generate_key());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(()).map_err(|error| Refused::said(error.to_string()))?;
        let opened = client_async(request, ours).await;
        let (stream, headers): (WebSocketStream<DuplexStream>, _) = match opened {
            Ok((stream, answer)) => (stream, answer.into_parts().0.headers),
            Err(Error::Http(answer)) => {
                let (answer, body) = answer.into_parts();
                let body = body.unwrap_or_default();
                let said = Refused::said(String::from_utf8_lossy(&body).into_owned());
                let (status, headers) = (Some(answer.status.as_u16()), Box::new(answer.headers));
                return Err(Refused { status, headers, ..said });
            }
            Err(error) => return Err(Refused::said(error.to_string())),
        };
        Client::enter(stream, headers, &self.namespace, self.auth.as_ref(), self.answers_pings)
            .await
    }
}

impl IntoFuture for Connecting {
    type Output = Result<Client, Refused>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            timeout(PATIENCE, self.open())
                .await
                .unwrap_or_else(|_| Err(Refused::said("the server does not answer".into())))
        })
    }
}
