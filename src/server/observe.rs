//! The metrics of a node, gathered when somebody asks.

use std::time::Duration;

use super::Switchboard;
use crate::edge::Hop;
use crate::server::metrics::{Cluster, Process, Snapshot};

/// Longest wait of a scrape for the directory: longer than Redis takes on a bad day, shorter than
/// Prometheus waits.
const DIRECTORY_PATIENCE: Duration = Duration::from_secs(2);

impl Switchboard {
    /// The metrics of this node in the text format of Prometheus, as `/metrics` of the admin port
    /// serves them. For programs that serve them elsewhere. Looks at every connection.
    ///
    /// ```
    /// use switchboard::{Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
    /// assert!(server.metrics().await.contains("switchboard_sockets 0"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn metrics(&self) -> String {
        let inner = &*self.0;
        let nodes = tokio::time::timeout(DIRECTORY_PATIENCE, inner.directory.nodes()).await;
        // Counting the open files takes a while where there are many.
        let process = tokio::task::spawn_blocking(Process::read).await.ok().flatten();
        let cluster = inner.peers.as_ref().map(|peers| Cluster {
            peers: peers.clone(),
            broker: peers.broker().counts(),
            publish_waits: peers.broker().waits(),
            nodes: nodes.ok().and_then(|nodes| Some(nodes.ok()?.len())),
            hop: inner.edge.hop().map(Hop::counts).unwrap_or_default(),
            refused: peers.refused().len(),
            directory_complete: inner.directory.is_complete(),
            directory: inner.directory.troubles(),
        });
        let snapshot = Snapshot {
            node: inner.node.clone(),
            sockets: self.socket_count(),
            namespaces: inner.adapters.len(),
            users: inner.directory.users_here(),
            transports: self.transports(),
            cluster,
            process,
            history: inner.history.as_ref().map(|history| history.counts()),
            inbox: inner.inbox.clone(),
            #[cfg(feature = "postgres")]
            outbox: inner.outbox.clone(),
            recovery: inner.node.recovery().map(|_| inner.adapters.recovery_counts()),
        };
        snapshot.text()
    }
}
