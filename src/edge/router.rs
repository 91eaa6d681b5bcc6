//! All HTTP below the path: admission of requests, and their ways.

mod house;
mod route;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use axum::body::Body;
use bytes::Bytes;
use engineioxide::service::NotFoundService;
use http::{HeaderMap, Method, Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::OnUpgrade;
use route::{Route, Session, TransportName};
use socketioxide::{adapter::Adapter, service::SocketIoService};
use socketioxide_core::Sid;

use super::{
    admission::{Admission, Limits, Permit},
    bodies::Bodies,
    client_files,
    compression::Compression,
    cors::{Cors, is_preflight},
    hop::{Arrival, Forged, Hop},
    opening::{OnOpening, Openings},
    options::EdgeOptions,
    reasons::RefuseReason,
    refusal::Refusal,
    request,
    session_id::SessionIds,
    stream::Pace,
    transports::Transports,
    trusted_proxies,
};

/// The engine and everything on top of it.
pub(super) type Service<A> = SocketIoService<NotFoundService, A>;

/// The parts between the listener and the engine.
pub(crate) struct Edge<A: Adapter> {
    pub(super) options: EdgeOptions,
    /// The path without its last slash. The edge owns everything below.
    path: String,
    pub(super) service: Service<A>,
    pub(super) pace: Arc<Pace>,
    pub(super) transports: Transports,
    pub(super) ids: ArcSwap<SessionIds>,
    admission: Admission,
    pub(super) bodies: Arc<Bodies>,
    pub(super) compression: Option<Compression>,
    cors: Cors,
    draining: AtomicBool,
    /// The node has not joined its cluster yet.
    starting: AtomicBool,
    /// Asked before a session is opened.
    openings: OnceLock<Openings>,
}

/// A session that another node holds, and the client that speaks for it.
pub(super) struct Elsewhere {
    /// The node's name.
    pub(super) node: Box<str>,
    /// The client's id for the session.
    pub(super) id: Box<str>,
    pub(super) v3: bool,
    pub(super) client: SocketAddr,
}

impl<A: Adapter> Edge<A> {
    /// Has to be called within a runtime: the edge keeps house in a task of its own, which ends
    /// with the edge.
    ///
    /// `transports` may already be known to others, but to one edge only.
    pub(crate) fn new(
        options: EdgeOptions,
        service: Service<A>,
        transports: Transports,
    ) -> Arc<Self> {
        let admission = Admission::default();
        admission.set_limits(options.limits);
        let closings = transports.take_closings();
        let edge = Arc::new(Self {
            path: options.path.trim_end_matches('/').to_owned(),
            ids: ArcSwap::from_pointee(SessionIds::new(&options.node_id, &options.secrets)),
            cors: Cors::new(&options.cors_origins),
            draining: AtomicBool::new(false),
            starting: AtomicBool::new(false),
            openings: OnceLock::new(),
            compression: options.compression.then(Compression::default),
            pace: Self::pace(&options),
            bodies: Bodies::new(options.max_bodies, options.max_payload),
            options,
            service,
            transports,
            admission,
        });
        if let Some(hop) = &edge.options.hop {
            edge.answer_nodes(hop);
        }
        match closings {
            Some(closings) => drop(tokio::spawn(house::keep(Arc::downgrade(&edge), closings))),
            None => {
                tracing::error!(
                    "two edges share their transports: one of them can't close sessions"
                );
            }
        }
        edge
    }

    /// Has the program asked before each new session. Called once, before anything is served.
    pub(crate) fn set_on_opening(&self, on_opening: OnOpening) {
        self.set_openings(Openings::new(on_opening));
    }

    pub(super) fn set_openings(&self, openings: Openings) {
        let _ = self.openings.set(openings);
    }

    /// From now on new sessions are refused with 503. Existing sessions go on.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether new sessions are refused with 503, because the node has not joined its cluster yet.
    pub(crate) fn set_starting(&self, starting: bool) {
        self.starting.store(starting, Ordering::Release);
    }

    /// Sets new limits, for later sessions.
    pub(crate) fn set_limits(&self, limits: Limits) {
        self.admission.set_limits(limits);
    }

    /// Sets new secrets: the first signs, all verify. A client whose id was signed with a removed
    /// secret has to connect anew.
    pub(crate) fn set_secrets(&self, secrets: &[Vec<u8>]) {
        self.ids.store(Arc::new(SessionIds::new(&self.options.node_id, secrets)));
        if let Some(hop) = &self.options.hop {
            hop.set_secrets(secrets);
        }
    }

    /// The way to the other nodes. `None` for a node that stands alone.
    pub(crate) fn hop(&self) -> Option<&Hop> {
        self.options.hop.as_ref()
    }

    /// Whether a request for this path is for [`handle`](Self::handle).
    pub(crate) fn owns(&self, path: &str) -> bool {
        path.strip_prefix(&*self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers a request below the path. `peer` is the other end of the TCP connection.
    ///
    /// Dropping the future of a poll closes its session, as it does when the client breaks it off.
    pub(crate) async fn handle<B>(
        self: Arc<Self>,
        mut request: Request<B>,
        peer: SocketAddr,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        if is_preflight(request.method()) {
            self.note_refused_origin(request.headers());
            return self.cors.preflight(request.headers());
        }
        if let Some(hop) = &self.options.hop
            && let Some(name) = hop.question_of(request.uri().path()).map(str::to_owned)
        {
            return hop.answer_question(&name, request).await;
        }
        if let Some(name) = client_files::file_name(request.uri().path(), &self.path) {
            let mut response = client_files::serve(self.options.client.as_deref(), name, &request);
            self.cors.allow(request.headers(), response.headers_mut());
            return response;
        }
        let Ok(arrival) = self.arrival(&request) else { return self.refuse(Refusal::BadRequest) };
        let peer = match &arrival {
            Some((_, arrival)) => SocketAddr::new(arrival.client, 0),
            None => trusted_proxies::client_address(
                peer,
                request.headers(),
                &self.options.trusted_proxies,
            ),
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let answered = match self.route(&parts) {
            // a hop is taken once
            Ok(Route { session: Session::Elsewhere(..), .. }) if arrival.is_some() => {
                Err(Refusal::UnknownSession)
            }
            Ok(route) => match (&route.session, self.openings.get()) {
                (Session::New, Some(openings)) => {
                    // in a box, because each connection has room for the largest of its futures
                    let answered =
                        self.ask_and_answer(openings, route, &parts, body, upgrade, peer);
                    Box::pin(answered).await
                }
                _ => self.answer(route, &parts, body, upgrade, peer).await,
            },
            Err(refusal) => Err(refusal),
        };
        let mut response = answered.unwrap_or_else(|refusal| self.refuse(refusal));
        match &arrival {
            // the node before the client says which pages may read this
            Some((hop, arrival)) => hop.seal_answer(arrival, &mut response),
            None => _ = self.cors.allow(&parts.headers, response.headers_mut()),
        }
        response
    }

    /// Whether another node has sent the request on, and for whom.
    fn arrival<B>(&self, request: &Request<B>) -> Result<Option<(&Hop, Arrival)>, Forged> {
        let Some(hop) = &self.options.hop else { return Ok(None) };
        let arrival = hop.arrival(request.method(), request.uri(), request.headers())?;
        Ok(arrival.map(|arrival| (hop, arrival)))
    }

    pub(super) fn refuse(&self, refusal: Refusal) -> Response<Body> {
        self.transports.count_refused(refusal.reason());
        refusal.response()
    }

    /// Answers a request for a new session, if the program lets it.
    async fn ask_and_answer<B>(
        self: &Arc<Self>,
        openings: &Openings,
        route: Route,
        parts: &Parts,
        body: B,
        upgrade: OnUpgrade,
        client: SocketAddr,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let headers = match openings.ask(parts, client.ip()).await? {
            Ok(headers) => headers,
            Err(answer) => {
                self.transports.count_refused(RefuseReason::Program);
                return Ok(*answer);
            }
        };
        let mut response = self.answer(route, parts, body, upgrade, client).await?;
        for (name, value) in &headers {
            response.headers_mut().append(name, value.clone());
        }
        Ok(response)
    }

    async fn answer<B>(
        self: &Arc<Self>,
        Route { transport, v3, session }: Route,
        parts: &Parts,
        body: B,
        upgrade: OnUpgrade,
        client: SocketAddr,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    {
        match (transport, session) {
            (TransportName::Websocket, Session::New) => {
                self.websocket(parts, upgrade, client, v3, None)
            }
            (TransportName::Websocket, Session::Here(sid)) => {
                self.websocket(parts, upgrade, client, v3, Some(sid))
            }
            (TransportName::Polling, Session::New) => {
                self.note_refused_origin(&parts.headers);
                self.open_polling(parts, client, v3).await
            }
            (TransportName::Polling, Session::Here(sid)) => match parts.method {
                Method::GET => self.poll(sid, &parts.headers).await,
                Method::POST => self.post(sid, parts, body).await,
                _ => Err(Refusal::BadRequest),
            },
            (_, Session::Elsewhere(node, id)) => {
                let to = Elsewhere { node, id, v3, client };
                // in a box, because each connection has room for the largest of its futures
                match (transport, &parts.method) {
                    (TransportName::Websocket, _) => {
                        Box::pin(self.forward_websocket(&to, parts, upgrade)).await
                    }
                    (TransportName::Polling, &Method::GET) => {
                        Box::pin(self.forward_poll(&to, parts)).await
                    }
                    (TransportName::Polling, &Method::POST) => {
                        Box::pin(self.forward_post(&to, parts, body)).await
                    }
                    _ => Err(Refusal::BadRequest),
                }
            }
        }
    }

    /// Logs a refused origin. The page itself sees nothing of the answer.
    fn note_refused_origin(&self, headers: &HeaderMap) {
        if let Some(origin) = self.cors.refused(headers) {
            self.transports.count_refused(RefuseReason::Origin);
            tracing::debug!(
                ?origin,
                "polling refused: engine.cors_origins does not name the page's origin"
            );
        }
    }

    /// A place for a new session.
    pub(super) fn admit(&self, peer: SocketAddr) -> Result<Permit, Refusal> {
        self.admission.admit(peer.ip(), Instant::now()).map_err(Refusal::Full)
    }

    /// Makes the engine answer an HTTP request. Waits only where the engine does: in a poll.
    pub(super) async fn ask_engine(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let Ok(response): Result<_, Infallible> =
            tower_service::Service::call(&mut self.service.clone(), request).await;
        let (parts, body) = response.into_parts();
        // the engine's bodies are in memory, so collecting them cannot fail
        let body = body.collect().await.map(http_body_util::Collected::to_bytes);
        Response::from_parts(parts, body.unwrap_or_default())
    }

    /// Posts a packet to the engine in the client's name.
    pub(super) async fn post_to_engine(
        &self,
        sid: Sid,
        v3: bool,
        packet: &'static str,
    ) -> Result<Response<Bytes>, Refusal> {
        let request = request::internal(Method::POST, &self.options.path, v3, "polling", sid)
            .ok_or(Refusal::Internal)?;
        Ok(self.ask_engine(request.map(|()| Full::from(packet))).await)
    }
}
