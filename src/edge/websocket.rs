//! Websockets: the handshake, which is answered here so that the stream is ours, and the two ways
//! to the engine: with a new session, or as an upgrade from polling.

use std::{net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
    request::Parts,
};
use hyper::upgrade::OnUpgrade;
use socketioxide::adapter::Adapter;
use socketioxide_core::Sid;
use tokio::{io::AsyncWriteExt, time::timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    frames,
    options::EdgeOptions,
    probe::{self, Claim},
    refusal::Refusal,
    request,
    router::Edge,
    stream::{Before, EdgeIo, Pace},
    transport::{Phase, Transport},
    upgraded::Connection,
};

/// "Normal closure".
const CLOSE_NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

impl<A: Adapter> Edge<A> {
    pub(super) fn websocket(
        self: &Arc<Self>,
        parts: &Parts,
        upgrade: OnUpgrade,
        peer: SocketAddr,
        v3: bool,
        sid: Option<Sid>,
    ) -> Result<Response<Body>, Refusal> {
        let accept = accept_key(parts)?;
        match sid {
            None => {
                let transport = Arc::new(Transport::websocket(v3, peer.ip(), self.admit(peer)?));
                let request = request::handshake(parts, peer, &self.options.path, "websocket")
                    .ok_or(Refusal::BadRequest)?;
                let edge = Arc::clone(self);
                tokio::spawn(async move {
                    if let Some(connection) = connection(upgrade).await {
                        edge.give_to_engine(connection, transport, Before::default(), request);
                    }
                });
            }
            Some(sid) => {
                let transport = self.transports.get(sid).ok_or(Refusal::UnknownSession)?;
                let edge = Arc::clone(self);
                tokio::spawn(async move {
                    if let Some(connection) = connection(upgrade).await {
                        edge.take_over(connection, transport, sid).await;
                    }
                });
            }
        }
        Ok(switching_protocols(accept))
    }

    /// The bounds for all streams of this edge.
    pub(super) fn pace(options: &EdgeOptions) -> Arc<Pace> {
        Arc::new(Pace {
            max_message: usize::try_from(options.max_payload).unwrap_or(usize::MAX),
            patience: options.patience(),
            connect_timeout: options.connect_timeout,
            ping_timeout: options.ping_timeout,
        })
    }

    /// Hands the stream to the engine, which runs the session from here on.
    fn give_to_engine(
        &self,
        io: Connection,
        transport: Arc<Transport>,
        before: Before,
        request: Request<()>,
    ) {
        // Boxed: the engine's futures hold what they are given once for each step that it takes.
        let io =
            EdgeIo::new(io, transport, self.transports.clone(), Arc::clone(&self.pace), before);
        let io = Box::new(io);
        // answers at once; the engine spawns a task for the stream
        let given = tower_service::Service::call(&mut self.service.clone(), (io, request));
        if let Err(error) = given.into_inner() {
            tracing::error!(?error, "the engine does not take a handshake that was checked");
        }
    }

    /// A websocket for a polling session. The engine hears of it after the client's decision, so a
    /// failure before that does not touch the session.
    async fn take_over(&self, mut io: Connection, transport: Arc<Transport>, sid: Sid) {
        if transport.phase() != Phase::Polling {
            return turn_away(io).await; // there is one already
        }
        self.transports.probe_began();
        let rest = {
            let mut claim = Claim::on(&transport);
            let probe = probe::run(&mut io, &mut claim);
            let decided = tokio::select! {
                decided = timeout(self.options.upgrade_timeout, probe) => decided.ok(),
                () = transport.over() => None,
            };
            match decided {
                Some(Ok(rest)) if claim.take_over() => Some(rest),
                // the claim, if it was taken, is given back
                _ => None,
            }
        };
        self.transports.probe_ended(sid, rest.is_some());
        let request =
            request::internal(Method::GET, &self.options.path, transport.v3, "websocket", sid);
        let (Some(rest), Some(request)) = (rest, request) else { return turn_away(io).await };
        let to_client = self.packets_before_upgrade(&transport, sid).await;
        let mut before = Before { from_client: rest, to_client, ..Before::default() };
        frames::client_frame(frames::TEXT, b"2probe", &mut before.to_engine);
        frames::client_frame(frames::TEXT, b"5", &mut before.to_engine);
        transport.expect_probe_answer();
        self.give_to_engine(io, transport, before, request);
    }
}

/// The connection, when the answer to its handshake is written. `None` if it broke before.
async fn connection(upgrade: OnUpgrade) -> Option<Connection> {
    upgrade.await.ok().map(Connection::of)
}

/// Closes an unwanted websocket.
async fn turn_away(mut io: Connection) {
    let mut close = Vec::with_capacity(4);
    frames::server_frame(frames::CLOSE, &CLOSE_NORMAL, &mut close);
    // it does not matter whether the client hears it
    if io.write_all(&close).await.is_ok() {
        io.shutdown().await.ok();
    }
}

/// Checks the handshake of RFC 6455, section 4.2.1.
pub(super) fn accept_key(parts: &Parts) -> Result<HeaderValue, Refusal> {
    let headers = &parts.headers;
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(Refusal::BadRequest)?;
    let valid = parts.method == Method::GET
        && has_token(headers, header::UPGRADE, "websocket")
        && has_token(headers, header::CONNECTION, "upgrade")
        // version 8, a draft, has the same frames
        && headers
            .get(header::SEC_WEBSOCKET_VERSION)
            .is_some_and(|version| version == "13" || version == "8")
        && key.len() == 24;
    if !valid {
        return Err(Refusal::BadRequest);
    }
    derive_accept_key(key.as_bytes()).parse().map_err(|_| Refusal::BadRequest)
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|said| said.trim().eq_ignore_ascii_case(token))
}

fn switching_protocols(accept: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3, with one header changed or left out.
    fn handshake(change: &str, to: Option<&str>) -> Parts {
        let mut request = Request::get("/socket.io/");
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ] {
            if let Some(value) = if name == change { to } else { Some(value) } {
                request = request.header(name, value);
            }
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        let accept = accept_key(&handshake("", None)).expect("a good handshake");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_handshake_that_lacks_anything_is_refused() {
        for (name, wrong) in [
            ("upgrade", "h2c"),
            ("connection", "close"),
            ("sec-websocket-key", "short"),
            ("sec-websocket-version", "7"),
        ] {
            assert_eq!(accept_key(&handshake(name, None)), Err(Refusal::BadRequest), "{name}");
            assert_eq!(accept_key(&handshake(name, Some(wrong))), Err(Refusal::BadRequest));
        }
    }
}
