//! Namespace middleware: it runs before a socket enters a namespace.

use std::{
    borrow::Cow,
    future::Future,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use http::header::{self, HeaderMap, HeaderName};
use rmpv::Value as Tree;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use socketioxide_core::Value;

use crate::{
    auth::{AuthMode, Identity, Jwt, KeyConfigError, TokenSources, identify},
    config,
    edge::Headers,
    fault::Fault,
    future::BoxFuture,
    javascript::json,
    msgpack,
    packet::{MAX_DEPTH, ReadError},
    payload::to_json_text,
    sockets::socket::Socket,
};

/// The handshake of a socket that asks to enter: `socket.handshake` of Socket.IO, and the future
/// socket. Cheap to clone.
///
/// ```
/// use switchboard::{Fault, Gateway, Handshake, Identity};
///
/// #[derive(serde::Deserialize)]
/// struct Login {
///     name: String,
/// }
///
/// let gateway = Gateway::new("/").middleware(async |handshake: Handshake| {
///     let login: Login = handshake.auth()?;
///     handshake.set_identity(Identity::user(login.name));
///     Ok::<_, Fault>(())
/// });
/// ```
#[derive(Debug, Clone)]
pub struct Handshake {
    socket: Socket,
    request: Arc<OpeningRequest>,
    auth: Arc<Json>,
}

/// The HTTP request that opened the connection.
#[derive(Debug)]
pub(crate) struct OpeningRequest {
    uri: http::Uri,
    /// As the edge keeps them.
    kept: Headers,
    /// Made when somebody asks: many handshakes pass without.
    headers: OnceLock<HeaderMap>,
}

impl OpeningRequest {
    /// The request as the engine has it from the edge.
    pub(crate) fn of(parts: &http::request::Parts) -> Self {
        let kept = parts.extensions.get::<Headers>().cloned().unwrap_or_default();
        Self { uri: parts.uri.clone(), kept, headers: OnceLock::new() }
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| self.kept.to_map())
    }
}

impl Handshake {
    pub(crate) fn new(socket: Socket, request: OpeningRequest, auth: Json) -> Self {
        Self { socket, request: Arc::new(request), auth: Arc::new(auth) }
    }

    /// The future socket. It is in no room yet, and nothing can be sent to it.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The payload of the CONNECT packet, `auth` in the client's options.
    ///
    /// # Errors
    /// `bad_request` if it does not have this shape.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(&*self.auth).map_err(|error| Fault::bad_request(error.to_string()))
    }

    /// The headers of the HTTP request that opened the connection.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// The requested address, with its query.
    pub fn uri(&self) -> &http::Uri {
        &self.request.uri
    }

    /// The client's address; behind trusted proxies, the one that they report.
    pub fn peer_addr(&self) -> Option<IpAddr> {
        self.socket.peer_addr()
    }

    /// Sets the client's identity. A later middleware may change it; the last one counts.
    pub fn set_identity(&self, identity: Identity) {
        self.socket.set_identity(identity);
    }

    /// The identity so far. Anonymous before an authenticating middleware ran.
    pub fn identity(&self) -> Identity {
        self.socket.identity()
    }

    /// The handshake for other nodes, in the shape of Node.js. Secrets stay here: no token, no
    /// cookie, no authorization.
    pub(crate) fn shown(&self) -> Map<String, Json> {
        let headers = self.headers();
        let public = headers.keys().filter(|name| !SECRET_HEADERS.contains(name));
        let shown: Map<String, Json> = public
            .map(|name| {
                let values = headers.get_all(name).iter();
                let values: Vec<_> =
                    values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
                (name.as_str().to_owned(), Json::from(values.join(", ")))
            })
            .collect();
        let query = self.uri().query().unwrap_or_default();
        let public = |(name, _): &(Cow<'_, str>, Cow<'_, str>)| name != "token" && name != "sid";
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).filter(public).collect();
        let mut url = form_urlencoded::Serializer::new(String::new());
        url.extend_pairs(&pairs);
        let url = format!("{}?{}", self.uri().path(), url.finish());
        let query: Map<String, Json> = pairs
            .into_iter()
            .map(|(name, value)| (name.into_owned(), Json::from(value.into_owned())))
            .collect();
        let mut auth = self.auth.as_object().cloned().unwrap_or_default();
        // Secrets: the token, and what recovers a session.
        for secret in ["token", "pid", "offset"] {
            auth.remove(secret);
        }
        let connected_at = self.socket.connected_at();
        let issued = connected_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let shown = serde_json::json!({
            "headers": shown,
            "time": javascript_date(connected_at),
            "address": self.peer_addr().map(|address| address.to_string()).unwrap_or_default(),
            "xdomain": headers.contains_key(header::ORIGIN),
            "secure": self.socket.adapter().context().is_secure(),
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

    /// The payload of the CONNECT packet.
    pub(crate) fn payload(&self) -> &Json {
        &self.auth
    }

    fn token_sources(&self) -> TokenSources<'_> {
        TokenSources {
            connect_auth: Some(&*self.auth),
            query: self.uri().query(),
            headers: self.headers(),
        }
    }
}

