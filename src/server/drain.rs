//! Stopping in good order: no longer ready, tell the clients, move them, wait, then give up with an
//! error.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{ServeError, Switchboard};
use crate::edge::{Hop, KillReason};

/// Time for the notice of a drain to travel before the first connection is cut.
const NOTICE_HEAD_START: Duration = Duration::from_millis(100);

/// How long requests for other nodes are waited for, once they have been asked to end.
const TO_FORWARD: Duration = Duration::from_secs(2);

/// Longest wait until the sessions of the clients that have left are in Redis.
const TO_WRITE: Duration = Duration::from_secs(3);
/// Time for moving the sessions that wait for their clients to other nodes.
const HANDOVER: Duration = Duration::from_secs(5);

impl Switchboard {
    /// Drains the node. `/readyz` turns 503 at once. After `drain.grace` new handshakes get 503,
    /// and clients hear `server:draining`. Their connections are closed one by one over
    /// `drain.spread`, so that they reconnect elsewhere. Events under way finish. A second call
    /// waits for the same end.
    ///
    /// ```
    /// use std::time::Duration;
    /// use switchboard::{Config, Gateway, Switchboard};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = Config::default();
    /// config.drain.grace = Duration::ZERO;
    /// config.drain.spread = Duration::ZERO;
    /// let server = Switchboard::builder().config(config).gateway(Gateway::new("/")).build()?;
    /// server.drain().await?;
    /// assert_eq!(server.socket_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `DrainTimeout` if connections or handlers are left after `drain.timeout`.
    pub async fn drain(&self) -> Result<(), ServeError> {
        let inner = &*self.0;
        let started = Instant::now();
        let drain = &inner.config.drain;
        let is_first = inner.node.start_draining();
        // Balancers send new clients here until they have seen the 503 of `/readyz`.
        tokio::time::sleep(drain.grace).await;
        if is_first {
            inner.edge.start_draining();
            let sockets = self.socket_count();
            inner.node.meters().drain_begins(sockets);
            tracing::info!(sockets, spread_ms = drain.spread.as_millis() as u64, "draining");
            let notice = json!({ "seconds": drain.spread.as_secs() });
            for adapter in inner.adapters.all() {
                let namespace = adapter.namespace().to_string();
                // Clients of the other nodes stay where they are.
                if let Err(error) = self.of(&namespace).local().emit("server:draining", &notice) {
                    tracing::error!(%error, "cannot announce the drain");
                }
            }
            // The notice is queued, and cutting a connection drops its queue.
            tokio::time::sleep(NOTICE_HEAD_START.min(drain.timeout / 2)).await;
            if let Some(hop) = inner.edge.hop() {
                hop.drain(drain.spread);
            }
            inner.node.transports().kill_all_spread(drain.spread, KillReason::Drain).await;
        }
        let left = drain.timeout.saturating_sub(started.elapsed());
        let gone = tokio::time::timeout(left, self.emptied()).await;
        if gone.is_err() {
            tracing::warn!(
                sockets = self.socket_count(),
                handlers = inner.node.tasks.len(),
                timeout_ms = drain.timeout.as_millis() as u64,
                "the drain took too long, what is left is cut"
            );
            return Err(ServeError::DrainTimeout);
        }
        tracing::info!(elapsed_ms = started.elapsed().as_millis() as u64, "drained");
        Ok(())
    }

    /// Waits until the last socket has left and the last handler has ended.
    async fn emptied(&self) {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        // A balancer that goes on sending requests of other nodes here does not hold up the end.
        let forwarding_ends = Instant::now() + TO_FORWARD;
        let is_forwarding =
            || Instant::now() < forwarding_ends && self.0.edge.hop().is_some_and(Hop::is_busy);
        while self.socket_count() > 0 || !self.0.node.transports().is_empty() || is_forwarding() {
            tick.tick().await;
        }
        if let Some(handover) = &self.0.handover {
            handover.leave(HANDOVER).await;
        }
        if let Some(roaming) = self.0.node.recovery().and_then(|it| it.roaming()) {
            let _ = tokio::time::timeout(TO_WRITE, roaming.is_idle()).await;
        }
        if let Some(inbox) = &self.0.inbox {
            inbox.leave().await;
        }
        if let Some(history) = &self.0.history {
            history.written().await;
        }
        self.leave_cluster().await;
        // Ends tasks that run until the end, such as the listener to presence.
        self.0.node.stop.cancel();
        self.0.node.tasks.close();
        self.0.node.tasks.wait().await;
    }
}
