//! What is known of the right server, once for all connections of a target.
//!
//! For one Redis, a new connection is opened in the ordinary way and listens to a channel with a
//! unique name. The right server is the one with a listener on that channel. For a Redis Cluster,
//! the right nodes are those that most of its nodes name. `wanted` finds that out again and again,
//! and compares connections with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{
    RedisResult,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::time::Instant;

use super::{
    connector::Connector,
    ranges::Address,
    view::{View, Witnesses},
};

/// The time between two rounds.
const EVERY: Duration = Duration::from_secs(3);
/// Most doubts. A connection that is given up raises two.
const DOUBTS: u32 = 12;

/// The possible places of channels with unique names.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    /// The start of their names.
    pub(crate) prefix: String,
    /// `SSUBSCRIBE` instead of `SUBSCRIBE`.
    pub(crate) sharded: bool,
}

/// The knowledge about the right server.
#[derive(Default)]
pub(super) struct Whereabouts {
    known: Mutex<Option<Arc<Known>>>,
    asked: Mutex<Option<Instant>>,
    asking: AtomicBool,
    /// A connection has found itself on the right server. Before that a proxy may hide the
    /// listeners, so only a limited number of doubts counts.
    proven: AtomicBool,
    doubts: AtomicU32,
    witnesses: Witnesses,
}

/// The right server: where a mark is, or in the view of a cluster.
pub(super) enum Known {
    One(Mark),
    Cluster(View),
}

/// A connection that listens to a channel of its own.
pub(super) struct Mark {
    channel: String,
    sharded: bool,
    connection: MultiplexedConnection,
}

impl Mark {
    /// Begins to listen on this connection.
    ///
    /// # Errors
    /// If Redis refuses that, or does not answer.
    pub(super) async fn set(
        mut connection: MultiplexedConnection,
        channels: &Channels,
    ) -> RedisResult<Self> {
        let channel = format!("{}#here-{:032x}", channels.prefix, rand::random::<u128>());
        let verb = if channels.sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" };
        redis::cmd(verb).arg(&channel).exec_async(&mut connection).await?;
        Ok(Self { channel, sharded: channels.sharded, connection })
    }

    /// Whether the server of a connection is the one on which this mark is set.
    pub(super) async fn is_seen_by(
        &self,
        connection: &mut impl ConnectionLike,
    ) -> RedisResult<bool> {
        let mut question = redis::cmd("PUBSUB");
        question.arg(if self.sharded { "SHARDNUMSUB" } else { "NUMSUB" }).arg(&self.channel);
        let counts: Vec<(String, usize)> = question.query_async(connection).await?;
        Ok(counts.iter().any(|(_, count)| *count > 0))
    }

    /// Whether it is set still, as far as its own server says.
    pub(super) async fn is_set(&self) -> bool {
        self.is_seen_by(&mut self.connection.clone()).await.unwrap_or(false)
    }
}

impl Whereabouts {
    /// Whether it counts that a connection does not see the mark.
    pub(super) fn believes(&self) -> bool {
        self.proven.load(Ordering::Relaxed) || self.doubts.fetch_add(1, Ordering::Relaxed) < DOUBTS
    }

    /// A connection has seen the mark.
    pub(super) fn prove(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }

    pub(super) fn known(&self) -> Option<Arc<Known>> {
        self.known.lock().clone()
    }

    /// Whether the right server is to be found out now, by the caller, who tells the result to
    /// [`learn`](Self::learn).
    pub(super) fn is_due(&self) -> bool {
        let is_old = self.asked.lock().is_none_or(|asked| asked.elapsed() >= EVERY);
        is_old && !self.asking.swap(true, Ordering::AcqRel)
    }

    /// Ends a round. `None`: it is not known which server is the right one.
    pub(super) fn learn(&self, found: Option<Known>) {
        *self.known.lock() = found.map(Arc::new);
        *self.asked.lock() = Some(Instant::now());
        self.asking.store(false, Ordering::Release);
    }

    /// What most nodes of a Redis Cluster say.
    ///
    /// # Errors
    /// If no node answers.
    pub(super) async fn ask(&self, connector: &Connector, seeds: &[Address]) -> RedisResult<View> {
        self.witnesses.ask(connector, seeds).await
    }

    /// The masters of a Redis Cluster, asked for now.
    ///
    /// # Errors
    /// If no node answers.
    pub(super) async fn view(&self, connector: &Connector, seeds: &[Address]) -> RedisResult<View> {
        let view = self.ask(connector, seeds).await?;
        *self.known.lock() = Some(Arc::new(Known::Cluster(view.clone())));
        *self.asked.lock() = Some(Instant::now());
        Ok(view)
    }

    /// The masters as they were known a moment ago.
    pub(super) fn last_view(&self) -> Option<View> {
        match &**self.known.lock().as_ref()? {
            Known::Cluster(view) => Some(view.clone()),
            Known::One(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_never_leads_to_the_same_server_is_taken_as_it_is() {
        let whereabouts = Whereabouts::default();
        assert_eq!((0..100).filter(|_| whereabouts.believes()).count(), DOUBTS as usize);
        whereabouts.prove();
        assert!(whereabouts.believes());
    }
}
