//! The hop: what one node asks another one directly, over HTTP on its public port.
//!
//! ```text
//! client ── node A ── router ── forwarded ── hop ── HTTP ── node B ── router ── session
//!                                 sockets… ── hop ── HTTP ── node B ── answerer of that name
//! ```
//!
//! Two things travel: requests of clients whose session another node holds, and the nodes' own
//! questions ([`Hop::ask`]). Each is sealed (`seal`), and so is each answer. A hop is taken once:
//! who gets a sealed request for a session of a third node refuses it.
//!
//! * `wire`: connections, kept alive in a pool; `send`: a request and its answer, in time.
//! * `peers`: how many requests are under way to each node, and which nodes hang.
//! * `ask`: questions, and the answerers on the other side.
//! * `tunnel`: websockets that are passed on.
//!
//! Where the other nodes are is not known here: see [`Addresses`].

mod ask;
mod counts;
mod peers;
mod seal;
mod send;
mod tunnel;
mod wire;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{sync::watch, time::sleep};

use crate::future::BoxFuture;
use ask::Answerers;
pub(crate) use ask::Unanswered;
use counts::Counters;
pub(crate) use counts::{HopCounts, Kind};
use peers::Peers;
use seal::{Proof, Sealed, Seals};
pub(super) use send::{Errand, answer_headers};
use tunnel::Tunnels;
use wire::Connector;

/// Idle connections to one node that are kept.
const IDLE_CONNECTIONS: usize = 64;

/// Bytes that a connection reads at once.
const READ_BUFFER: usize = 64 * 1024;

/// The header with the address of the client.
const CLIENT: &str = "x-forwarded-for";

/// The question whether a node lives, which every node answers with what tells this run of it from
/// others.
const SIGN_OF_LIFE: &str = "run";

/// Knows at which addresses the other nodes can be reached.
pub(crate) trait Addresses: Send + Sync + 'static {
    /// `<host>:<port>`, with `https://` before it if the node speaks TLS there. `None` if there is
    /// no such node, or if it cannot be reached.
    fn address_of<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Option<Arc<str>>>;
}

/// Why another node has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HopError {
    /// It is not known, has no address, or nobody listens there.
    #[error("the node is gone")]
    Gone,
    /// It did not answer in time, or not lately.
    #[error("the node does not answer in time")]
    Silent,
    /// The connection ended before the answer, or something else answered.
    #[error("there was no answer of this node")]
    Broken,
    /// Too many requests to this node are under way, or it has too much to answer.
    #[error("too many requests at once")]
    Busy,
    /// The question or the answer is too large.
    #[error("it is too large")]
    TooLarge,
    /// The node has no answerer of this name, or the answerer refused.
    #[error("the node refuses to answer")]
    Refused,
}

/// How a node hops.
pub(crate) struct HopOptions {
    /// The node's name.
    pub(crate) node: String,
    /// The path of the engine, which all nodes share.
    pub(crate) path: String,
    /// Secrets that seal: the first one seals, all verify.
    pub(crate) secrets: Vec<Vec<u8>>,
    /// The time in which a node answers a request of a client at the latest.
    pub(crate) limit: Duration,
    /// The time for the head of a request, after which a node closes an idle connection.
    pub(crate) handshake_timeout: Duration,
}

/// The way to the other nodes. Clones are the same.
#[derive(Clone)]
pub(crate) struct Hop(Arc<Shared>);

struct Shared {
    node: String,
    /// The path without its last slash.
    path: String,
    limit: Duration,
    seals: ArcSwap<Seals>,
    client: Client<Connector, Full<Bytes>>,
    addresses: OnceLock<Arc<dyn Addresses>>,
    peers: Peers,
    answerers: Answerers,
    counters: Counters,
    tunnels: Tunnels,
    /// Over which time the node leaves, once it does.
    leaving: watch::Sender<Option<Duration>>,
    /// Tells this run of the node from all others, of whatever name.
    run: Bytes,
}

/// A request that another node has sent on.
pub(super) struct Arrival {
    proof: Proof,
    /// The address of the client, as the other node names it.
    pub(super) client: IpAddr,
}

/// Ends at a random moment of the time that the drain takes, or when the node has ended.
async fn turn_to_leave(mut leaving: watch::Receiver<Option<Duration>>) {
    let spread = match leaving.wait_for(Option::is_some).await {
        Ok(spread) => spread.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    };
    sleep(spread.mul_f64(rand::random())).await;
}

/// A request has a seal that does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forged;

