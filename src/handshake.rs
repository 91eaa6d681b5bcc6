//! Namespace middleware: what runs before a socket is let into a namespace.

use std::{
    borrow::Cow,
    future::Future,
    net::IpAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use http::header::{self, HeaderName};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};
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
    pub(crate) fn new(session: Session, parts: http::request::Parts, auth: Json) -> Self {
        Self { session, parts: Arc::new(parts), auth: Arc::new(auth) }
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

    /// The handshake as other nodes are shown it, in the shape of Node.js. What opens doors stays
    /// here: no token, no cookie, no authorization.
    pub(crate) fn shown(&self) -> Map<String, Json> {
        let headers = self.parts.headers.keys().filter(|name| !SECRET_HEADERS.contains(name));
        let headers: Map<String, Json> = headers
            .map(|name| {
                let values = self.parts.headers.get_all(name).iter();
                let values: Vec<_> =
                    values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
                (name.as_str().to_owned(), Json::from(values.join(", ")))
            })
            .collect();
        let query = self.parts.uri.query().unwrap_or_default();
        let public = |(name, _): &(Cow<'_, str>, Cow<'_, str>)| name != "token" && name != "sid";
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).filter(public).collect();
        let mut url = form_urlencoded::Serializer::new(String::new());
        url.extend_pairs(&pairs);
        let url = format!("{}?{}", self.parts.uri.path(), url.finish());
        let query: Map<String, Json> = pairs
            .into_iter()
            .map(|(name, value)| (name.into_owned(), Json::from(value.into_owned())))
            .collect();
        let mut auth = self.auth.as_object().cloned().unwrap_or_default();
        auth.remove("token");
        let connected_at = self.session.connected_at();
        let issued = connected_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let shown = json!({
            "headers": headers,
            "time": javascript_date(connected_at),
            "address": self.peer_addr().map(|address| address.to_string()).unwrap_or_default(),
            "xdomain": self.parts.headers.contains_key(header::ORIGIN),
            "secure": self.session.adapter().context().is_secure(),
            "issued": issued as u64,
            "url": url,
            "query": query,
            "auth": auth,
        });
        match shown {
            Json::Object(shown) => shown,
            _ => Map::new(),
        }
    }

    fn token_sources(&self) -> TokenSources<'_> {
        TokenSources {
            connect_auth: Some(&*self.auth),
            query: self.parts.uri.query(),
            headers: &self.parts.headers,
        }
    }
}

/// Headers that other nodes are not shown.
const SECRET_HEADERS: [HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// A time as JavaScript prints it: `Tue Nov 24 2026 03:22:11 GMT+0000 (Coordinated Universal Time)`.
fn javascript_date(time: SystemTime) -> String {
    // `Tue, 24 Nov 2026 03:22:11 GMT`, always of this length.
    let date = httpdate::fmt_http_date(time);
    let (weekday, day, month, rest) = (&date[..3], &date[5..7], &date[8..11], &date[12..25]);
    format!("{weekday} {month} {day} {rest} GMT+0000 (Coordinated Universal Time)")
}

/// What a client sent with CONNECT. Lenient on purpose: clients with the MessagePack parser send `undefined` members as extension
/// values, which no strict type accepts.
pub(crate) fn connect_payload(auth: Option<&Value>) -> Json {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_date_reads_as_in_javascript() {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_490_531);
        let printed = "Tue Nov 24 2026 03:22:11 GMT+0000 (Coordinated Universal Time)";
        assert_eq!(javascript_date(time), printed);
    }
}
