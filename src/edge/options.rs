//! The settings of the edge.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{
    admission::Limits, bodies::BodyLimits, client_files::ClientFiles, hop::Hop, stall::Patience,
};

/// How clients of Engine.IO 3 may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Legacy {
    /// Not at all.
    Off,
    /// By a websocket.
    Websocket,
    /// By polling, too.
    All,
}

/// The transport's settings. The engine has to be built with the same path, intervals and
/// `max_payload`.
#[derive(Clone, Debug)]
pub(crate) struct EdgeOptions {
    /// `/socket.io/`
    pub(crate) path: String,
    /// The node's name, readable in every session id. No slash, no `&`, nothing that a query cannot
    /// hold.
    pub(crate) node_id: String,
    /// Secrets that sign the session ids: the first signs, all verify. Empty: one is made up.
    pub(crate) secrets: Vec<Vec<u8>>,
    /// The way to the other nodes. `None` for a node that stands alone.
    pub(crate) hop: Option<Hop>,
    /// The time between two pings of ours, and before the first one.
    pub(crate) ping_interval: Duration,
    /// The time for the answer to a ping.
    pub(crate) ping_timeout: Duration,
    /// The time for an upgrade, from the websocket's handshake to the client's decision.
    pub(crate) upgrade_timeout: Duration,
    /// The time for a client to join its first namespace.
    pub(crate) connect_timeout: Duration,
    /// Largest body of a request, in bytes.
    pub(crate) max_payload: u64,
    /// Bytes of all bodies under way.
    pub(crate) max_bodies: BodyLimits,
    /// Whether clients may poll.
    pub(crate) polling: bool,
    /// Whether clients may use websockets.
    pub(crate) websocket: bool,
    /// How clients of Engine.IO 3 may connect. The polling ones take the session id for the public
    /// id of their socket, and may give it away.
    pub(crate) legacy: Legacy,
    /// Origins of pages that may poll: none (same origin), listed (with credentials), or `["*"]`.
    pub(crate) cors_origins: Vec<String>,
    /// The session id as a cookie: its name, and the attributes behind the id.
    pub(crate) cookie: Option<(String, String)>,
    /// Whether answers to polls are compressed.
    pub(crate) compression: bool,
    /// The client that pages can load.
    pub(crate) client: Option<Arc<ClientFiles>>,
    /// The limits on sessions. They may change while running.
    pub(crate) limits: Limits,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// The time for TLS, and for the head of a request.
    pub(crate) handshake_timeout: Duration,
    /// The time in which a client has to take some of the waiting bytes.
    pub(crate) stall_timeout: Duration,
    /// Bytes per second that it has to take on the average of that time.
    pub(crate) min_read_rate: u64,
}

impl EdgeOptions {
    pub(super) fn patience(&self) -> Patience {
        Patience { timeout: self.stall_timeout, min_rate: self.min_read_rate }
    }
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self {
            path: "/socket.io/".into(),
            node_id: "node".into(),
            secrets: Vec::new(),
            hop: None,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            max_payload: 1_000_000,
            max_bodies: BodyLimits::default(),
            polling: true,
            websocket: true,
            legacy: Legacy::Websocket,
            cors_origins: Vec::new(),
            compression: false,
            client: None,
            cookie: None,
            limits: Limits::default(),
            trusted_proxies: Vec::new(),
            handshake_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            min_read_rate: 1024,
        }
    }
}
