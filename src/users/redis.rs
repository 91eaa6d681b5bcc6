//! The directory of a cluster: in Redis, exact, and repaired from each node's own knowledge.
//!
//! * `keys`, `entry`: the layout of the data; `scripts`: the operations on it, each one step in Redis.
//! * `mirror`: the sockets of this node. Leaving is a change of the mirror, so it never waits.
//! * `worker`: one task that tells Redis, in order for each `bucket` (`tell`). `run` is its loop,
//!   `jobs` the results that come back to it. `repair` compares a bucket with the mirror and makes
//!   good what could not be told.
//! * `footing`: whether Redis can be told anything; `retell`: changes of listed sockets.
//! * `beat`: leases, and users whose grace time is over; `sweep`: the entries of dead nodes.
//! * `ask`: questions; `standing`: whether the answers can be believed; `page`, `roster`: building
//!   the answers.
//!
//! A node is known by its incarnation, a name that no other run of it has. A node that was taken
//! for dead goes on under a new incarnation, so entries being swept never come back.

mod ask;
mod beat;
mod bucket;
mod entry;
mod footing;
mod jobs;
mod keys;
mod mirror;
mod page;
mod repair;
mod retell;
mod roster;
mod run;
mod scripts;
mod standing;
mod sweep;
mod tell;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    DirectoryBackend, Here, Itself, LimitReached, NodeInfo, PresenceSink, Unknown, UserLimit,
    UserPage, UserSocket,
};
use crate::{
    future::BoxFuture,
    id::{SocketId, UserId},
    link::{
        Link,
        redis::{commands::Commands, rights::Rights},
    },
};
use entry::bucket_of;
use keys::Keys;
use mirror::Mirror;
use scripts::Access;
pub(crate) use scripts::tries;
use standing::Standing;
use worker::Worker;

/// The link to Redis, as far as the directory needs it.
pub(crate) trait Source: Send + Sync + 'static {
    /// A connection. `None` while the link is down.
    fn commands(&self) -> Option<Commands>;

    /// The state of the link, now and from now on.
    fn link(&self) -> watch::Receiver<Link>;
}

impl Source for crate::link::redis::client::Redis {
    fn commands(&self) -> Option<Commands> {
        self.commands()
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link()
    }
}

/// How the directory behaves.
pub(crate) struct RedisOptions {
    pub(crate) itself: Itself,
    /// `redis.key_prefix`: the keys of this cluster start with our own name and then this.
    pub(crate) key_prefix: String,
    /// How long a silent node keeps its sockets. Renewed three times as often.
    pub(crate) lease: Duration,
    pub(crate) offline_after: Duration,
    /// Longest wait for an answer of Redis.
    pub(crate) patience: Duration,
    /// The commands that Redis refuses. `None` where everything is allowed.
    pub(crate) rights: Option<Arc<Rights>>,
    /// Takes changes of presence. Either all nodes of a cluster have one or none has, for each node
    /// reports the changes that it causes.
    pub(crate) presence: Option<PresenceSink>,
    /// The limit that decides who goes after several nodes admitted too many without asking.
    pub(crate) limit: UserLimit,
    /// The sockets themselves.
    pub(crate) here: Arc<dyn Here>,
}

impl RedisOptions {
    /// The lease of the contract.
    pub(crate) const LEASE: Duration = Duration::from_secs(15);
}

/// Counts of failures and repairs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Commands that failed or were not answered in time.
    pub(crate) failures: AtomicU64,
    /// Entries of an unknown format.
    pub(crate) malformed: AtomicU64,
    /// Sockets admitted without asking Redis.
    pub(crate) admitted_alone: AtomicU64,
    /// Sockets removed because their node is gone.
    pub(crate) swept: AtomicU64,
    /// Buckets that Redis had lost.
    pub(crate) lost: AtomicU64,
    /// Entries written or removed because Redis did not have what this node holds.
    pub(crate) repaired: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// The operations of the worker.
enum Op {
    Enter {
        user: UserId,
        socket: UserSocket,
        number: u64,
        limit: UserLimit,
        answer: Answer,
    },
    Leave {
        user: UserId,
        socket: UserSocket,
    },
    /// Writes entries anew: each as it was and as it is.
    Retell {
        bucket: usize,
        entries: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// The node describes itself otherwise now.
    Beat,
    /// A sweep left users without sockets in this bucket.
    Emptied(usize),
    /// Redis has lost this node's entries of this bucket.
    Torn(usize),
    Close(oneshot::Sender<()>),
}

type Entered = Result<Vec<UserSocket>, LimitReached>;
type Answer = oneshot::Sender<Entered>;

/// Longest queue of operations. A repair makes good what does not fit.
const MAX_OPS: usize = 65_536;

/// The state that the handle and the worker share.
struct Shared {
    itself: Itself,
    keys: Keys,
    mirror: Mutex<Mirror>,
    standing: Mutex<Standing>,
    counters: Counters,
    patience: Duration,
    rights: Option<Arc<Rights>>,
    /// Buckets of operations that did not fit, one bit each.
    overflow: AtomicU64,
}

impl Shared {
    fn access(&self, commands: Commands) -> Access {
        Access { commands, patience: self.patience }
    }

