//! Whether a connection is still on the right server.
//!
//! A connection outlives the reasons for which it was made. A virtual address, a Kubernetes Service
//! or a Sentinel begins to lead to another server, or a node leaves its cluster, and the server at
//! the other end goes on answering. So the right server is found out again and again, once for all
//! connections of a target, and each connection compares itself with it.
//!
//! For one Redis, a new connection is opened in the ordinary way and listens to a channel with a
//! unique name. The right server is the one with a listener on that channel. For a Redis Cluster,
//! the right nodes are those that most of its nodes name.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{
    ErrorKind, RedisError, RedisResult,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::time::Instant;
use tracing::debug;

use super::{
    ranges::Address,
    target::Target,
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

enum Known {
    One(Mark),
    Cluster(View),
}

/// A connection that listens to a channel of its own.
struct Mark {
    channel: String,
    sharded: bool,
    connection: MultiplexedConnection,
}

impl Mark {
    async fn set(target: &Target, channels: &Channels) -> RedisResult<Self> {
        let channel = format!("{}#here-{:032x}", channels.prefix, rand::random::<u128>());
        let mut connection = target.connect(&target.config()).await?;
        let verb = if channels.sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" };
        redis::cmd(verb).arg(&channel).exec_async(&mut connection).await?;
        Ok(Self { channel, sharded: channels.sharded, connection })
    }

    async fn is_seen_by(&self, connection: &mut impl ConnectionLike) -> RedisResult<bool> {
        let mut question = redis::cmd("PUBSUB");
        question.arg(if self.sharded { "SHARDNUMSUB" } else { "NUMSUB" }).arg(&self.channel);
        let counts: Vec<(String, usize)> = question.query_async(connection).await?;
        Ok(counts.iter().any(|(_, count)| *count > 0))
    }
}

/// The requirements on the server of a connection.
#[derive(Clone)]
pub(crate) struct Wanted {
    target: Option<Target>,
    /// A replica will do.
    any_role: bool,
    /// The id of the node in its cluster. `None` inside if it does not tell.
    id: Option<Option<String>>,
}

impl Wanted {
    /// The server to which the target leads.
    pub(crate) fn of(target: Target) -> Self {
        Self { target: Some(target), any_role: false, id: None }
    }

    /// Any server that answers.
    pub(crate) fn anything() -> Self {
        Self { target: None, any_role: true, id: None }
    }

    /// Of a Redis Cluster, any member. All members know classic channels, and a master that has
    /// changed places with its replica is as good as before.
    pub(crate) fn or_replica(self) -> Self {
        Self { any_role: true, ..self }
    }

    pub(super) fn is_master(&self) -> bool {
        !self.any_role
    }

    /// Why the server at the other end is not the right one. `None` if it is, or if that is
    /// unknown.
    pub(super) async fn is_wrong(
        &mut self,
        connection: &mut impl ConnectionLike,
    ) -> Option<RedisError> {
        let target = self.target.clone()?;
        let whereabouts = target.whereabouts();
        whereabouts.refresh(&target);
        let known = whereabouts.known.lock().clone()?;
        let wrong = match &*known {
            Known::One(mark) => {
                if mark.is_seen_by(connection).await.ok()? {
                    whereabouts.proven.store(true, Ordering::Relaxed);
                    return None;
                }
                let is_there = mark.is_seen_by(&mut mark.connection.clone()).await.unwrap_or(false);
                is_there && whereabouts.believes()
            }
            Known::Cluster(view) => !self.is_in(view, connection).await?,
        };
        // The mark changes every few seconds, and an answer about a former one does not count.
        let current = whereabouts.known.lock().clone();
        let is_current = current.is_some_and(|current| Arc::ptr_eq(&current, &known));
        (wrong && is_current).then(|| match &*known {
            Known::One(_) => elsewhere(),
            Known::Cluster(_) if self.any_role => forgotten(),
            Known::Cluster(_) => removed(),
        })
    }

    async fn is_in(&mut self, view: &View, connection: &mut impl ConnectionLike) -> Option<bool> {
        if self.id.is_none() {
            let id = redis::cmd("CLUSTER").arg("MYID").query_async(connection).await;
            self.id = Some(match id {
                Ok(id) => Some(id),
                Err(error) if error.code().is_some() => None,
                Err(_) => return None,
            });
        }
        match &self.id {
            Some(Some(id)) if view.masters.iter().all(|master| master.id.is_some()) => {
                Some(if self.any_role { view.has_member(id) } else { view.has(id) })
            }
            // The node does not know its id, so its view is compared with the others'.
            _ => match View::read(connection, "").await {
                Ok(own) => Some(own.masters.len() == view.masters.len()),
                Err(error) => (error.kind() == ErrorKind::Client).then_some(false),
            },
        }
    }
}

impl Whereabouts {
    /// Whether it counts that a connection does not see the mark.
    fn believes(&self) -> bool {
        self.proven.load(Ordering::Relaxed) || self.doubts.fetch_add(1, Ordering::Relaxed) < DOUBTS
    }

    /// Finds the right server in the background if the knowledge is old.
    pub(super) fn refresh(&self, target: &Target) {
        let is_old = self.asked.lock().is_none_or(|asked| asked.elapsed() >= EVERY);
        if is_old && !self.asking.swap(true, Ordering::AcqRel) {
            let target = target.clone();
            tokio::spawn(async move { target.whereabouts().find_out(&target).await });
        }
    }

    async fn find_out(&self, target: &Target) {
        let found = match (target.seeds(), target.channels()) {
            (Some(seeds), _) => {
                self.witnesses.ask(target, &seeds).await.map(Known::Cluster).map(Some)
            }
            (None, Some(channels)) => Mark::set(target, channels).await.map(Known::One).map(Some),
            (None, None) => Ok(None),
        };
        match found {
            Ok(found) => *self.known.lock() = found.map(Arc::new),
            Err(error) => {
                debug!(%error, "cannot find out which Redis is the right one");
                *self.known.lock() = None;
            }
        }
        *self.asked.lock() = Some(Instant::now());
        self.asking.store(false, Ordering::Release);
    }

    /// The masters of a Redis Cluster, asked for now.
    ///
    /// # Errors
    /// If no node answers.
    pub(super) async fn view(&self, target: &Target, seeds: &[Address]) -> RedisResult<View> {
        let view = self.witnesses.ask(target, seeds).await?;
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

/// Longest time on a wrong server before it is noticed: the right one is found out every few
/// seconds, a server is checked twice, and each question takes time.
pub(crate) const UNNOTICED: Duration = Duration::from_secs(10);

/// Whether the error says that the server is not, or no longer, the right one. It may have answered
/// all the time.
pub(crate) fn is_wrong_server(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Client
}

fn elsewhere() -> RedisError {
    (ErrorKind::Client, "redis.url leads to another server now").into()
}

fn forgotten() -> RedisError {
    (ErrorKind::Client, "the node does not belong to the cluster any more").into()
}

fn removed() -> RedisError {
    (ErrorKind::Client, "the node is no longer a master with slots of the cluster").into()
}
