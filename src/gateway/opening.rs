//! A client's first request, before there is a session: `allowRequest` of Node.js.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, request::Parts};

use super::{
    extract::{App, Context, FromContext},
    handler::{Handler, Returns, survive},
    handshake::{OpeningRequest, Query},
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

    /// Whether the client speaks TLS to this server itself.
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

/// Whether a connection may be opened: the headers that are added to the answer, or a fault, whose
/// sentence the client gets with 403.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use switchboard::{Fault, Switchboard, gateway::opening::{Answer, Opening}};
///
/// async fn opens(opening: Opening) -> Answer {
///     if opening.query().get("key") != Some("right") {
///         return Err(Fault::plain("wrong key"));
///     }
///     Ok(HeaderMap::from_iter([(http::header::VARY, HeaderValue::from_static("cookie"))]))
/// }
///
/// let builder = Switchboard::builder().allow_request(opens);
/// ```
pub type Answer = Result<HeaderMap, Fault>;

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

impl<How, T: Returns<Answer, How>, E: Into<Fault>> Returns<Answer, MayRefuse<How>>
    for Result<T, E>
{
    fn output(self) -> Answer {
        self.map_err(Into::into)?.output()
    }
}

impl Context for Opening {
    type Output = Answer;

    fn app(&self) -> App<'_> {
        App::new(&self.node)
    }

    fn refused(fault: Fault) -> Answer {
        Err(fault)
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
            answer.map_err(|fault| fault.message().to_owned())
        })
    })
}
