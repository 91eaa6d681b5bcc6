//! Sessions over HTTP requests.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use socketioxide::adapter::Adapter;
use socketioxide_core::Sid;
use tokio::time::timeout;

use super::{
    bodies::Share,
    inbound::Packets,
    reasons::KillReason,
    refusal::Refusal,
    request, rewrite,
    router::Edge,
    transport::{Phase, Transport, Turn, Turns},
    transports::Transports,
    unread::Unread,
    watch::Watch,
};

impl<A: Adapter> Edge<A> {
    /// The handshake.
    pub(super) async fn open_polling(
        &self,
        parts: &Parts,
        peer: SocketAddr,
        v3: bool,
    ) -> Result<Response<Body>, Refusal> {
        let transport = Arc::new(Transport::polling(v3, peer.ip(), self.admit(peer)?));
        let request = request::handshake(parts, peer, &self.options.path, "polling")
            .ok_or(Refusal::BadRequest)?;
        let response = self.ask_engine(request.map(|()| Full::default())).await;
        let sid = rewrite::sid_of_open(response.body()).ok_or(Refusal::Internal)?;
        self.transports.register(sid, &transport);
        // if the client leaves before it hears of its session, nobody else closes it
        let watch = watched(&self.transports, &transport);
        let id = self.ids.load().sign(sid);
        let body = std::str::from_utf8(response.body())
            .ok()
            .and_then(|body| rewrite::open_body(body, &id, v3, self.options.websocket))
            .ok_or(Refusal::Internal)?;
        if !v3 {
            self.hide_first_ping(sid).await?;
        }
        watch.over();
        let (mut head, _) = response.into_parts();
        if let Some((name, attributes)) = &self.options.cookie {
            let cookie = HeaderValue::try_from(format!("{name}={id}{attributes}"));
            head.headers.insert(header::SET_COOKIE, cookie.map_err(|_| Refusal::Internal)?);
        }
        Ok(answer(Response::from_parts(head, body.into())).map(Body::from))
    }

    /// Takes the engine's first ping away: the engine pings as soon as a session is open, Node.js
    /// after the first interval. Only we know the session yet, so its first packet is that ping.
    async fn hide_first_ping(&self, sid: Sid) -> Result<(), Refusal> {
        let poll = request::internal(Method::GET, &self.options.path, false, "polling", sid)
            .ok_or(Refusal::Internal)?;
        let ping = self.ask_engine(poll.map(|()| Full::default())).await;
        if ping.body() != "2" {
            tracing::error!("the engine's first packet is no ping: is it another version?");
            return Err(Refusal::Internal);
        }
        self.post_to_engine(sid, false, "3").await?;
        Ok(())
    }

    /// A poll: waits for packets to the client.
    pub(super) async fn poll(
        &self,
        sid: Sid,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        let transport = self.transports.get(sid).ok_or(Refusal::UnknownSession)?;
        let polling = transport.polling.as_ref().ok_or(Refusal::BadRequest)?;
        if transport.phase() == Phase::Websocket {
            return Err(Refusal::BadRequest); // the session has left this transport
        }
        let _turn = self.turn(&transport, &polling.poll)?;
        transport.seen(self.transports.now());
        let request =
            request::internal(Method::GET, &self.options.path, transport.v3, "polling", sid)
                .ok_or(Refusal::Internal)?;
        let watch = watched(&self.transports, &transport);
        let response = tokio::select! {
            biased;
            response = self.ask_for_packets(&transport, request) => Some(response),
            () = transport.sends_polls_away() => None,
        };
        transport.seen(self.transports.now());
        let answer = match response {
            Some(response) => self.relay(&transport, response),
            // A poll that is dropped while it waits takes nothing from the engine.
            None if transport.is_over() => parting(&transport),
            None => Ok(packet(&transport, NOOP)),
        };
        let answer = match (&self.compression, answer) {
            (Some(compression), Ok(answer)) => Ok(compression.apply(answer, headers).await),
            (_, answer) => answer,
        };
        watch.over();
        let answer = answer?;
        let says_nothing = [NOOP, CLOSE].iter().any(|bare| *answer.body() == bare.of(transport.v3));
        if says_nothing {
            return Ok(answer.map(Body::from));
        }
        let answer = Unread::answer(&transport, answer);
        self.transports.relieve();
        Ok(answer.map(Body::from))
    }

