//! Why a server cannot be built, and why it stops serving.

use std::{io, net::SocketAddr};

use crate::{config::Finding, link::LinkError};

/// Why a server cannot be built.
///
/// ```
/// use switchboard::{Gateway, Switchboard, server::BuildError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let twice = Switchboard::builder().gateway(Gateway::new("/")).gateway(Gateway::new("/")).build();
/// assert!(matches!(twice, Err(BuildError::Gateway { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Settings are out of range, contradict each other, or need a feature that this version lacks.
    #[error("the configuration cannot be used: {}", Finding::list(.0))]
    Config(Vec<Finding>),
    /// [`build`](super::Builder::build) was not called inside a tokio runtime.
    #[error("a server is built inside a tokio runtime, and there is none here")]
    NoRuntime,
    /// Two gateways have the same namespace, or a path is not valid.
    #[error("the gateway {path:?} cannot be added: {reason}")]
    Gateway {
        /// The gateway's path.
        path: String,
        /// Why it cannot be added.
        reason: String,
    },
    /// A handler of the server itself (a global middleware, the global fallback, `allow_request`,
    /// `on_presence`) asks for a [`State`](crate::State) that was not given, or is there twice.
    #[error("{0}")]
    Handler(String),
    /// What was said of the cluster does not go together.
    #[error("the cluster cannot be made: {0}")]
    Cluster(&'static str),
    /// `redis.url` cannot be understood.
    #[error("redis.url: {0}")]
    Redis(Box<dyn std::error::Error + Send + Sync>),
    /// `traces.endpoint` is set, and spans cannot be exported. Most likely the library was built
    /// without the cargo feature `otlp`.
    #[error(transparent)]
    Traces(Box<dyn std::error::Error + Send + Sync>),
    /// `engine.client_file` cannot be read.
    #[error("engine.client_file: cannot read {}", .path.display())]
    ClientFile {
        /// Its path.
        path: std::path::PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The database of `store.url` cannot be used.
    #[error("store.url: {0}")]
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// The Admin UI has no credentials, or a password or namespace that cannot be used.
    #[error("the admin UI cannot be served: {0}")]
    AdminUi(String),
}

/// Why a server stopped serving.
///
/// ```
/// use switchboard::{Gateway, Switchboard, server::ServeError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
/// let refused = server.bind(taken.local_addr()?).await;
/// assert!(matches!(refused, Err(ServeError::Bind { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The database of `store.url` cannot be reached, or its tables are not those of this version.
    #[error("store.url: {0}")]
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address. There are several if a name was given that has several.
        address: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The name of the address cannot be looked up.
    #[error("cannot look up the address to listen on")]
    Address(#[source] io::Error),
    /// The address of the admin port cannot be listened on.
    #[error("cannot listen on {address} for administration (admin_listen; empty for none)")]
    BindAdmin {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Other hosts can reach the admin port, and there are no keys to protect it.
    #[error("{0} is reachable from other hosts, so admin.api_keys must be set")]
    AdminKeys(SocketAddr),
    /// The certificate or its key cannot be used.
    #[error("cannot use the TLS certificate: {0}")]
    Tls(Box<dyn std::error::Error + Send + Sync>),
    /// Redis cannot be reached, or cannot be used.
    #[error(transparent)]
    Redis(#[from] LinkError),
    /// A thread cannot be started.
    #[error("cannot start a worker thread")]
    Worker(#[source] io::Error),
    /// Connections or handlers were left when the time for draining was over. They are cut now.
    #[error("the drain took longer than drain.timeout")]
    DrainTimeout,
}
