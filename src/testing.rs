//! A server in memory, and clients that speak to it without a port.
//!
//! For the tests of programs, with the feature `testing`. A [`Server`] is an ordinary server that
//! listens nowhere. [`Server::connect`] opens a websocket through a pipe in memory, so all that a
//! client meets is there: middleware, limits, interceptors, acknowledgements, heartbeats, drain. A
//! [`Cluster`] has several nodes without Redis.
//!
//! ```
//! use switchboard::{Data, Gateway, Reply, Socket, Switchboard, testing::Server};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let chat = Gateway::new("/")
//!     .on("join", async |socket: Socket, Data(room): Data<String>| {
//!         socket.join(room).await.map(|()| Reply::ack(&true))
//!     })
//!     .on("say", async |Data((room, text)): Data<(String, String)>| {
//!         Reply::event("said", &text).to(room)
//!     });
//! let server = Server::start(Switchboard::builder().gateway(chat)).await;
//! let ada = server.connect().await.expect("everybody may enter");
//! let bob = server.connect().await.expect("everybody may enter");
//! assert!(ada.ask::<bool>("join", "lobby").await);
//! bob.emit("say", &("lobby", "hello"));
//! assert_eq!(ada.hears::<String>("said").await, "hello");
//! # }
//! ```
//!
//! # Time
//!
//! Nothing here leaves the runtime, so a test may run on tokio's paused clock
//! (`#[tokio::test(start_paused = true)]`, with tokio's feature `test-util`). Time then moves by
//! itself whenever nobody has anything to do, and a `tokio::time::sleep` of an hour takes none.
//! Heartbeats, timeouts, rates of events, `users.offline_after` and the drain follow. What goes by
//! the clock of the system does not: the expiry of tokens, the rate of connections, and durations
//! in metrics.
//!
//! Methods that wait do so for [`PATIENCE`], and panic with what they have waited for.

mod client;
mod connecting;
mod refused;
mod wire;

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    time::Duration,
};

pub use client::{Asked, Client, Heard};
pub use connecting::Connecting;
pub use refused::Refused;

use crate::{
    Switchboard,
    server::{Builder, LocalCluster},
};

/// How long a test waits for what should come at once.
///
/// ```
/// use switchboard::testing::{Client, PATIENCE};
///
/// /// A question whose answer takes longer than a test waits by itself.
/// async fn report(client: &Client) -> String {
///     client.emit("report", &());
///     for _ in 0..3 {
///         let heard = client.heard_within(PATIENCE).await;
///         if let Some(report) = heard.iter().find(|heard| heard.event == "report") {
///             return report.data();
///         }
///     }
///     panic!("no report");
/// }
/// ```
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Where clients come from, unless they say otherwise: an address for documentation.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4711);

/// A server in memory. It is a [`Switchboard`] as well, for everything that a program does with one.
///
/// ```
/// use switchboard::{Gateway, Switchboard, testing::Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // The program's own function that builds its server.
/// fn server() -> Result<Switchboard, switchboard::server::BuildError> {
///     Switchboard::builder().gateway(Gateway::new("/")).build()
/// }
///
/// let server = Server::of(server()?).await;
/// let client = server.connect().await?;
/// // Every method of `Switchboard` is there.
/// server.of("/").emit("news", "hello")?;
/// assert_eq!(client.hears::<String>("news").await, "hello");
/// // Where a function of the program takes one.
/// let switchboard: &Switchboard = server.switchboard();
/// assert_eq!(switchboard.socket_count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Server {
    switchboard: Switchboard,
}

impl Server {
    /// Builds the server.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard, testing::Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = Server::start(Switchboard::builder().gateway(Gateway::new("/"))).await;
    /// let client = server.connect().await.expect("everybody may enter");
    /// assert_eq!(server.socket_count(), 1);
    /// # _ = client;
    /// # }
    /// ```
    ///
    /// # Panics
    /// If it cannot be built, or cannot join its cluster.
    pub async fn start(builder: Builder) -> Self {
        Self::of(builder.build().expect("the server can be built")).await
    }

    /// A server that was built before.
    ///
    /// # Panics
    /// If it cannot join its cluster.
    pub async fn of(switchboard: Switchboard) -> Self {
        switchboard.join().await.expect("the server joins its cluster");
        Self { switchboard }
    }

    /// Opens a connection, in the namespace `/` without a token unless more is said.
    pub fn connect(&self) -> Connecting {
        Connecting::to(self.switchboard.clone(), PEER)
    }

    /// The server itself.
    pub fn switchboard(&self) -> &Switchboard {
        &self.switchboard
    }
}

impl Deref for Server {
    type Target = Switchboard;

    fn deref(&self) -> &Switchboard {
        &self.switchboard
    }
}

/// Several nodes in one process, which speak to one another as through Redis. Clients connect to
/// each by a websocket; polling on another node than that of the session needs a port.
///
/// ```
/// use switchboard::{Gateway, Reply, Switchboard, testing::Cluster};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let gateway = || Gateway::new("/").on("shout", async || Reply::event("heard", &1).to_all());
/// let cluster = Cluster::start(2, || Switchboard::builder().gateway(gateway())).await;
/// let ada = cluster.node(0).connect().await.expect("everybody may enter");
/// let bob = cluster.node(1).connect().await.expect("everybody may enter");
/// ada.emit("shout", &());
/// assert_eq!(bob.hears::<u8>("heard").await, 1);
///
/// // As when the connection to Redis breaks.
/// cluster.interrupt(1);
/// ada.emit("shout", &());
/// assert_eq!(ada.hears::<u8>("heard").await, 1);
/// assert!(cluster.nodes()[1].of("/").fetch_sockets().await.is_err());
/// cluster.mend(1);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cluster {
    between: LocalCluster,
    nodes: Vec<Server>,
}

impl Cluster {
    /// So many nodes, each of them built like this.
    ///
    /// # Panics
    /// If one of them cannot be built.
    pub async fn start(nodes: usize, builder: impl Fn() -> Builder) -> Self {
        let between = LocalCluster::default();
        let mut started = Vec::with_capacity(nodes);
        for _ in 0..nodes {
            started.push(Server::start(builder().cluster(&between)).await);
        }
        Self { between, nodes: started }
    }

    /// A node by its number, from 0 on.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn node(&self, number: usize) -> &Server {
        &self.nodes[number]
    }

    /// All of them.
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// Cuts a node off from the others, as a lost connection to Redis does.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn interrupt(&self, number: usize) {
        self.between.interrupt(self.node(number).node());
    }

    /// Ends the interruption.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn mend(&self, number: usize) {
        self.between.mend(self.node(number).node());
    }
}
