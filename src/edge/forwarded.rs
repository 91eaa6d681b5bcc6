//! Requests of clients whose session another node holds: they are sent on to that node, and its
//! answer goes back to the client.
//!
//! The client gets the answer that it would get there. Only what is between it and the connection is
//! done here: CORS, and giving up a client that does not read.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request::Parts,
};
use http_body::{Frame, SizeHint};
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade},
};
use socketioxide::adapter::Adapter;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    hop::{Errand, Hop, HopError, Kind, Unanswered, answer_headers},
    reasons::KillReason,
    refusal::Refusal,
    router::{Edge, Elsewhere},
    session_id::Owner,
    transport::Phase,
    unread::Unread,
    watch::Watch,
    websocket::accept_key,
};

/// Tells the node of a session that an answer of it was lost here.
pub(super) const CUT: &str = "cut";

/// Asks the node of a session to answer a poll that waits there, because this node leaves.
const RELEASE: &str = "release";

/// The time for either.
const TO_TELL: Duration = Duration::from_secs(5);

/// The headers of a request that its session's node reads, by the kind of the request.
fn headers_for(kind: Kind) -> &'static [HeaderName] {
    match kind {
        Kind::Poll => &[header::ACCEPT_ENCODING],
        Kind::Post => &[header::CONTENT_TYPE],
        Kind::Websocket => &[
            header::CONNECTION,
            header::UPGRADE,
            header::SEC_WEBSOCKET_KEY,
            header::SEC_WEBSOCKET_VERSION,
        ],
        Kind::Question => &[],
    }
}

impl<A: Adapter> Edge<A> {
    /// A poll.
    pub(super) async fn forward_poll(
        &self,
        to: &Elsewhere,
        parts: &Parts,
    ) -> Result<Response<Body>, Refusal> {
        let hop = self.way()?;
        let watch = watched(hop, to);
        let mut forwarded = pin!(self.forward(Kind::Poll, to, parts, Bytes::new()));
        let answered = tokio::select! {
            answered = &mut forwarded => answered,
            () = hop.turn_to_leave() => {
                let id = Bytes::copy_from_slice(to.id.as_bytes());
                // if it fails, the poll ends with this node
                let (_, answered) = tokio::join!(hop.ask(&to.node, RELEASE, id, TO_TELL), forwarded);
                answered
            }
        };
        watch.over();
        let (response, place) = answered?;
        if response.status() != StatusCode::OK {
            return Ok(passed(hop, response, place, None));
        }
        // From here on only this node knows whether the client gets the answer.
        let (hop, node, id) = (hop.clone(), to.node.clone(), to.id.clone());
        let unread = Unread::elsewhere(move |reason| tell_of_loss(&hop, &node, &id, reason));
        Ok(passed(self.way()?, response, place, Some(unread)))
    }

    /// A POST. Its body is read before: it counts as any other, and the node gets it at once.
    pub(super) async fn forward_post<B>(
        &self,
        to: &Elsewhere,
        parts: &Parts,
        body: B,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let hop = self.way()?;
        let watch = watched(hop, to);
        let (body, _share) = self.read(body, to.client.ip()).await?;
        let forwarded = self.forward(Kind::Post, to, parts, body).await;
        watch.over();
        let (response, place) = forwarded?;
        Ok(passed(hop, response, place, None))
    }

