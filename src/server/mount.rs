//! A server without a port of its own: as a tower service or layer in a server of the program, or
//! on connections that the program has accepted.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Once,
        atomic::Ordering::{AcqRel, Acquire},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_layer::Layer;
use tower_service::Service;

use super::{ServeError, Switchboard};
use crate::{
    edge::{Site, serve_stream},
    future::BoxFuture,
    sockets::adapter::Adapter,
};

/// The pause after a cluster could not be joined.
const JOIN_AGAIN: Duration = Duration::from_secs(1);

/// The address of a client that the program's server has not told.
const UNKNOWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A layer of tower that answers what is below the Socket.IO path; see [`Switchboard::layer`].
///
/// ```
/// use axum::{Router, routing::get};
/// use switchboard::{Switchboard, server::Mount};
///
/// fn app(server: &Switchboard) -> Router {
///     let socket_io: Mount = server.layer();
///     Router::new().route("/orders", get(async || "none yet")).layer(socket_io)
/// }
/// ```
#[derive(Clone)]
pub struct Mount(Switchboard);

/// A service of tower that answers what is below the Socket.IO path, and hands on everything else;
/// see [`Switchboard::into_service`].
///
/// ```
/// use axum::Router;
/// use switchboard::{Gateway, Switchboard, server::Mounted};
/// use tower_service::Service as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
/// let mut service: Mounted = server.into_service();
/// let request = http::Request::get("/healthz").body(axum::body::Body::empty())?;
/// assert_eq!(service.call(request).await?.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Mounted<S = Router> {
    server: Switchboard,
    other: S,
}

