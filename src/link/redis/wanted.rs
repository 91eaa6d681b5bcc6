//! Whether a connection is still on the right server.
//!
//! A connection outlives the reasons for which it was made. A virtual address, a Kubernetes Service
//! or a Sentinel begins to lead to another server, or a node leaves its cluster, and the server at
//! the other end goes on answering. So the right server is found out again and again, once for all
//! connections of a target, and each connection compares itself with it.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, RedisResult, aio::ConnectionLike};
use tracing::debug;

use super::{
    target::Target,
    view::View,
    whereabouts::{Known, Mark},
};

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
    /// The server to which the target leads. We write, so a replica is of no use. All nodes must use
    /// one server, or one cluster.
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
        refresh(&target);
        let whereabouts = target.whereabouts();
        let known = whereabouts.known()?;
        let wrong = match &*known {
            Known::One(mark) => {
                if mark.is_seen_by(connection).await.ok()? {
                    whereabouts.prove();
                    return None;
                }
                mark.is_set().await && whereabouts.believes()
            }
            Known::Cluster(view) => !self.is_in(view, connection).await?,
        };
        // The mark changes every few seconds, and an answer about a former one does not count.
        let is_current = whereabouts.known().is_some_and(|current| Arc::ptr_eq(&current, &known));
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

/// Finds the right server in the background if the knowledge is old.
fn refresh(target: &Target) {
    if target.whereabouts().is_due() {
        let target = target.clone();
        tokio::spawn(async move {
            let found = find_out(&target).await.unwrap_or_else(|error| {
                debug!(%error, "cannot find out which Redis is the right one");
                None
            });
            target.whereabouts().learn(found);
        });
    }
}

async fn find_out(target: &Target) -> RedisResult<Option<Known>> {
    match (target.seeds(), target.channels()) {
        (Some(seeds), _) => {
            let view = target.whereabouts().ask(target.connector(), &seeds).await?;
            Ok(Some(Known::Cluster(view)))
        }
        (None, Some(channels)) => {
            let connection = target.connect(&target.config()).await?;
            Ok(Some(Known::One(Mark::set(connection, channels).await?)))
        }
        (None, None) => Ok(None),
    }
}

/// Ends when a Redis Cluster has other masters than these, or when TLS files have changed: the
/// driver would use the old files for each node that comes back.
pub(super) async fn until_cluster_changes(target: &Target, masters: Option<&Vec<String>>) {
    for second in 1_u64.. {
        tokio::time::sleep(Duration::from_secs(1)).await;
        refresh(target);
        let changed = target.masters().is_some_and(|now| masters != Some(&now));
        if changed || second.is_multiple_of(10) && target.tls_changed() {
            return;
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