    /// A websocket.
    pub(super) async fn forward_websocket(
        &self,
        to: &Elsewhere,
        parts: &Parts,
        client: OnUpgrade,
    ) -> Result<Response<Body>, Refusal> {
        accept_key(parts)?;
        let hop = self.way()?;
        let tunnel = hop.tunnel_place().ok_or(Refusal::Busy)?;
        let (mut response, place) = self.forward(Kind::Websocket, to, parts, Bytes::new()).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(passed(hop, response, place, None));
        }
        let node = upgrade::on(&mut response);
        tokio::spawn(tunnel.pass(client, node));
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = answer_headers(response.headers());
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        Ok(answer)
    }

    async fn forward(
        &self,
        kind: Kind,
        to: &Elsewhere,
        parts: &Parts,
        body: Bytes,
    ) -> Result<(Response<Incoming>, OwnedSemaphorePermit), Refusal> {
        let version = if to.v3 { 3 } else { 4 };
        let transport = if kind == Kind::Websocket { "websocket" } else { "polling" };
        let (path, id) = (&self.options.path, &to.id);
        let target = format!("{path}?EIO={version}&transport={transport}&sid={id}");
        let mut headers = HeaderMap::new();
        for name in headers_for(kind) {
            for value in parts.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let client = to.client.ip().to_string();
        let method = if kind == Kind::Post { Method::POST } else { Method::GET };
        let (node, client, target) = (&*to.node, &*client, &*target);
        let errand = Errand { kind, node, method, target, client, headers, body };
        self.way()?.forward(errand).await.map_err(|error| match error {
            HopError::Busy => Refusal::Busy,
            // For the client its session is gone: it opens another one.
            _ => Refusal::UnknownSession,
        })
    }

    fn way(&self) -> Result<&Hop, Refusal> {
        self.hop().ok_or(Refusal::UnknownSession)
    }

    /// Answers the other nodes' questions about sessions of this one.
    pub(super) fn answer_nodes(self: &Arc<Self>, hop: &Hop) {
        let edge = Arc::downgrade(self);
        hop.answer(CUT, move |said| {
            let cut = cut(&edge, &said);
            std::future::ready(cut.map(|()| Bytes::new()).ok_or(Unanswered))
        });
        let edge = Arc::downgrade(self);
        hop.answer(RELEASE, move |id| {
            let released = release(&edge, &id);
            std::future::ready(released.map(|()| Bytes::new()).ok_or(Unanswered))
        });
    }
}

/// Cuts a session here, of whose answer a part was lost on another node.
fn cut<A: Adapter>(edge: &Weak<Edge<A>>, said: &[u8]) -> Option<()> {
    let edge = edge.upgrade()?;
    let (reason, id) = std::str::from_utf8(said).ok()?.split_once(' ')?;
    let reason = KillReason::ALL.into_iter().find(|known| known.as_str() == reason)?;
    let Some(Owner::Here(sid)) = edge.ids.load().verify(id) else { return None };
    let transport = edge.transports.get(sid)?;
    // as on this node: in an upgrade its polls end anyway
    if transport.phase() == Phase::Polling {
        edge.transports.kill_transport(&transport, reason);
    }
    Some(())
}

/// Answers the waiting poll of a session here, with nothing.
fn release<A: Adapter>(edge: &Weak<Edge<A>>, id: &[u8]) -> Option<()> {
    let edge = edge.upgrade()?;
    let ids = edge.ids.load();
    let Some(Owner::Here(sid)) = ids.verify(std::str::from_utf8(id).ok()?) else { return None };
    edge.transports.get(sid)?.polling.as_ref()?.released.notify_one();
    Some(())
}

/// Cuts the session if the client breaks off its request, or if the body cannot be read. The
/// session's node may not have heard of the request yet.
fn watched<'a>(hop: &'a Hop, to: &'a Elsewhere) -> Watch<impl FnMut() + 'a> {
    Watch::new(|| tell_of_loss(hop, &to.node, &to.id, KillReason::PollAborted))
}

fn tell_of_loss(hop: &Hop, node: &str, id: &str, reason: KillReason) {
    // without a runtime the node is ending, and the other one sees that itself
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let (hop, node) = (hop.clone(), node.to_owned());
    let said = Bytes::from(format!("{} {id}", reason.as_str()));
    runtime.spawn(async move {
        if let Err(error) = hop.ask(&node, CUT, said, TO_TELL).await {
            tracing::debug!(node.id = node, %error, "a node cannot be told of a lost answer");
        }
    });
}

/// The answer of another node as one of ours.
fn passed(
    hop: &Hop,
    response: Response<Incoming>,
    place: OwnedSemaphorePermit,
    unread: Option<Arc<Unread>>,
) -> Response<Body> {
    let (head, body) = response.into_parts();
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = answer_headers(&head.headers);
    if hop.is_leaving() {
        // the next request is to go to another node
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(unread) = &unread {
        unread.travels_with(&mut response);
    }
    response.map(|()| Body::new(Passing { body, unread, _place: place }))
}

/// The body of an answer on its way through this node, piece by piece.
struct Passing {
    body: Incoming,
    unread: Option<Arc<Unread>>,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let unread = &this.unread;
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|data| match unread {
                    Some(unread) => unread.counted(data),
                    None => data,
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