impl Switchboard {
    /// The server as a service of tower, for hyper or for a router of axum. It answers the
    /// Socket.IO path, `/healthz`, `/readyz` and the [routes](super::Builder::routes) of the builder.
    ///
    /// What is as with [`bind`](Self::bind): sessions and their limits, slow websockets, drain, the
    /// memory that waits, and the hop between nodes. What the program's server does instead, because
    /// it has the connections:
    ///
    /// - **The address of a client** is the `ConnectInfo<SocketAddr>` among the request's
    ///   extensions, as `into_make_service_with_connect_info` of axum puts it there, and from there
    ///   on `X-Forwarded-For` of `edge.trusted_proxies`. Without it all clients have the address
    ///   `0.0.0.0`, and share the limits for one address; the log says so once.
    /// - **TLS, the PROXY protocol, and the time for a request's head** are its own. `tls`,
    ///   `edge.handshake_timeout` and `workers` of the configuration do nothing. A head over 16 kB
    ///   or 256 lines is refused, as elsewhere.
    /// - **Answers to polls that are not read.** A large answer is handed over in pieces, and given up as
    ///   `edge.stall_timeout` and `edge.min_read_rate` say. But what the server's connection has
    ///   taken (hyper: up to 400 kB) counts as read. So a polling client that vanishes with such an
    ///   answer is noticed by its silence, after `engine.ping_interval` and `ping_timeout`, and what
    ///   the server holds for it is the server's to let go.
    /// - **`TCP_NODELAY`** should be set by it: axum does so by `ListenerExt::tap_io`.
    ///
    /// Websockets need HTTP/1.1. The path is that of the configuration, so the service is not to be
    /// nested below another one where several nodes are to reach each other.
    ///
    /// Has to be called within a runtime. A node of a cluster [joins](Self::join) it now, again and
    /// again until that succeeds, and refuses new sessions with 503 until then.
    ///
    /// ```no_run
    /// use std::net::SocketAddr;
    /// use axum::{Router, routing::get};
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.join().await?;
    /// let app = Router::new()
    ///     .route("/orders", get(async || "none yet"))
    ///     .fallback_service(server.clone().into_service())
    ///     .into_make_service_with_connect_info::<SocketAddr>();
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// # async fn asked_to_stop() {}
    /// let draining = server.clone();
    /// axum::serve(listener, app)
    ///     .with_graceful_shutdown(async move {
    ///         asked_to_stop().await;
    ///         // On an error what is left is cut with the process.
    ///         _ = draining.drain().await;
    ///     })
    ///     .await?;
    /// server.close().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_service(self) -> Mounted {
        let other = self.0.routes.clone();
        self.layer().layer(other)
    }

    /// A layer of tower: what is below the Socket.IO path is answered by the server, everything else
    /// by the service within. [`health`](Self::health) has `/healthz` and `/readyz`. All else is as
    /// with [`into_service`](Self::into_service).
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let app: Router = Router::new()
    ///     .route("/orders", get(async || "none yet"))
    ///     .merge(server.health())
    ///     .layer(server.layer());
    /// # _ = app;
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer(&self) -> Mount {
        self.join_soon();
        Mount(self.clone())
    }

    /// `/healthz` and `/readyz`, for a router of the program.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let app = axum::Router::new().nest("/internal", server.health());
    /// # _ = app;
    /// # Ok(())
    /// # }
    /// ```
    pub fn health(&self) -> Router {
        self.0.health.clone()
    }

    /// Serves a connection that the program has accepted, by a listener of its own: TLS of any kind,
    /// a Unix socket, a pipe in memory. All that is done for a connection of
    /// [`bind`](Self::bind) is done for this one, but for the PROXY protocol and TLS. `peer` is the
    /// address of the client, or of the proxy before it.
    ///
    /// Ends with the connection, or when the websocket has taken it over. The rest is as with
    /// [`into_service`](Self::into_service).
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let (mut client, accepted) = tokio::io::duplex(1024);
    /// tokio::spawn(server.clone().serve_connection(accepted, "192.0.2.7:4711".parse()?));
    /// client.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer).await?;
    /// assert!(answer.starts_with("HTTP/1.1 200 OK"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve_connection<S>(self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.join_soon();
        let stop = self.0.node.stop.clone();
        serve_stream(Box::new(stream), peer, self.site(), stop).await;
    }

    /// Joins the cluster, as [`bind`](Self::bind) does, and returns when that is done. A node that
    /// stands alone has nothing to join.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.join().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If Redis cannot be reached. It may be called again then.
    pub async fn join(&self) -> Result<(), ServeError> {
        self.join_cluster().await?;
        if let Some(admin_ui) = &self.0.admin_ui {
            admin_ui.start();
        }
        Ok(())
    }

    /// Says where the server of the program listens, so that the other nodes find this one and
    /// clients may poll on any of them. `tls`: whether TLS is spoken there. With
    /// `edge.advertise` that address is told instead.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// server.advertise(listener.local_addr()?, false);
    /// # Ok(())
    /// # }
    /// ```
    pub fn advertise(&self, listens: SocketAddr, tls: bool) {
        let (server, stop) = (self.clone(), self.0.node.stop.clone());
        let publish = async move { server.publish_address(listens, tls).await };
        self.0.node.tasks.spawn(stop.run_until_cancelled_owned(publish));
    }

    /// Ends what is left of the server after [`drain`](Self::drain), however that went: leaves the
    /// cluster, ends the server's tasks, exports the last spans.
    /// [`Bound::serve`](super::Bound::serve) does this by itself.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// server.close().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) {
        // A second leave changes nothing.
        self.leave_cluster().await;
        self.0.node.stop.cancel();
        self.0.node.tracer().shutdown().await;
    }

    /// Joins the cluster in the background, unless the program has seen to it.
    fn join_soon(&self) {
        if self.0.is_mounted.load(Acquire) || self.0.is_mounted.swap(true, AcqRel) {
            return;
        }
        let (server, stop) = (self.clone(), self.0.node.stop.clone());
        self.0.node.tasks.spawn(stop.run_until_cancelled_owned(async move {
            while let Err(error) = server.join().await {
                tracing::warn!(%error, "the cluster cannot be joined; nobody is let in until then");
                tokio::time::sleep(JOIN_AGAIN).await;
            }
        }));
    }

    pub(super) fn site(&self) -> Site<Adapter> {
        Site { edge: self.0.edge.clone(), other: self.0.routes.clone() }
    }
}

impl<S> Layer<S> for Mount {
    type Service = Mounted<S>;

    fn layer(&self, other: S) -> Mounted<S> {
        Mounted { server: self.0.clone(), other }
    }
}

impl<S, B, R> Service<Request<B>> for Mounted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.other.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let edge = &self.server.0.edge;
        if edge.owns(request.uri().path()) {
            let peer = peer(&request);
            let answer = edge.clone().handle_mounted(request.map(Body::new), peer);
            return Box::pin(async move { Ok(answer.await) });
        }
        let answer = self.other.call(request);
        Box::pin(async move { Ok(answer.await?.map(Body::new)) })
    }
}

/// The other end of the connection.
fn peer<B>(request: &Request<B>) -> SocketAddr {
    static SAID: Once = Once::new();
    match request.extensions().get() {
        Some(ConnectInfo(peer)) => *peer,
        None => {
            SAID.call_once(|| {
                tracing::warn!(
                    "requests come without ConnectInfo<SocketAddr>: all clients have the same \
                     address, and share its limits"
                );
            });
            UNKNOWN
        }
    }
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mount").field("node", self.0.node()).finish()
    }
}

impl<S> std::fmt::Debug for Mounted<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mounted").field("node", self.server.node()).finish_non_exhaustive()
    }
}
