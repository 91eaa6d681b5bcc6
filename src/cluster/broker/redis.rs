//! Frames through Redis: one connection that publishes, in one order, and one that listens.
//!
//! `topics` is what is listened to; `queue` what waits to be published; `wire` the commands for each
//! kind of Redis. Here is the task that makes both connections, and makes them anew when either is
//! lost.

mod driver;
mod queue;
mod topics;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use redis::{PushInfo, PushKind, RedisError, RedisResult, Value, aio::SendError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use driver::Driver;
use queue::Queue;
use topics::Topics;

use super::{Broker, BrokerCounts, Channel, Disconnected, Inbound, Link, LinkError, Topic};
use crate::{
    config::WireProtocol,
    handler::BoxFuture,
    redis::{
        backoff::Backoff,
        link::{LinkState, closed_by_redis, unreachable},
        probe,
        target::Target,
    },
};

/// How long frames that were published before the end may take to go out.
const FLUSH: Duration = Duration::from_secs(1);

/// Carries frames by `PUBLISH` and `SUBSCRIBE`, or by their sharded forms.
pub(crate) struct RedisBroker(Arc<Shared>);

struct Shared {
    target: Target,
    sharded: bool,
    topics: Topics,
    queue: Queue,
    state: LinkState,
    inbound: OnceLock<Inbound>,
    /// For questions; none while the link is down.
    asking: parking_lot::Mutex<Option<Driver>>,
    received: AtomicU64,
    reconnects: AtomicU64,
    stop: CancellationToken,
}

/// Both connections of a link that is up.
struct Open {
    publishing: Driver,
    listening: Driver,
    /// Ends with either of them.
    lost: CancellationToken,
}

impl RedisBroker {
    /// Nothing is connected before the start.
    pub(crate) fn new(target: Target, protocol: WireProtocol) -> Self {
        let state = LinkState::new("frames", target.address());
        Self(Arc::new(Shared {
            target,
            sharded: protocol == WireProtocol::Sharded,
            topics: Topics::default(),
            queue: Queue::default(),
            state,
            inbound: OnceLock::new(),
            asking: parking_lot::Mutex::new(None),
            received: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            stop: CancellationToken::new(),
        }))
    }
}

impl Shared {
    /// Makes both connections and listens to every topic.
    async fn open(self: &Arc<Self>) -> RedisResult<Open> {
        let lost = CancellationToken::new();
        let publishing = self.connect(&lost, false).await?;
        let listening = self.connect(&lost, true).await?;
        self.topics.listen_again(&listening).await?;
        *self.asking.lock() = Some(publishing.clone());
        Ok(Open { publishing, listening, lost })
    }

    async fn connect(
        self: &Arc<Self>,
        lost: &CancellationToken,
        listens: bool,
    ) -> RedisResult<Driver> {
        let (shared, lost) = (Arc::downgrade(self), lost.clone());
        // Called by the driver itself, for each message in order: no task stands in between.
        let push = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                lost.cancel();
            } else if let Some(shared) = shared.upgrade().filter(|_| listens) {
                shared.take(push);
            }
            Ok::<_, SendError>(())
        };
        Driver::connect(&self.target, push, self.sharded).await
    }

    fn take(&self, PushInfo { kind, data }: PushInfo) {
        let skipped = match kind {
            PushKind::Message | PushKind::SMessage => 0,
            // The pattern comes first.
            PushKind::PMessage => 1,
            _ => return,
        };
        let mut data = data.into_iter().skip(skipped);
        let (Some(Value::BulkString(channel)), Some(Value::BulkString(frame))) =
            (data.next(), data.next())
        else {
            return;
        };
        let (Ok(channel), Some(inbound)) = (std::str::from_utf8(&channel), self.inbound.get())
        else {
            return;
        };
        self.received.fetch_add(1, Ordering::Relaxed);
        let frame = Bytes::from(frame);
        // A panic would end the driver's task, and with it the link.
        if catch_unwind(AssertUnwindSafe(|| inbound(channel, &frame))).is_err() {
            tracing::error!("a message of another node brought about a panic");
        }
    }

    /// Keeps the link until the end.
    async fn keep(self: Arc<Self>, mut open: Option<Open>) {
        let mut backoff = Backoff::default();
        loop {
            if let Some(link) = open.take() {
                let error = self.use_up(link).await;
                self.asking.lock().take();
                self.state.down(&error);
                self.queue.drop_all();
                self.topics.wake();
                backoff.reset();
            }
            tokio::time::sleep(backoff.next()).await;
            match self.open().await {
                Ok(link) => {
                    self.reconnects.fetch_add(1, Ordering::Relaxed);
                    self.state.up();
                    open = Some(link);
                }
                Err(error) => tracing::debug!(%error, "Redis is still out of reach"),
            }
        }
    }

    /// Works on a link until it is lost, and says why.
    async fn use_up(&self, open: Open) -> RedisError {
        let Open { publishing, listening, lost } = open;
        let heard = || self.received.load(Ordering::Relaxed);
        let wants_master = self.target.wants_master() && !self.target.is_cluster();
        tokio::select! {
            biased;
            () = lost.cancelled() => closed_by_redis(),
            error = self.topics.follow(&listening) => error,
            error = self.queue.work_off(&publishing) => error,
            error = probe::until_dead(listening.clone(), wants_master, heard) => error,
            error = probe::until_dead(publishing.clone(), wants_master, || self.queue.sent()) => error,
        }
    }
}

impl Broker for RedisBroker {
    fn start(&self, inbound: Inbound, wait: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let shared = &self.0;
            // Started once, by who built it.
            let _ = shared.inbound.set(inbound);
            if shared.sharded
                && let Some(unfit) = driver::unfit_for_shards(&shared.target).await
            {
                return Err(unfit);
            }
            let first = match shared.open().await {
                Ok(open) => {
                    shared.state.up();
                    Some(open)
                }
                Err(error) if wait => {
                    shared.state.down(&error);
                    None
                }
                Err(error) => return Err(unreachable(&shared.target, error)),
            };
            let keeper = shared.clone();
            tokio::spawn(async move {
                let stop = keeper.stop.clone();
                stop.run_until_cancelled(keeper.clone().keep(first)).await;
                keeper.asking.lock().take();
                keeper.state.end();
            });
            Ok(())
        })
    }

    fn publish(&self, channel: &str, frame: Bytes) {
        self.0.queue.push(self.0.state.is_up(), channel, frame);
    }

    fn listen(&self, topic: Topic) {
        self.0.topics.listen(topic);
    }

    fn unlisten(&self, topic: &Topic) {
        self.0.topics.unlisten(topic);
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.topics.settled(|| self.0.state.is_up()))
    }

    fn listeners(&self, channels: Vec<Channel>) -> BoxFuture<'_, Result<Vec<usize>, Disconnected>> {
        Box::pin(async move {
            let driver = self.0.asking.lock().clone().ok_or(Disconnected)?;
            driver.listeners(&channels).await.map_err(|error| {
                tracing::debug!(%error, "the nodes cannot be counted");
                Disconnected
            })
        })
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.0.state.watch()
    }

    fn counts(&self) -> BrokerCounts {
        BrokerCounts {
            received: self.0.received.load(Ordering::Relaxed),
            reconnects: self.0.reconnects.load(Ordering::Relaxed),
            ..self.0.queue.counts()
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.0.state.is_up() {
                let _ = tokio::time::timeout(FLUSH, self.0.queue.emptied()).await;
            }
            // Closing the connections ends every subscription at once.
            self.0.stop.cancel();
        })
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker").field("target", &self.0.target).finish_non_exhaustive()
    }
}