impl Hop {
    /// Nothing is sent before [`find_by`](Self::find_by).
    pub(crate) fn new(options: HopOptions) -> Self {
        // The other side closes idle connections after this time. A request must not meet that.
        let idle = (options.handshake_timeout / 2).min(Duration::from_secs(5));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(idle)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(READ_BUFFER)
            .build(Connector);
        let hop = Self(Arc::new(Shared {
            node: options.node,
            path: options.path.trim_end_matches('/').to_owned(),
            limit: options.limit,
            seals: ArcSwap::from_pointee(Seals::new(&options.secrets)),
            client,
            addresses: OnceLock::new(),
            peers: Peers::default(),
            answerers: Answerers::default(),
            counters: Counters::default(),
            tunnels: Tunnels::default(),
            leaving: watch::Sender::new(None),
            run: Bytes::copy_from_slice(&rand::random::<[u8; 16]>()),
        }));
        let run = hop.0.run.clone();
        hop.answer(SIGN_OF_LIFE, move |_| std::future::ready(Ok(run.clone())));
        hop
    }

    /// Tells where the other nodes are. A second call changes nothing.
    pub(crate) fn find_by(&self, addresses: Arc<dyn Addresses>) {
        let _ = self.0.addresses.set(addresses);
    }

    /// Sets new secrets: the first seals, all verify.
    pub(crate) fn set_secrets(&self, secrets: &[Vec<u8>]) {
        self.0.seals.store(Arc::new(Seals::new(secrets)));
    }

    /// A stamp on a text for clients: no other cluster can make it. 16 url-safe characters.
    pub(crate) fn stamp(&self, text: &str) -> String {
        self.0.seals.load().stamp(text).unwrap_or_default()
    }

    /// Whether a node of this cluster has stamped this text.
    pub(crate) fn has_stamped(&self, text: &str, stamp: &str) -> bool {
        self.0.seals.load().has_stamped(text, stamp)
    }

    /// The counts of now.
    pub(crate) fn counts(&self) -> HopCounts {
        HopCounts {
            tunnels: self.0.tunnels.open(),
            suspects: self.0.peers.suspects(),
            ..self.0.counters.read()
        }
    }

    /// The node leaves: it ends the tunnels one by one over this time, and takes no new ones, so
    /// that their clients connect elsewhere. It has waiting polls answered, so that the next ones
    /// go elsewhere.
    pub(crate) fn drain(&self, spread: Duration) {
        self.0.leaving.send_replace(Some(spread));
    }

    /// Whether anything of clients is under way to other nodes.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.tunnels.open() > 0 || self.0.peers.are_busy()
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.0.leaving.borrow().is_some()
    }

    /// Ends at some moment of the drain; at once, if it has begun.
    pub(super) async fn turn_to_leave(&self) {
        if !self.is_leaving() {
            turn_to_leave(self.0.leaving.subscribe()).await;
        }
    }

    /// Finds out whether another node has sent this request on. `None`: it comes from a client.
    pub(super) fn arrival(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<Arrival>, Forged> {
        if !headers.contains_key(seal::HEADER) {
            return Ok(None);
        }
        // a proxy on the way may have appended its own
        let said = headers.get(CLIENT).and_then(|client| client.to_str().ok()).unwrap_or("");
        let said = said.split(',').next().unwrap_or("").trim();
        let proof = self.proof(method, uri, headers, said)?;
        Ok(Some(Arrival { proof, client: said.parse().map_err(|_| Forged)? }))
    }

    fn proof(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        client: &str,
    ) -> Result<Proof, Forged> {
        let mut seals = headers.get_all(seal::HEADER).iter();
        let (seal, another) = (seals.next(), seals.next());
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let sealed = Sealed { node: &self.0.node, method: method.as_str(), target, client };
        let seal = seal.filter(|_| another.is_none());
        let proof =
            seal.and_then(|seal| self.0.seals.load().verify(sealed, seal, SystemTime::now()));
        let count = if proof.is_some() { &self.0.counters.taken } else { &self.0.counters.forged };
        count.fetch_add(1, Relaxed);
        proof.ok_or(Forged)
    }

    /// Seals the answer to such a request.
    pub(super) fn seal_answer<B>(&self, arrival: &Arrival, response: &mut Response<B>) {
        self.seal_with(&arrival.proof, response, None);
    }

    fn seal_with<B>(&self, proof: &Proof, response: &mut Response<B>, body: Option<&[u8]>) {
        let seal = self.0.seals.load().seal_answer(proof, response.status(), body);
        if let Some(seal) = seal {
            response.headers_mut().insert(seal::HEADER, seal);
        }
    }

    /// A seal for a request without a body, as this node makes it.
    #[cfg(test)]
    pub(super) fn sealed_for_test(
        &self,
        node: &str,
        method: &str,
        target: &str,
        client: &str,
    ) -> String {
        let sealed = Sealed { node, method, target, client };
        let (seal, _) =
            self.0.seals.load().seal(sealed, None, SystemTime::now()).expect("a secret");
        seal.to_str().expect("text").to_owned()
    }

    /// Whether the asked node has given this answer.
    fn is_genuine(
        &self,
        proof: &Proof,
        status: StatusCode,
        body: Option<&[u8]>,
        seal: Option<&HeaderValue>,
    ) -> bool {
        self.0.seals.load().verify_answer(proof, status, body, seal)
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hop").field(&self.0.node).finish()
    }
}
