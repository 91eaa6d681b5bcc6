//! A client's first request, before there is a session: `allowRequest` of Node.js.

mod refusal;

use std::{net::IpAddr, sync::Arc};

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
pub use refusal::Refusal;

use super::{
    extract::{App, Context, FromContext},
    handler::{Handler, Returns, survive},
    request::{OpeningRequest, Query},
};
use crate::{edge::OnOpening, fault::Fault, sockets::node};

/// The request by which a client opens a connection, for
/// [`Builder::allow_request`](crate::server::Builder::allow_request).
///
/// ```
/// use switchboard::{Fault, Gateway, Switchboard, gateway::opening::Opening};
///
/// let builder = Switchboard::builder()
///     .allow_request(async |opening: Opening| {
///         let is_ours = opening.query().get("key") == Some("right") || opening.cookie("key") == Some("right");
///         if is_ours && opening.is_secure() && opening.headers().contains_key("user-agent") {
///             return Ok(());
///         }
///         println!("{} asks for {}", opening.peer_addr(), opening.uri().path());
///         Err(Fault::plain("not with this key"))
///     })
///     .gateway(Gateway::new("/"));
/// ```
#[derive(Clone)]
pub struct Opening {
    node: Arc<node::Node>,
    request: Arc<OpeningRequest>,
    peer: IpAddr,
}

impl Opening {
    /// The headers of the request.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// The requested address, with its query.
    pub fn uri(&self) -> &http::Uri {
        self.request.uri()
    }

    /// The query of the requested address.
    pub fn query(&self) -> &Query {
        self.request.query()
    }

    /// A cookie of the client, as it is written in the header.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.request.cookie(name)
    }

    /// The client's address; behind trusted proxies, the one that they report.
    pub fn peer_addr(&self) -> IpAddr {
        self.peer
    }

    /// Whether the client speaks TLS to this server itself, or to what stands before it if
    /// [`Builder::secure`](crate::server::Builder::secure) says so.
    pub fn is_secure(&self) -> bool {
        self.node.is_secure()
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest holds secrets.
        f.debug_struct("Opening").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Whether a connection may be opened: the headers that are added to the answer, or a refusal. A
/// [`Fault`] becomes one with the status 403.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use switchboard::{Fault, Switchboard, gateway::opening::{Answer, Opening}};
///
/// async fn opens(opening: Opening) -> Answer {
///     if opening.query().get("key") != Some("right") {
///         Err(Fault::plain("wrong key"))?;
///     }
///     Ok(HeaderMap::from_iter([(http::header::VARY, HeaderValue::from_static("cookie"))]))
/// }
///
/// let builder = Switchboard::builder().allow_request(opens);
/// ```
pub type Answer = Result<HeaderMap, Refusal>;

/// Marks a result that lets in.
///
/// ```
/// use switchboard::{Switchboard, gateway::opening::Opening};
///
/// let builder = Switchboard::builder()
///     .allow_request(async |opening: Opening| println!("{} connects", opening.peer_addr()));
/// ```
#[derive(Debug)]
pub struct Allowed;

/// Marks a result with headers for the answer.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::VARY};
/// use switchboard::{Switchboard, gateway::opening::Opening};
///
/// let builder = Switchboard::builder()
///     .allow_request(async || HeaderMap::from_iter([(VARY, HeaderValue::from_static("cookie"))]));
/// ```
#[derive(Debug)]
pub struct WithHeaders;

/// Marks a result with headers as they are written. One that is no header refuses with `internal`.
///
/// ```
/// use switchboard::{Fault, Switchboard, gateway::opening::Opening};
///
/// let builder = Switchboard::builder().allow_request(async |opening: Opening| {
///     let device = opening.cookie("device").map_or_else(|| "new".to_owned(), str::to_owned);
///     Ok::<_, Fault>([("set-cookie", format!("device={device}; Path=/; HttpOnly; SameSite=Lax"))])
/// });
/// ```
#[derive(Debug)]
pub struct AsWritten;

/// Marks a result that may refuse.
///
/// ```
/// use switchboard::{Fault, Switchboard, gateway::opening::Opening};
///
/// let builder = Switchboard::builder().allow_request(async |opening: Opening| {
///     if opening.is_secure() { Ok(()) } else { Err(Fault::plain("over TLS only")) }
/// });
/// ```
#[derive(Debug)]
pub struct MayRefuse<How>(std::marker::PhantomData<How>);

/// Marks a result that may refuse with an answer of its own.
///
/// ```
/// use switchboard::{Switchboard, gateway::opening::{Opening, Refusal}, http::StatusCode};
///
/// let builder = Switchboard::builder().allow_request(async |opening: Opening| {
///     let known = opening.cookie("session").ok_or(Refusal::new(StatusCode::UNAUTHORIZED, "log in first"))?;
///     println!("{known} comes back");
///     Ok::<_, Refusal>(())
/// });
/// ```
#[derive(Debug)]
pub struct MayAnswer<How>(std::marker::PhantomData<How>);

impl Returns<Answer, Allowed> for () {
    fn output(self) -> Answer {
        Ok(HeaderMap::new())
    }
}

impl Returns<Answer, WithHeaders> for HeaderMap {
    fn output(self) -> Answer {
        Ok(self)
    }
}

impl<K, V, const N: usize> Returns<Answer, AsWritten> for [(K, V); N]
where
    K: TryInto<HeaderName>,
    V: TryInto<HeaderValue>,
{
    fn output(self) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in self {
            let (Ok(name), Ok(value)) = (name.try_into(), value.try_into()) else {
                tracing::error!("`allow_request` has returned what cannot be written as a header");
                return Err(Fault::internal().into());
            };
            headers.append::<HeaderName>(name, value);
        }
        Ok(headers)
    }
}

impl<How, T: Returns<Answer, How>, E: Into<Fault>> Returns<Answer, MayRefuse<How>>
    for Result<T, E>
{
    fn output(self) -> Answer {
        self.map_err(Into::into)?.output()
    }
}

impl<How, T: Returns<Answer, How>> Returns<Answer, MayAnswer<How>> for Result<T, Refusal> {
    fn output(self) -> Answer {
        self?.output()
    }
}

impl<How, T: Returns<Answer, How>> Returns<Answer, MayAnswer<How>> for Result<T, Response> {
    fn output(self) -> Answer {
        self?.output()
    }
}

impl Context for Opening {
    type Output = Answer;

    fn app(&self) -> App<'_> {
        App::new(&self.node)
    }

    fn refused(fault: Fault) -> Answer {
        Err(fault.into())
    }
}

impl FromContext<Self> for Opening {
    fn from_context(context: &Self) -> Result<Self, Fault> {
        Ok(context.clone())
    }
}

/// The handler in the terms of the edge.
pub(crate) fn for_edge(node: &Arc<node::Node>, handler: Arc<dyn Handler<Opening>>) -> OnOpening {
    let node = node.clone();
    Arc::new(move |parts: &Parts, peer| {
        let request = Arc::new(OpeningRequest::received(parts));
        let (handler, node) = (handler.clone(), node.clone());
        Box::pin(async move {
            let asked = async { handler.call(Opening { node, request, peer }).await };
            let answer = survive("the handler of opening requests", asked).await;
            answer.map_err(|Refusal(answer)| answer)
        })
    })
}
