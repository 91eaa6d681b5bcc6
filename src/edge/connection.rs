//! TCP connections and their protocols: the PROXY protocol of a trusted proxy, TLS, then HTTP.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{Router, body::Body, extract::ConnectInfo};
use futures_util::TryFutureExt;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioTimer;
use socketioxide::adapter::Adapter;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::{
    proxy_protocol,
    reasons::{KillReason, RefuseReason},
    request_line::{BodyLength, Escaping},
    router::Edge,
    tcp::Stream,
    tls::Tls,
    trusted_proxies,
    unread::{Conversation, Impatient},
    upgraded::ForHttp,
};

/// Bytes of a request's head; Node.js allows as many.
pub(super) const LARGEST_HEAD: usize = 16 * 1024;

/// Lines of a request's head. Node.js takes 2000; a session keeps those of its handshake.
pub(super) const MOST_HEADERS: usize = 256;

/// The answer to HTTP/2. A client that speaks it without TLS does not ask before; where the protocol
/// is agreed upon, HTTP/1.1 is.
const NOT_HTTP_2: &str = "HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\n\
                          content-type: text/plain; charset=utf-8\r\ncontent-length: 48\r\n\r\n\
                          HTTP/2 is not spoken here. Please use HTTP/1.1.\n";

/// What answers HTTP: below the path the edge, elsewhere the other routes.
pub(crate) struct Site<A: Adapter> {
    pub(crate) edge: Arc<Edge<A>>,
    pub(crate) other: Router,
}

/// Serves one connection. After `stop` it ends when the request under way is answered.
pub(crate) async fn serve_connection<A: Adapter>(
    stream: TcpStream,
    peer: SocketAddr,
    Site { edge, other }: Site<A>,
    tls: Option<Tls>,
    stop: CancellationToken,
) {
    Connection { edge, other, peer }.run(stream, tls, stop).await;
}

/// Serves a connection of any kind, on which HTTP begins at once.
pub(crate) async fn serve_stream<A: Adapter>(
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    Site { edge, other }: Site<A>,
    stop: CancellationToken,
) {
    Connection { edge, other, peer }.serve(stream, stop).await;
}

/// A peer that does not take the answer has hung up.
async fn refuse_http_2(mut stream: impl AsyncWrite + Unpin) {
    let _ = stream.write_all(NOT_HTTP_2.as_bytes()).await;
    let _ = stream.shutdown().await;
}

struct Connection<A: Adapter> {
    edge: Arc<Edge<A>>,
    other: Router,
    peer: SocketAddr,
}

impl<A: Adapter> Connection<A> {
    async fn run(mut self, mut stream: TcpStream, tls: Option<Tls>, stop: CancellationToken) {
        // small packets are to leave at once; where that can't be set, they leave later
        stream.set_nodelay(true).ok();
        if trusted_proxies::is_trusted(self.peer.ip(), &self.edge.options.trusted_proxies) {
            let header = proxy_protocol::read(&mut stream);
            match timeout(self.edge.options.handshake_timeout, header).await {
                Ok(Ok(client)) => self.peer = client.unwrap_or(self.peer),
                Ok(Err(error)) => {
                    return tracing::debug!(%error, proxy = %self.peer, "a trusted proxy sent no PROXY header that can be read");
                }
                Err(_) => {
                    return tracing::debug!(proxy = %self.peer, "a trusted proxy sent no PROXY header in time");
                }
            }
        }
        let Some(tls) = tls else { return self.serve(stream, stop).await };
        let handshake = tls.accept(stream);
        match timeout(self.edge.options.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => self.serve(stream, stop).await,
            Ok(Err(error)) => {
                tracing::debug!(client.address = %self.peer.ip(), %error, "no TLS handshake");
            }
            Err(_) => {
                tracing::debug!(client.address = %self.peer.ip(), "a TLS handshake took too long");
            }
        }
    }

    async fn serve<S>(self, stream: S, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.edge.options.handshake_timeout)
            .max_headers(MOST_HEADERS)
            .max_buf_size(LARGEST_HEAD);
        let conversation = Conversation::default();
        let patience = self.edge.options.patience();
        let stream = Impatient::new(stream, patience, conversation.clone());
        let (stream, body_length) = Escaping::new(stream, self.edge.options.handshake_timeout);
        let service = service_fn(|request| {
            let answer = self.answer(request, &body_length);
            answer.inspect_ok(|response| conversation.answers(response))
        });
        let mut connection = http.serve_connection(ForHttp::new(stream), service).with_upgrades();
        let served = tokio::select! {
            served = &mut connection => served,
            () = stop.cancelled() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        };
        if let Err(error) = served {
            tracing::trace!(%error, "a connection broke");
            if error.is_parse_version_h2() {
                self.edge.transports.count_refused(RefuseReason::BadRequest);
                tracing::debug!(client.address = %self.peer.ip(), "HTTP/2 is refused");
                if let Some(parts) = connection.into_parts() {
                    // In a box, because each connection has room for the largest of its futures.
                    Box::pin(refuse_http_2(parts.io.into_inner())).await;
                }
                return;
            }
            // Unwritten bytes are left in the connection.
            if let Some(unread) = conversation.unread() {
                let reason = conversation.given_up().unwrap_or(KillReason::PollAborted);
                unread.is_lost(&self.edge.transports, reason);
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        body_length: &BodyLength,
    ) -> Result<Response<Body>, Infallible> {
        body_length.of(request.headers());
        if self.edge.owns(request.uri().path()) {
            return Ok(Arc::clone(&self.edge).handle(request, self.peer).await);
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.other.clone().call(request).await
    }
}
