//! Namespace middleware: what runs before a socket is let into a namespace.

use std::{future::Future, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use socketioxide_core::{Value, parser::Parse};
use socketioxide_parser_msgpack::MsgPackParser;

use crate::{
    auth::{AuthMode, Identity, Jwt, KeyConfigError, TokenSources, identify},
    config,
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

/// The middleware that says who a client is, by its token. Clones share their keys.
///
/// The token is looked for in the CONNECT payload's `auth.token`, the query parameter `token` and
/// the header `Authorization: Bearer`, in this order. One that is present but not valid is always
/// refused.
#[derive(Debug, Clone)]
pub struct Authenticate(Arc<ArcSwap<Keys>>);

#[derive(Debug)]
struct Keys {
    mode: AuthMode,
    jwt: Option<Jwt>,
}

impl Authenticate {
    /// Only clients with a valid token are let in.
    pub fn required(jwt: Jwt) -> Self {
        Self::new(Keys { mode: AuthMode::Required, jwt: Some(jwt) })
    }

    /// Clients without a token are let in as anonymous.
    pub fn optional(jwt: Jwt) -> Self {
        Self::new(Keys { mode: AuthMode::Optional, jwt: Some(jwt) })
    }

    /// As the `auth` section of the configuration says.
    ///
    /// # Errors
    /// If one of the keys cannot be used.
    pub fn from_config(auth: &config::Auth) -> Result<Self, KeyConfigError> {
        Keys::from_config(auth).map(Self::new)
    }

    /// Takes the mode and the keys of this configuration from now on. Sockets that are connected
    /// stay.
    ///
    /// # Errors
    /// If one of the keys cannot be used; nothing is changed then.
    pub fn reload(&self, auth: &config::Auth) -> Result<(), KeyConfigError> {
        self.0.store(Arc::new(Keys::from_config(auth)?));
        Ok(())
    }

    fn new(keys: Keys) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys)))
    }

    /// Who a token stands for.
    ///
    /// # Errors
    /// `unauthorized` if it is not valid or no token ever is, `unavailable` if the keys to verify
    /// it cannot be fetched.
    pub async fn verify(&self, token: &str) -> Result<Identity, Fault> {
        let keys = self.0.load_full();
        match (&keys.jwt, keys.mode) {
            (None, _) | (_, AuthMode::None) => {
                Err(Fault::unauthorized("this server does not take tokens"))
            }
            (Some(jwt), _) => jwt.verify(token).await,
        }
    }
}

impl Keys {
    fn from_config(auth: &config::Auth) -> Result<Self, KeyConfigError> {
        Ok(Self { mode: auth.effective_mode(), jwt: Jwt::from_config(auth)? })
    }
}

impl Middleware for Authenticate {
    fn call(&self, handshake: Handshake) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let keys = self.0.load_full();
            let sources = handshake.token_sources();
            let identity = identify(keys.mode, keys.jwt.as_ref(), sources).await?;
            handshake.set_identity(identity);
            Ok(())
        })
    }
}
