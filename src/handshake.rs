//! Namespace middleware: what runs before a socket is let into a namespace.

use std::{future::Future, net::IpAddr, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use socketioxide_core::{Value, parser::Parse};
use socketioxide_parser_msgpack::MsgPackParser;

use crate::{
    auth::{AuthMode, Identity, Jwt, TokenSources, identify},
    fault::Fault,
    handler::BoxFuture,
    session::Session,
};

/// A socket that asks to be let in: `socket.handshake` of Socket.IO, and the session that it will
/// have. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handshake {
    session: Session,
    parts: Arc<http::request::Parts>,
    auth: Arc<Json>,
}

impl Handshake {
    pub(crate) fn new(session: Session, parts: http::request::Parts, auth: Option<&Value>) -> Self {
        Self { session, parts: Arc::new(parts), auth: Arc::new(connect_payload(auth)) }
    }

    /// The session as it will be. It is in no room yet, and nothing can be sent to it.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The payload of the CONNECT packet, `auth` in the client's options.
    ///
    /// # Errors
    /// `bad_request` if it does not have this shape.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(&*self.auth).map_err(|error| Fault::bad_request(error.to_string()))
    }

    /// The headers of the HTTP request that opened the connection.
    pub fn headers(&self) -> &http::HeaderMap {
        &self.parts.headers
    }

    /// The address that this request asked for, with its query.
    pub fn uri(&self) -> &http::Uri {
        &self.parts.uri
    }

    /// The client's address, behind trusted proxies the one that they report.
    pub fn peer_addr(&self) -> Option<IpAddr> {
        self.session.peer_addr()
    }

    /// Says who the client is. A later middleware may change it; the last word counts.
    pub fn set_identity(&self, identity: Identity) {
        self.session.set_identity(identity);
    }

    /// What is known about the client so far; anonymous before an authenticating middleware ran.
    pub fn identity(&self) -> Identity {
        self.session.identity()
    }

    fn token_sources(&self) -> TokenSources<'_> {
        TokenSources {
            connect_auth: Some(&*self.auth),
            query: self.parts.uri.query(),
            headers: &self.parts.headers,
        }
    }
}

/// Lenient on purpose: clients with the MessagePack parser send `undefined` members as extension
/// values, which no strict type accepts.
fn connect_payload(auth: Option<&Value>) -> Json {
    match auth {
        // As in Node.js: no payload is an empty one.
        None => Json::Object(serde_json::Map::new()),
        Some(Value::Str(text, _)) => serde_json::from_str(text).unwrap_or(Json::Null),
        Some(bytes @ Value::Bytes(_)) => MsgPackParser
            .decode_default::<rmpv::Value>(Some(bytes))
            .map(tree_to_json)
            .unwrap_or(Json::Null),
    }
}

fn tree_to_json(tree: rmpv::Value) -> Json {
    match tree {
        rmpv::Value::Map(members) => members
            .into_iter()
            .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), tree_to_json(value))))
            .collect(),
        rmpv::Value::Array(values) => values.into_iter().map(tree_to_json).collect(),
        rmpv::Value::Ext(..) | rmpv::Value::Binary(_) => Json::Null,
        other => serde_json::to_value(other).unwrap_or(Json::Null),
    }
}

/// Decides whether a socket may enter a namespace. Functions of a [`Handshake`] are middleware too.
pub trait Middleware: Send + Sync + 'static {
    /// Lets the socket pass, or refuses it: the client gets a `connect_error` with the fault.
    fn call(&self, handshake: Handshake) -> BoxFuture<'_, Result<(), Fault>>;
}

impl<F, Fut> Middleware for F
where
    F: Fn(Handshake) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Fault>> + Send + 'static,
{
    fn call(&self, handshake: Handshake) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self(handshake))
    }
}

/// The middleware that says who a client is, by its token.
///
/// The token is looked for in the CONNECT payload's `auth.token`, the query parameter `token` and
/// the header `Authorization: Bearer`, in this order. One that is present but not valid is always
/// refused.
#[derive(Debug, Clone)]
pub struct Authenticate {
    mode: AuthMode,
    jwt: Option<Jwt>,
}

impl Authenticate {
    /// Only clients with a valid token are let in.
    pub fn required(jwt: Jwt) -> Self {
        Self { mode: AuthMode::Required, jwt: Some(jwt) }
    }

    /// Clients without a token are let in as anonymous.
    pub fn optional(jwt: Jwt) -> Self {
        Self { mode: AuthMode::Optional, jwt: Some(jwt) }
    }

    pub(crate) fn with_mode(mode: AuthMode, jwt: Option<Jwt>) -> Self {
        Self { mode, jwt }
    }
}

impl Middleware for Authenticate {
    fn call(&self, handshake: Handshake) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let identity =
                identify(self.mode, self.jwt.as_ref(), handshake.token_sources()).await?;
            handshake.set_identity(identity);
            Ok(())
        })
    }
}
