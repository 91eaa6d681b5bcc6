//! A request to another node, and its answer in time.

use std::{
    error::Error,
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};

use super::{
    CLIENT, Hop, HopError, SIGN_OF_LIFE,
    counts::{Counted, Kind, Outcome},
    peers::Peer,
    seal::{self, Proof, Sealed},
};

/// Longest time to find out where a node is.
const TO_FIND: Duration = Duration::from_secs(1);

/// A node that was not heard for this long, while a request waits for it, is asked for a sign of
/// life.
const ATTENTION: Duration = Duration::from_secs(5);

/// The time for a sign of life.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two questions to a suspect node.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// A request for another node.
pub(in crate::edge) struct Errand<'a> {
    pub(in crate::edge) kind: Kind,
    pub(in crate::edge) node: &'a str,
    pub(in crate::edge) method: Method,
    /// Path and query.
    pub(in crate::edge) target: &'a str,
    /// The address of the client. Empty for a node's own question.
    pub(in crate::edge) client: &'a str,
    pub(in crate::edge) headers: HeaderMap,
    pub(in crate::edge) body: Bytes,
}

impl<'a> Errand<'a> {
    /// A question of this node itself.
    pub(super) fn question(node: &'a str, target: &'a str, body: Bytes) -> Self {
        let (kind, method, headers) = (Kind::Question, Method::POST, HeaderMap::new());
        Self { kind, node, method, target, client: "", headers, body }
    }
}

/// An answer, whose sender is not verified yet, and the place that it takes.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) proof: Proof,
    pub(super) place: OwnedSemaphorePermit,
    pub(super) peer: Arc<Peer>,
}

impl Hop {
    /// Sends a client's request on, and returns the answer of the node that was asked.
    pub(in crate::edge) async fn forward(
        &self,
        errand: Errand<'_>,
    ) -> Result<(Response<Incoming>, OwnedSemaphorePermit), HopError> {
        let counted = Counted::new(&self.0.counters, errand.kind);
        let answer = match self.send(errand, None, self.0.limit).await {
            Ok(answer) => answer,
            Err(outcome) => {
                counted.is(outcome);
                return Err(outcome.into());
            }
        };
        let Answer { response, proof, place, peer } = answer;
        let seal = response.headers().get(seal::HEADER);
        if !self.is_genuine(&proof, response.status(), None, seal) {
            self.is_foreign(&peer);
            counted.is(Outcome::Foreign);
            return Err(HopError::Broken);
        }
        peer.heard();
        counted.is(Outcome::Answered);
        Ok((response, place))
    }

    /// Sends a request. `sealed`: the body, if it is to be sealed, too.
    pub(super) async fn send(
        &self,
        errand: Errand<'_>,
        sealed: Option<&[u8]>,
        limit: Duration,
    ) -> Result<Answer, Outcome> {
        let address = self.find(errand.node).await.ok_or(Outcome::Gone)?;
        let peer = self.0.peers.get(errand.node);
        if peer.is_suspect() {
            return Err(Outcome::Suspect);
        }
        let place = peer.place().ok_or(Outcome::Busy)?;
        let (request, proof) = self.request(&address, errand, sealed).ok_or(Outcome::Gone)?;
        let mut exchange = pin!(self.0.client.request(request));
        let mut end = pin!(sleep(limit));
        let response = loop {
            tokio::select! {
                answered = &mut exchange => break answered,
                () = peer.becomes_suspect() => return Err(Outcome::TimedOut),
                () = &mut end => return Err(Outcome::TimedOut),
                () = sleep(ATTENTION) => {}
            }
            if !peer.was_heard_within(ATTENTION) {
                tokio::select! {
                    answered = &mut exchange => break answered,
                    is_alive = self.is_alive(&peer, &address) => if !is_alive {
                        return Err(Outcome::TimedOut);
                    },
                }
            }
        };
        match response {
            Ok(response) => Ok(Answer { response, proof, place, peer }),
            Err(error) => Err(self.failed(&peer, &address, &error)),
        }
    }

    async fn find(&self, node: &str) -> Option<Arc<str>> {
        // our own name is that of a former run at most
        let addresses = self.0.addresses.get().filter(|_| node != self.0.node)?;
        timeout(TO_FIND, addresses.address_of(node)).await.ok()?
    }