    /// The turn of a request. A second request of its kind ends the session, as in Node.js: the
    /// order of the two is not known.
    fn turn<'a>(&self, transport: &Transport, turns: &'a Turns) -> Result<Turn<'a>, Refusal> {
        turns.take().ok_or_else(|| {
            self.transports.kill_transport(transport, KillReason::BadRequest);
            Refusal::BadRequest
        })
    }

    /// The engine's answer in its form for the client.
    fn relay(
        &self,
        transport: &Transport,
        response: Response<Bytes>,
    ) -> Result<Response<Bytes>, Refusal> {
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            self.transports.forget(transport);
            return Err(refusal_of(&body));
        }
        if transport.is_killed() && (body.is_empty() || body == NOOP.of(transport.v3)) {
            return parting(transport); // the engine was told that the client leaves
        }
        if body.is_empty() || rewrite::closes(&body, transport.v3) {
            self.transports.forget(transport);
        }
        let mut answers =
            |kind: rewrite::Kind, namespace: &str| transport.take_answer(kind, namespace);
        let body = if transport.v3 {
            let binary = head
                .headers
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| kind == "application/octet-stream");
            rewrite::body_v3(body, binary, &mut answers)
        } else if transport.expects_anything() {
            rewrite::body_v4(body, &mut answers)
        } else {
            body
        };
        self.transports.counted(|traffic| traffic.went(body.len()));
        Ok(answer(Response::from_parts(head, body)))
    }

    /// A POST: packets of the client.
    pub(super) async fn post<B>(
        &self,
        sid: Sid,
        parts: &Parts,
        body: B,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let transport = self.transports.get(sid).ok_or(Refusal::UnknownSession)?;
        let polling = transport.polling.as_ref().ok_or(Refusal::BadRequest)?;
        if transport.phase() == Phase::Websocket {
            return Err(Refusal::BadRequest);
        }
        let _turn = self.turn(&transport, &polling.post)?;
        transport.seen(self.transports.now());
        let watch = watched(&self.transports, &transport);
        let read = tokio::select! {
            read = self.read(body, transport.peer) => read,
            () = transport.over() => Err(Refusal::BadRequest),
        };
        watch.over();
        let (body, _share) = match read {
            Ok(read) => read,
            Err(refusal) => {
                if !transport.is_over() {
                    self.transports.kill_transport(&transport, KillReason::BadRequest);
                }
                return Err(refusal);
            }
        };
        self.transports.counted(|traffic| traffic.came(body.len()));
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let Packets { bytes: body, closes } = transport.read_body(body, kind);
        let leaves = rewrite::leaves(&body, transport.v3);
        let watch = watched(&self.transports, &transport);
        let response = self.give_packets(&transport, sid, kind, body).await;
        watch.over();
        let (head, body) = response?.into_parts();
        if leaves {
            // its place is free at once, without waiting for a timeout
            self.transports.forget(&transport);
        }
        if head.status != StatusCode::OK {
            let refusal = refusal_of(&body);
            // for some of these the engine closes the session, for others it does not
            self.transports.kill_transport(&transport, KillReason::BadRequest);
            return Err(refusal);
        }
        if closes {
            self.transports.kill_transport(&transport, KillReason::BadRequest);
            return Err(Refusal::BadRequest);
        }
        Ok(answer(Response::from_parts(head, body)).map(Body::from))
    }

    /// Reads a whole body, if it is not too large and does not take too long.
    pub(super) async fn read<B>(&self, body: B, peer: IpAddr) -> Result<(Bytes, Share), Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        // a slower client would be taken for dead anyway
        let patience = self.options.ping_interval + self.options.ping_timeout;
        timeout(patience, self.bodies.read(body, peer)).await.unwrap_or(Err(Refusal::TooSlow))
    }
}

/// The answer to the last poll of a session.
///
/// A client that is to come back gets an error, as it would a moment later: to the packet CLOSE, which Node.js
/// sends, python-socketio and its like do not come back. What the application asked for, or the client itself
/// has caused, is told as by Node.js.
fn parting(transport: &Transport) -> Result<Response<Bytes>, Refusal> {
    use KillReason::{BadRequest, PollAborted, Requested};
    match transport.load.cut_for() {
        None | Some(Requested | BadRequest | PollAborted) => Ok(packet(transport, CLOSE)),
        Some(_) => Err(Refusal::UnknownSession),
    }
}

/// Replaces the engine's error, which has a text for a number, or nothing.
fn refusal_of(body: &[u8]) -> Refusal {
    if body.starts_with(br#"{"code":"1""#) { Refusal::UnknownSession } else { Refusal::BadRequest }
}

/// A packet without data, as the whole body of a poll.
#[derive(Clone, Copy)]
struct Bare {
    v3: &'static [u8],
    v4: &'static [u8],
}

const NOOP: Bare = Bare { v3: b"1:6", v4: b"6" };
const CLOSE: Bare = Bare { v3: b"1:1", v4: b"1" };

impl Bare {
    fn of(self, v3: bool) -> &'static [u8] {
        if v3 { self.v3 } else { self.v4 }
    }
}

fn packet(transport: &Transport, packet: Bare) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(packet.of(transport.v3)));
    let kind = HeaderValue::from_static("text/plain; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer(response)
}

fn answer(mut response: Response<Bytes>) -> Response<Bytes> {
    let length = response.body().len().into();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Cuts the transport if the client breaks off its request.
fn watched<'a>(transports: &'a Transports, transport: &'a Transport) -> Watch<impl FnMut() + 'a> {
    Watch::new(|| {
        // not in an upgrade, where the poll is about to end anyway
        if transport.phase() == Phase::Polling {
            transports.kill_transport(transport, KillReason::PollAborted);
        }
    })
}
