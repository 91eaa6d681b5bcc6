//! The handshake of a socket: what the client has shown before it entered a namespace.
//!
//! Middleware is a handler of a [`Handshake`]: it lets the future socket in, or refuses it.

mod payload;
mod shown;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use http::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

pub(crate) use payload::connect_payload;

pub use super::request::Query;
use super::{
    extract::{App, Context, FromContext, OfSocket},
    handler::Returns,
    lifecycle::Disconnect,
    request::OpeningRequest,
};
use crate::{
    auth::{Identity, TokenSources},
    fault::Fault,
    sockets::socket::Socket,
};

/// The handshake of a socket that asks to enter: `socket.handshake` of Socket.IO, and the future
/// socket. Cheap to clone.
///
/// Handlers of a connected socket see it by a parameter of this type.
///
/// ```
/// use switchboard::{Fault, Gateway, Handshake, Identity};
///
/// #[derive(serde::Deserialize)]
/// struct Login {
///     name: String,
/// }
///
/// let gateway = Gateway::new("/")
///     .middleware(async |handshake: Handshake| {
///         let login: Login = handshake.auth()?;
///         handshake.set_identity(Identity::user(login.name));
///         Ok::<_, Fault>(())
///     })
///     .on("language", async |handshake: Handshake| {
///         let language = handshake.headers().get("accept-language")?;
///         language.to_str().ok().map(str::to_owned)
///     });
///
/// /// A line for the log, before it is known who may enter.
/// fn shown(handshake: &Handshake) -> String {
///     let scheme = if handshake.is_secure() { "wss" } else { "ws" };
///     let user = handshake.identity().user_id().map_or("nobody yet".to_owned(), |id| id.to_string());
///     format!(
///         "{scheme}{} from {:?}, version {:?}: {user} asks for {}",
///         handshake.uri().path(),
///         handshake.peer_addr(),
///         handshake.query().get("version"),
///         handshake.socket().namespace(),
///     )
/// }
/// ```
#[derive(Clone)]
pub struct Handshake {
    socket: Socket,
    request: Arc<OpeningRequest>,
    /// The payload of the CONNECT packet. Once the socket has entered, made again when somebody asks.
    auth: Arc<OnceLock<Json>>,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rest holds secrets.
        f.debug_struct("Handshake").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Handshake {
    pub(crate) fn new(socket: Socket, request: OpeningRequest, auth: Json) -> Self {
        Self { socket, request: Arc::new(request), auth: Arc::new(auth.into()) }
    }

    /// The handshake of a socket, as long as it is connected.
    ///
    /// ```
    /// use switchboard::{Handshake, Socket};
    ///
    /// fn origin(socket: &Socket) -> Option<String> {
    ///     let origin = Handshake::of(socket)?.headers().get("origin")?.to_str().ok()?.to_owned();
    ///     Some(origin)
    /// }
    /// ```
    pub fn of(socket: &Socket) -> Option<Self> {
        let request = Arc::new(socket.with_request(OpeningRequest::of)?);
        Some(Self { socket: socket.clone(), request, auth: Arc::default() })
    }

    /// The socket, which is the future one before it has entered: in no room yet, and nothing can
    /// be sent to it.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The payload of the CONNECT packet, `auth` in the client's options.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Handshake};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Login {
    ///     room: String,
    /// }
    ///
    /// let gateway = Gateway::new("/").middleware(async |handshake: Handshake| {
    ///     let Login { room } = handshake.auth()?;
    ///     println!("for {room}");
    ///     Ok::<_, Fault>(())
    /// });
    /// ```
    ///
    /// # Errors
    /// `bad_request` if it does not have this shape.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(self.payload()).map_err(|error| Fault::bad_request(error.to_string()))
    }

    /// The headers of the HTTP request that opened the connection.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// The requested address, with its query.
    pub fn uri(&self) -> &http::Uri {
        self.request.uri()
    }

    /// The query of the requested address, `query` in the client's options.
    pub fn query(&self) -> &Query {
        self.request.query()
    }

