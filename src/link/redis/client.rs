//! A lasting connection for commands.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use redis::{PushInfo, PushKind, RedisError, RedisResult, aio::SendError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    commands::{Commands, Way},
    liveness::{self, Liveness},
    refusal::{explain, explain_loss, link_error},
    state::LinkState,
    target::Target,
    wanted::{self, Wanted},
};
use crate::link::{Link, LinkError, backoff::Backoff};

/// Redis, for commands with an answer. Clones share the connection.
///
/// The connection is made anew in the background whenever it is lost, until the token given at the
/// start is cancelled.
#[derive(Clone)]
pub(crate) struct Redis(Arc<Shared>);

struct Shared {
    target: Target,
    commands: ArcSwapOption<Commands>,
    state: LinkState,
    stop: CancellationToken,
}

impl Redis {
    /// Nothing is connected before [`start`](Self::start).
    pub(crate) fn new(target: Target) -> Self {
        let state = LinkState::new("commands", target.address());
        let (commands, stop) = (ArcSwapOption::empty(), CancellationToken::new());
        Self(Arc::new(Shared { target, commands, state, stop }))
    }

    /// Connects and keeps the connection from then on, until [`stop`](Self::stop). With `wait` a
    /// first failure is mended, too.
    ///
    /// # Errors
    /// If the first attempt fails, unless `wait` is set.
    pub(crate) async fn start(&self, wait: bool) -> Result<(), LinkError> {
        let shared = &self.0;
        let first = match shared.connect().await {
            Ok(open) => {
                shared.state.up();
                Some(open)
            }
            Err(error) if wait => {
                shared.state.down(&explain(&shared.target, &error));
                None
            }
            Err(error) => return Err(link_error(&shared.target, &error)),
        };
        let keeper = shared.clone();
        tokio::spawn(async move {
            keeper.stop.run_until_cancelled(keeper.keep(first)).await;
            keeper.commands.store(None);
            keeper.state.end();
        });
        Ok(())
    }

    /// Ends the connection.
    pub(crate) fn stop(&self) {
        self.0.stop.cancel();
    }

    /// The connection, or `None` while there is none. Never waits.
    pub(crate) fn commands(&self) -> Option<Commands> {
        self.0.commands.load().as_deref().cloned()
    }

    /// The state of the link, now and from now on.
    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.0.state.watch()
    }

    /// Why there is no connection. `None` while there is one.
    pub(crate) fn reason(&self) -> Option<String> {
        self.0.state.reason()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.0.target).finish()
    }
}

/// A connection, and the signal of its loss.
struct Open {
    commands: Commands,
    closed: CancellationToken,
    /// The masters of a Redis Cluster at the time of opening.
    masters: Option<Vec<String>>,
}

/// How a connection ended.
enum End {
    Lost(RedisError),
    /// The Redis Cluster has other masters now, or the TLS files have changed.
    Outdated,
}

impl Shared {
    async fn connect(&self) -> RedisResult<Open> {
        let closed = CancellationToken::new();
        let tell = closed.clone();
        let config = self.target.config().set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                tell.cancel();
            }
            Ok::<_, SendError>(())
        });
        let commands = self.target.commands(&config).await?;
        let open = Open { commands, closed, masters: self.target.masters() };
        self.commands.store(Some(Arc::new(open.commands.clone())));
        Ok(open)
    }

    async fn keep(&self, mut open: Option<Open>) {
        let mut backoff = Backoff::default();
        loop {
            if let Some(current) = open.take() {
                let lost = match self.until_over(&current).await {
                    End::Lost(error) => error,
                    // The old connection serves until there is a new one.
                    End::Outdated => {
                        open = Some(self.connect().await.unwrap_or(current));
                        continue;
                    }
                };
                self.commands.store(None);
                self.state.down(&explain_loss(&self.target, &lost));
                backoff.reset();
            }
            tokio::time::sleep(backoff.next()).await;
            match self.connect().await {
                Ok(made) => {
                    self.state.up();
                    open = Some(made);
                }
                Err(error) => self.state.down(&explain(&self.target, &error)),
            }
        }
    }

    async fn until_over(&self, Open { commands, closed, masters }: &Open) -> End {
        let life = Liveness::new(self.target.timeouts().silence);
        match commands.way.clone() {
            Way::Single(one) => tokio::select! {
                () = closed.cancelled() => End::Lost(closed_by_redis()),
                () = commands.refused() => End::Lost(read_only()),
                error = liveness::until_dead(one, Wanted::of(self.target.clone()), &life) => {
                    End::Lost(error)
                },
            },
            // The driver mends the connections to the nodes by itself. We only ask whether any node
            // answers. The driver learns the nodes from any of them, even from one that was
            // removed.
            Way::Cluster(all) => tokio::select! {
                error = liveness::until_dead(AnyNode(all), Wanted::anything(), &life) => {
                    End::Lost(error)
                }
                () = wanted::until_cluster_changes(&self.target, masters.as_ref()) => End::Outdated,
            },
        }
    }
}

/// A cluster, for a question that any of its nodes may answer.
struct AnyNode(redis::cluster_async::ClusterConnection);

impl redis::aio::ConnectionLike for AnyNode {
    fn req_packed_command<'a>(
        &'a mut self,
        command: &'a redis::Cmd,
    ) -> redis::RedisFuture<'a, redis::Value> {
        use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
        Box::pin(async move {
            let anywhere = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
            self.0.route_command(command.clone(), anywhere).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> redis::RedisFuture<'a, Vec<redis::Value>> {
        self.0.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        0
    }
}

pub(crate) fn closed_by_redis() -> RedisError {
    (redis::ErrorKind::Io, "the connection was closed by the other side").into()
}

fn read_only() -> RedisError {
    (redis::ErrorKind::Client, "it takes no writes (READONLY): it is a replica").into()
}