/// Headers that other nodes do not see.
const SECRET_HEADERS: [HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// A time as JavaScript prints it: `Tue Nov 24 2026 03:22:11 GMT+0000 (Coordinated Universal Time)`.
fn javascript_date(time: SystemTime) -> String {
    // `Tue, 24 Nov 2026 03:22:11 GMT`, always of this length.
    let date = httpdate::fmt_http_date(time);
    let (weekday, day, month, rest) = (&date[..3], &date[5..7], &date[8..11], &date[12..25]);
    format!("{weekday} {month} {day} {rest} GMT+0000 (Coordinated Universal Time)")
}

/// A client's CONNECT payload as JSON.
///
/// # Errors
/// `bad_request` if it cannot be read, for it may have held a token.
pub(crate) fn connect_payload(auth: Option<&Value>) -> Result<Json, Fault> {
    let payload = match auth {
        // As in Node.js: no payload is an empty one.
        None => return Ok(Json::Object(Map::new())),
        Some(Value::Str(text, _)) => payload_of_text(text),
        Some(Value::Bytes(bytes)) => payload_of_msgpack(bytes),
    };
    payload.map_err(|error| {
        Fault::bad_request(format!("the payload of CONNECT cannot be read: {error}"))
    })
}

fn payload_of_text(text: &str) -> Result<Json, ReadError> {
    let has_infinite = json::check(text)?.has_infinite();
    let payload = serde_json::from_str(&json::mended(text)?).map_err(|_| ReadError::Malformed)?;
    match payload {
        // An infinite number is read as null, which would count as no token.
        Json::Object(auth) if has_infinite && auth.get("token").is_some_and(Json::is_null) => {
            Err(ReadError::NumberTooLarge)
        }
        Json::Object(auth) => Ok(Json::Object(auth)),
        _ => Err(ReadError::NoMap),
    }
}

/// The payload of a CONNECT in MessagePack. Undefined members are left out, and values that JSON
/// lacks are as in `JSON.stringify`.
fn payload_of_msgpack(bytes: &[u8]) -> Result<Json, ReadError> {
    let members = match msgpack::read(bytes)? {
        // The engine turns an undefined payload into this.
        Tree::Nil => Vec::new(),
        Tree::Map(members) => members,
        _ => return Err(ReadError::NoMap),
    };
    let infinite = |value: &Tree| value.as_f64().is_some_and(|number| !number.is_finite());
    if members.iter().any(|(key, value)| key.as_str() == Some("token") && infinite(value)) {
        return Err(ReadError::NumberTooLarge);
    }
    let text = to_json_text(&Tree::Map(members), MAX_DEPTH)?;
    serde_json::from_str(&text).map_err(|_| ReadError::Malformed)
}

/// Decides whether a socket may enter a namespace. Functions of a [`Handshake`] are middleware too.
///
/// ```
/// use switchboard::{Fault, Gateway, Handshake};
/// use switchboard::gateway::{handler::BoxFuture, handshake::Middleware};
///
/// struct Password(&'static str);
///
/// impl Middleware for Password {
///     fn call(&self, handshake: Handshake) -> BoxFuture<'_, Result<(), Fault>> {
///         Box::pin(async move {
///             match handshake.auth::<String>()? == self.0 {
///                 true => Ok(()),
///                 false => Err(Fault::unauthorized("wrong password")),
///             }
///         })
///     }
/// }
///
/// let gateway = Gateway::new("/").middleware(Password("open sesame"));
/// ```
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

/// The middleware that identifies a client by its token. Clones share their keys.
///
/// The token is looked for in the CONNECT payload's `auth.token`, the query parameter `token` and
/// the header `Authorization: Bearer`, in this order. An invalid token is always refused.
///
/// ```
/// use switchboard::{Authenticate, Gateway, Jwt};
///
/// let jwt = Jwt::hs256("a secret of at least 32 bytes, please");
/// let gateway = Gateway::new("/").middleware(Authenticate::required(jwt));
/// ```
#[derive(Debug, Clone)]
pub struct Authenticate(Arc<ArcSwap<Keys>>);

#[derive(Debug)]
struct Keys {
    mode: AuthMode,
    jwt: Option<Jwt>,
}

impl Authenticate {
    /// Admits only clients with a valid token.
    pub fn required(jwt: Jwt) -> Self {
        Self::new(Keys { mode: AuthMode::Required, jwt: Some(jwt) })
    }

    /// Admits clients without a token as anonymous.
    pub fn optional(jwt: Jwt) -> Self {
        Self::new(Keys { mode: AuthMode::Optional, jwt: Some(jwt) })
    }

    /// Follows the `auth` section of a configuration.
    ///
    /// ```
    /// use switchboard::{Authenticate, Config};
    ///
    /// let authenticate = Authenticate::from_config(&Config::default().auth)?;
    /// # _ = authenticate;
    /// # Ok::<(), switchboard::auth::KeyConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If one of the keys cannot be used.
    pub fn from_config(auth: &config::Auth) -> Result<Self, KeyConfigError> {
        Keys::from_config(auth).map(Self::new)
    }

    /// Uses the mode and the keys of this configuration from now on. Connected sockets stay.
    ///
    /// ```
    /// use switchboard::{Authenticate, Config, Jwt, config::Secrets};
    ///
    /// let authenticate = Authenticate::required(Jwt::hs256("the secret of last year, 32 bytes long"));
    /// let mut auth = Config::default().auth;
    /// auth.hs256_secret = Secrets::from_iter(["the secret of this year, 32 bytes long"]);
    /// authenticate.reload(&auth)?;
    /// # Ok::<(), switchboard::auth::KeyConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If a key cannot be used. Nothing is changed then.
    pub fn reload(&self, auth: &config::Auth) -> Result<(), KeyConfigError> {
        self.0.store(Arc::new(Keys::from_config(auth)?));
        Ok(())
    }

    fn new(keys: Keys) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys)))
    }

    /// The identity behind a token.
    ///
    /// ```
    /// use switchboard::{Authenticate, Jwt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let authenticate = Authenticate::optional(Jwt::hs256("a secret of at least 32 bytes, please"));
    /// assert!(authenticate.verify("no token").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `unauthorized` if it is not valid or tokens are not taken at all; `unavailable` if the keys
    /// to verify it cannot be fetched.
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

    use serde_json::json;

    use super::*;

    fn text(text: &str) -> Result<Json, Fault> {
        connect_payload(Some(&Value::Str(text.to_owned().into(), None)))
    }

    #[test]
    fn a_payload_is_read_as_node_js_reads_it_or_refused() {
        assert_eq!(connect_payload(None).unwrap(), json!({}));
        for (payload, read) in [
            (r#"{"token":"x"}"#, json!({ "token": "x" })),
            (r#"{"token":"x","n":"\ud800"}"#, json!({ "token": "x", "n": "\u{fffd}" })),
            (r#"{"token":"x","n":1e400}"#, json!({ "token": "x", "n": null })),
            (r#"{"\u0074oken":null}"#, json!({ "token": null })),
            (" {} ", json!({})),
        ] {
            assert_eq!(text(payload).unwrap(), read, "{payload}");
        }
        let deep = format!(r#"{{"token":"x","n":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        let odd = ["{bad", r#"{"token":"x"}garbage"#, "[1]", "null", "\"x\"", r#"{"token":1e400}"#];
        for payload in odd.into_iter().chain([deep.as_str()]) {
            let refused = text(payload).expect_err(payload);
            assert_eq!(refused.code(), crate::Code::BadRequest, "{payload}");
        }
    }

    #[test]
    fn a_payload_in_messagepack_is_read_alike() {
        let read = |payload: &Tree| {
            let mut bytes = Vec::new();
            msgpack::write(&mut bytes, payload);
            connect_payload(Some(&Value::Bytes(bytes.into())))
        };
        let map = |members: &[(&str, Tree)]| {
            let members = members.iter();
            Tree::Map(members.map(|(key, value)| (Tree::from(*key), value.clone())).collect())
        };
        let undefined = Tree::Ext(0, vec![0]);
        let payload = map(&[("token", Tree::from("x")), ("pid", undefined)]);
        assert_eq!(read(&payload).unwrap(), json!({ "token": "x" }));
        assert_eq!(read(&Tree::Nil).unwrap(), json!({}));
        // A malformed token is not the same as no token.
        let token = read(&map(&[("token", Tree::Binary(b"x".to_vec()))])).unwrap();
        assert!(token["token"].is_object());
        assert!(read(&map(&[("token", Tree::F64(f64::INFINITY))])).is_err());
        assert!(read(&Tree::from("x")).is_err() && read(&Tree::Array(Vec::new())).is_err());
        assert!(connect_payload(Some(&Value::Bytes(b"\x81\xa5token".as_slice().into()))).is_err());
    }

    #[test]
    fn a_date_reads_as_in_javascript() {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_490_531);
        let printed = "Tue Nov 24 2026 03:22:11 GMT+0000 (Coordinated Universal Time)";
        assert_eq!(javascript_date(time), printed);
    }
}