    fn take_overflow(&self) -> u64 {
        self.overflow.swap(0, Ordering::AcqRel)
    }
}

/// Keeps everything in Redis. If it is dropped without [`close`](DirectoryBackend::close), the other
/// nodes see a crash.
pub(crate) struct RedisDirectory {
    shared: Arc<Shared>,
    source: Arc<dyn Source>,
    ops: mpsc::Sender<Op>,
}

impl RedisDirectory {
    /// Starts at once, whatever the state of the link. Must be called inside a tokio runtime.
    pub(crate) fn start(source: Arc<dyn Source>, options: RedisOptions) -> Self {
        let (ops, asked) = mpsc::channel(MAX_OPS);
        let shared = Arc::new(Shared {
            itself: options.itself.clone(),
            keys: Keys::new(&options.key_prefix),
            mirror: Mutex::default(),
            standing: Mutex::default(),
            counters: Counters::default(),
            patience: options.patience,
            rights: options.rights.clone(),
            overflow: AtomicU64::new(0),
        });
        let worker = Worker::new(shared.clone(), source.clone(), ops.downgrade(), options);
        tokio::spawn(worker.run(asked));
        Self { shared, source, ops }
    }

    /// Queues an operation for the worker. It is dropped if the queue is full, and a repair makes
    /// that good. Must be called under the lock of the mirror, so that Redis hears of changes in
    /// their order.
    fn tell(&self, user: &str, op: Op) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.ops.try_send(op) {
            self.shared.overflow.fetch_or(1 << bucket_of(user), Ordering::AcqRel);
        }
    }

    /// The counts so far.
    #[cfg(test)]
    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    async fn entered(
        &self,
        user: UserId,
        number: u64,
        limit: UserLimit,
        mut answered: oneshot::Receiver<Entered>,
    ) -> Entered {
        if let Ok(Ok(entered)) = tokio::time::timeout(self.shared.patience, &mut answered).await {
            return entered;
        }
        // The worker decides under the same lock: it was first, or it will see our decision.
        let mut mirror = self.shared.mirror.lock();
        if let Ok(entered) = answered.try_recv() {
            return entered;
        }
        Counters::add(&self.shared.counters.admitted_alone, 1);
        mirror.decide(&user, number, limit)
    }
}

impl Itself {
    /// Whether the incarnation is, or was, this node in this run.
    fn is(&self, incarnation: &[u8]) -> bool {
        let rest = incarnation.strip_prefix(self.incarnation.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"~"))
    }
}

/// Longest page. More users at once would keep Redis from its other work.
const LONGEST_PAGE: usize = 1000;

impl DirectoryBackend for RedisDirectory {
    fn enter(&self, user: UserId, socket: UserSocket, limit: UserLimit) -> BoxFuture<'_, Entered> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut mirror = self.shared.mirror.lock();
            let number = mirror.ask(user.clone(), socket.clone());
            // A worker that has ended drops the answer. We decide ourselves then.
            let asked = user.clone();
            self.tell(&user, Op::Enter { user: asked, socket, number, limit, answer });
            number
        };
        Box::pin(self.entered(user, number, limit, answered))
    }

    fn leave(&self, user: &UserId, namespace: &str, id: SocketId) {
        let mut mirror = self.shared.mirror.lock();
        if let Some(socket) = mirror.leave(user, namespace, id) {
            self.tell(user, Op::Leave { user: user.clone(), socket });
        }
    }

    fn sockets(&self, user: &str) -> BoxFuture<'_, Result<Vec<UserSocket>, Unknown>> {
        let user: UserId = user.into();
        Box::pin(async move { self.listed(&user).await })
    }

    fn online(&self, users: Vec<UserId>) -> BoxFuture<'_, Result<Vec<bool>, Unknown>> {
        Box::pin(async move { self.are_online(&users).await })
    }

    fn users(
        &self,
        cursor: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<UserPage, Unknown>> {
        Box::pin(async move { self.page(cursor.as_deref(), limit.min(LONGEST_PAGE)).await })
    }

    fn users_here(&self) -> usize {
        self.shared.mirror.lock().user_count()
    }

    fn publish(&self, address: String) {
        *self.shared.itself.address.lock() = Some(address);
        // If there is no room for it, the next beat brings it.
        let _ = self.ops.try_send(Op::Beat);
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeInfo>, Unknown>> {
        Box::pin(async move {
            let mut nodes = self.living().await?;
            let itself = self.shared.itself.info(self.users_here());
            // A node knows itself better than its last beat does.
            if let Some(node) =
                nodes.iter_mut().find(|node| self.shared.itself.is(node.incarnation.as_bytes()))
            {
                (node.sockets, node.users) = (itself.sockets, itself.users);
            }
            Ok(nodes)
        })
    }

    fn trouble(&self) -> Option<String> {
        self.shared.standing.lock().trouble()
    }

    fn is_complete(&self) -> bool {
        self.shared.standing.lock().is_complete(Instant::now())
    }

    fn troubles(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.shared.counters;
        let counters = [
            ("failure", &counters.failures),
            ("malformed", &counters.malformed),
            ("admitted_alone", &counters.admitted_alone),
            ("swept", &counters.swept),
            ("lost", &counters.lost),
            ("repaired", &counters.repaired),
        ];
        counters.into_iter().map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let (done, closed) = oneshot::channel();
        Box::pin(async move {
            // A worker that has ended drops this; it has closed before.
            let _ = self.ops.send(Op::Close(done)).await;
            let _ = closed.await;
        })
    }
}
