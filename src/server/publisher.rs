//! Emits into a cluster from outside of it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{parts::new_peers, redis};
use crate::{
    cluster::{kind::Kind, peers::Peers},
    config::{Config, Finding},
    id::NodeId,
    link::LinkError,
    payload::Parser,
    sockets::{emitter::Emitter, node::Node},
};

/// Emits to the clients of a cluster without being a node of it, as `@socket.io/redis-emitter` does
/// for Node.js. Nodes of Switchboard and of Node.js understand it.
///
/// ```no_run
/// use switchboard::{Config, config::SecretUrl, server::Publisher};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = Config::default();
/// config.redis.url = Some(SecretUrl::new("redis://10.0.0.9"));
/// let publisher = Publisher::connect(&config).await?;
/// publisher.of("/").to_user("ada").emit("order:paid", &7)?;
/// publisher.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Publisher {
    node: Arc<Node>,
    peers: Arc<Peers>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("broker", self.peers.broker()).finish()
    }
}

/// Why a message did not reach the cluster.
///
/// ```
/// use switchboard::{Config, server::{PublishError, Publisher}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let refused = Publisher::connect(&Config::default()).await;
/// assert!(matches!(refused, Err(PublishError::Url(_))), "redis.url is not set");
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Settings are out of range, contradict each other, or need a feature that this version lacks.
    #[error("the configuration cannot be used: {}", Finding::list(.0))]
    Config(Vec<Finding>),
    /// `redis.url` is not set, or cannot be understood.
    #[error("redis.url: {0}")]
    Url(String),
    /// Redis cannot be reached, or cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Redis does not say which nodes there are.
    #[error("{0}")]
    Unknown(String),
    /// Redis does not allow us to publish.
    #[error("{0}")]
    Refused(String),
    /// The link broke before everything was sent.
    #[error("{0} messages did not reach Redis")]
    Lost(u64),
}

/// The name of every emitter, as in Node.js.
const NAME: &str = "emitter";

impl Publisher {
    /// Connects to the Redis of a configuration; of the rest only `users.room_prefix` matters.
    ///
    /// ```
    /// use switchboard::{Config, server::{PublishError, Publisher}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let without_redis = Config::default();
    /// assert!(matches!(Publisher::connect(&without_redis).await, Err(PublishError::Url(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If it cannot be reached, or a setting cannot be used: the rules are those of the
    /// configuration file.
    pub async fn connect(config: &Config) -> Result<Self, PublishError> {
        let broken = config.broken_for_server();
        if !broken.is_empty() {
            return Err(PublishError::Config(broken));
        }
        let kind = Kind::from(config.redis.protocol);
        let url = config.redis.url.as_ref();
        let url = url.ok_or_else(|| PublishError::Url("not set".into()))?;
        let broker = redis::speaking(config, url).map_err(PublishError::Url)?;
        let nobody = Arc::new(|| Box::pin(std::future::ready(Ok(HashMap::new()))) as _);
        let peers = new_peers(config, kind, NAME.to_owned(), broker, nobody, None);
        let node = Arc::new(Node::new(NodeId::named(NAME), Parser::Json, config));
        peers.broker().start(Arc::new(|_: &str, _: &Bytes| {}), false).await?;
        Ok(Self { node, peers })
    }

    /// Emits to the sockets of a namespace.
    pub fn of(&self, namespace: &str) -> Emitter {
        Emitter::elsewhere(self.node.clone(), namespace, Some(self.peers.clone()))
    }

    /// How many nodes serve a namespace, of Switchboard and of Node.js. With none, nobody hears an
    /// emit to it.
    ///
    /// ```
    /// use switchboard::server::{PublishError, Publisher};
    ///
    /// async fn announce(publisher: &Publisher) -> Result<(), PublishError> {
    ///     match publisher.nodes("/news").await? {
    ///         0 => println!("nobody serves /news, so nobody hears it"),
    ///         nodes => println!("{nodes} nodes serve /news"),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// If Redis does not answer.
    pub async fn nodes(&self, namespace: &str) -> Result<usize, PublishError> {
        self.peers.serving(namespace).await.map_err(|error| match self.peers.trouble() {
            Some(trouble) => PublishError::Refused(trouble),
            None => PublishError::Unknown(error.to_string()),
        })
    }

    /// Waits until Redis has taken everything, and ends the connection. Returns how many nodes
    /// heard the messages, each message counted by itself. `None` where Redis does not say, as a
    /// Redis Cluster with the classic format.
    ///
    /// # Errors
    /// If a message was lost on the way.
    pub async fn close(self) -> Result<Option<u64>, PublishError> {
        let broker = self.peers.broker();
        broker.stop().await;
        let counts = broker.counts();
        match (counts.lost(), self.peers.trouble()) {
            (0, _) => Ok(counts.delivered),
            (_, Some(trouble)) => Err(PublishError::Refused(trouble)),
            (lost, None) => Err(PublishError::Lost(lost)),
        }
    }
}