    /// `None` if the address is none, or if there are no secrets.
    fn request(
        &self,
        address: &str,
        errand: Errand<'_>,
        sealed: Option<&[u8]>,
    ) -> Option<(Request<Full<Bytes>>, Proof)> {
        let Errand { node, method, target, client, headers, body, .. } = errand;
        let of_request = Sealed { node, method: method.as_str(), target, client };
        let (seal, proof) = self.0.seals.load().seal(of_request, sealed, SystemTime::now())?;
        let mut request = Request::new(Full::new(body));
        *request.uri_mut() = uri(address, target)?;
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        headers.insert(seal::HEADER, seal);
        if !client.is_empty() {
            headers.insert(CLIENT, HeaderValue::try_from(client).ok()?);
        }
        Some((request, proof))
    }

    /// Notes and judges a failure.
    fn failed(&self, peer: &Arc<Peer>, address: &str, error: &legacy::Error) -> Outcome {
        if !error.is_connect() {
            return Outcome::Broken;
        }
        if !has_timed_out(error) {
            return Outcome::Gone;
        }
        self.suspects(peer, address);
        Outcome::TimedOut
    }

    /// Something else has answered at the address of this node.
    pub(super) fn is_foreign(&self, peer: &Arc<Peer>) {
        if peer.suspect(true) {
            tracing::warn!(
                node.id = %peer.name,
                "what answers at this node's address is not this node, or has other secrets or \
                 another time; nothing is forwarded to it"
            );
            self.watch(peer);
        }
    }

    /// Asks a node that is waited for whether it lives. Many ask at once, and one question is sent.
    async fn is_alive(&self, peer: &Arc<Peer>, address: &str) -> bool {
        let _turn = peer.asking.lock().await;
        if peer.was_heard_within(PATIENCE) {
            return true;
        }
        if !peer.is_suspect() && self.gives_sign(peer, address).await {
            return true;
        }
        self.suspects(peer, address);
        false
    }

    fn suspects(&self, peer: &Arc<Peer>, address: &str) {
        if peer.suspect(true) {
            tracing::warn!(
                node.id = %peer.name, node.address = address,
                "a node does not answer; nothing is forwarded to it until it does"
            );
            self.watch(peer);
        }
    }

    /// Asks a suspect node again and again, until it answers or is gone.
    fn watch(&self, peer: &Arc<Peer>) {
        // weak, so that the task ends with the node
        let (shared, peer) = (Arc::downgrade(&self.0), peer.clone());
        tokio::spawn(async move {
            loop {
                sleep(ASK_AGAIN).await;
                let Some(hop) = shared.upgrade().map(Self) else { return };
                let Some(address) = hop.find(&peer.name).await else {
                    peer.suspect(false);
                    return;
                };
                if hop.gives_sign(&peer, &address).await {
                    tracing::info!(
                        node.id = %peer.name, node.address = %address,
                        "a node answers again"
                    );
                    peer.suspect(false);
                    return;
                }
            }
        });
    }

    async fn gives_sign(&self, peer: &Peer, address: &str) -> bool {
        let lives = self.run_at(address, &peer.name).await.is_some();
        if lives {
            peer.heard();
        }
        lives
    }

    /// Which run of the node answers at this address, if it is that node.
    async fn run_at(&self, address: &str, node: &str) -> Option<Bytes> {
        let target = self.question_target(SIGN_OF_LIFE);
        let errand = Errand::question(node, &target, Bytes::new());
        let (request, proof) = self.request(address, errand, Some(b""))?;
        let asked = async {
            let response = self.0.client.request(request).await.ok()?;
            self.read_answer(response, &proof).await.ok()
        };
        timeout(PATIENCE, asked).await.ok()?
    }

    /// Whether this very node can be reached at this address.
    pub(crate) async fn is_reached_at(&self, address: &str) -> bool {
        self.run_at(address, &self.0.node).await.is_some_and(|run| run == self.0.run)
    }
}

impl From<Outcome> for HopError {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Gone => Self::Gone,
            Outcome::TimedOut | Outcome::Suspect => Self::Silent,
            Outcome::Busy => Self::Busy,
            Outcome::Answered | Outcome::Broken | Outcome::Foreign | Outcome::Abandoned => {
                Self::Broken
            }
        }
    }
}

fn uri(address: &str, target: &str) -> Option<Uri> {
    let (scheme, authority) = match address.strip_prefix("https://") {
        Some(authority) => ("https", authority),
        None => ("http", address),
    };
    Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build().ok()
}

fn has_timed_out(error: &legacy::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::TimedOut;
        }
        source = error.source();
    }
    false
}

/// The headers of an answer that are for the client.
const FOR_CLIENTS: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CACHE_CONTROL,
    header::VARY,
    header::RETRY_AFTER,
    header::UPGRADE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::ALLOW,
];

/// The headers of a forwarded answer, without those that belong to the connection between the nodes.
pub(in crate::edge) fn answer_headers(of: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in FOR_CLIENTS {
        for value in of.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}