    /// A cookie of the client, as it is written in the header.
    ///
    /// ```
    /// use switchboard::{Fault, Gateway, Handshake};
    ///
    /// let gateway = Gateway::new("/").middleware(async |handshake: Handshake| {
    ///     handshake.cookie("session").map(drop).ok_or(Fault::unauthorized("log in first"))
    /// });
    /// ```
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.request.cookie(name)
    }

    /// Whether the client speaks TLS to this server itself, or to what stands before it if
    /// [`Builder::secure`](crate::server::Builder::secure) says so. A proxy's own header may say it
    /// for each client.
    pub fn is_secure(&self) -> bool {
        self.socket.adapter().node().is_secure()
    }

    /// The client's address; behind trusted proxies, the one that they report.
    pub fn peer_addr(&self) -> Option<IpAddr> {
        self.socket.peer_addr()
    }

    /// Sets the client's identity. A later middleware may change it; the last one counts.
    ///
    /// ```
    /// use switchboard::{Gateway, Handshake, Identity};
    ///
    /// let gateway = Gateway::new("/").middleware(async |handshake: Handshake| {
    ///     handshake.set_identity(Identity::user("ada").with_rooms(["team"]));
    /// });
    /// ```
    pub fn set_identity(&self, identity: Identity) {
        self.socket.set_identity(identity);
    }

    /// The identity so far. Anonymous before an authenticating middleware ran.
    pub fn identity(&self) -> Identity {
        self.socket.identity()
    }

    /// The payload of the CONNECT packet.
    pub(crate) fn payload(&self) -> &Json {
        self.auth.get_or_init(|| self.socket.auth())
    }

    pub(crate) fn token_sources(&self) -> TokenSources<'_> {
        TokenSources {
            connect_auth: Some(self.payload()),
            query: self.uri().query(),
            headers: self.headers(),
        }
    }
}

/// Whether a socket may enter: what becomes of a middleware's result. An `Err` refuses it, and the
/// client gets a `connect_error` with the fault.
///
/// ```
/// use switchboard::{Fault, Gateway, Handshake, gateway::handshake::Admission};
///
/// fn of_this_office(handshake: &Handshake) -> Admission {
///     match handshake.peer_addr() {
///         Some(address) if address.is_loopback() => Ok(()),
///         _ => Err(Fault::forbidden("for this machine only")),
///     }
/// }
///
/// let gateway = Gateway::new("/").middleware(async |handshake: Handshake| of_this_office(&handshake));
/// ```
pub type Admission = Result<(), Fault>;

/// Marks a result that says nothing: it lets in.
///
/// ```
/// use switchboard::{Gateway, Handshake, Identity};
///
/// // It returns nothing, so nobody is refused.
/// let gateway = Gateway::new("/")
///     .middleware(async |handshake: Handshake| handshake.set_identity(Identity::user("ada")));
/// ```
#[derive(Debug)]
pub struct LetIn;

/// Marks a result that may refuse.
///
/// ```
/// use switchboard::{Fault, Gateway, Handshake};
///
/// let gateway = Gateway::new("/").middleware(async |handshake: Handshake| {
///     if handshake.is_secure() { Ok(()) } else { Err(Fault::forbidden("over TLS only")) }
/// });
/// ```
#[derive(Debug)]
pub struct MayRefuse;

impl Returns<Admission, LetIn> for () {
    fn output(self) -> Admission {
        Ok(())
    }
}

impl<E: Into<Fault>> Returns<Admission, MayRefuse> for Result<(), E> {
    fn output(self) -> Admission {
        self.map_err(Into::into)
    }
}

impl Context for Handshake {
    type Output = Admission;

    fn app(&self) -> App<'_> {
        App::new(self.socket.adapter().node())
    }

    fn refused(fault: Fault) -> Admission {
        Err(fault)
    }
}

impl OfSocket for Handshake {
    fn socket(&self) -> &Socket {
        &self.socket
    }
}

/// Contexts of sockets that have entered. A socket that has left has no handshake any more, except
/// for its `disconnect` handler, which gets it with the reason.
macro_rules! of_connected {
    ($($context:ty),*) => {$(
        impl FromContext<$context> for Handshake {
            fn from_context(context: &$context) -> Result<Self, Fault> {
                let gone = || Fault::new(crate::fault::Code::Unavailable, "the socket has left");
                Self::of(OfSocket::socket(context)).ok_or_else(gone)
            }
        }
    )*};
}
of_connected!(
    super::event::Event,
    super::lifecycle::Connect,
    super::lifecycle::Packet,
    super::lifecycle::Failure
);

impl FromContext<Disconnect> for Handshake {
    fn from_context(context: &Disconnect) -> Result<Self, Fault> {
        let (socket, request) = (context.socket.clone(), context.ended.request.clone());
        Ok(Self { socket, request, auth: Arc::default() })
    }
}

impl FromContext<Self> for Handshake {
    fn from_context(context: &Self) -> Result<Self, Fault> {
        Ok(context.clone())
    }
}
