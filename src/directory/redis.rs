//! The directory of a cluster: in Redis, exact, and healed by what each node holds itself.
//!
//! * `entry`: keys and entries; `scripts`: what Redis does with them, in one step each.
//! * `mirror`: what this node holds. Leaving is a change of the mirror, so it never waits.
//! * `worker`: one task that tells Redis, in order; what it could not tell, `repair` makes good by
//!   comparing a bucket with the mirror.
//! * `beat`: leases, the sweep of nodes that are gone, users whose grace time is over.
//!
//! A node is known by its incarnation: a name that no other run of it has. Who was taken for dead
//! goes on under a new one, so what is being swept never comes back.

mod beat;
mod entry;
mod mirror;
mod repair;
mod scripts;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{FromRedisValue, RedisResult, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Itself, LimitReached, NodeInfo, PresenceSink, UserDirectory, UserLimit, UserPage, UserSocket,
};
use crate::{
    cluster::broker::Link,
    handler::BoxFuture,
    id::{SocketId, UserId},
    redis::commands::Commands,
};
use entry::{BUCKETS, after_user, bucket_of, decode, decode_user, encode_user, keys, node_keys};
use mirror::Mirror;
use scripts::{PATIENCE, SCRIPTS, call, run, run_one};
use worker::Worker;

/// The link to Redis, as far as the directory needs it.
pub(crate) trait Source: Send + Sync + 'static {
    /// A connection; none while the link is down.
    fn commands(&self) -> Option<Commands>;

    /// The state of the link, now and from now on.
    fn link(&self) -> watch::Receiver<Link>;
}

impl Source for crate::redis::link::Redis {
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
    /// How long a node that gives no sign of life keeps its sockets. Renewed three times as often.
    pub(crate) lease: Duration,
    pub(crate) offline_after: Duration,
    /// Where changes of presence go. All nodes of a cluster have one, or none has: each tells those
    /// that it brings about.
    pub(crate) presence: Option<PresenceSink>,
}

impl RedisOptions {
    /// The lease of the contract.
    pub(crate) const LEASE: Duration = Duration::from_secs(15);
}

/// What went wrong, and what was made good.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Commands that failed or were not answered in time.
    pub(crate) failures: AtomicU64,
    /// Entries that nobody of us wrote.
    pub(crate) malformed: AtomicU64,
    /// Sockets let in without asking Redis.
    pub(crate) admitted_alone: AtomicU64,
    /// Sockets of other nodes that were removed because their node is gone.
    pub(crate) swept: AtomicU64,
    /// Entries written or removed because Redis did not have what this node holds.
    pub(crate) repaired: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// What the worker is asked to do.
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
    /// A sweep left users without sockets in this bucket.
    Emptied(usize),
    Close(oneshot::Sender<()>),
}

type Entered = Result<Vec<UserSocket>, LimitReached>;
type Answer = oneshot::Sender<Entered>;

/// What the handle and the worker share.
struct Shared {
    itself: Itself,
    mirror: Mutex<Mirror>,
    counters: Counters,
}

/// Keeps everything in Redis. Dropped without [`close`](UserDirectory::close) it is to the other
/// nodes as if it had crashed.
pub(crate) struct RedisDirectory {
    shared: Arc<Shared>,
    source: Arc<dyn Source>,
    ops: mpsc::UnboundedSender<Op>,
}

impl RedisDirectory {
    /// Starts at once, whatever the state of the link. To be called inside a tokio runtime.
    pub(crate) fn start(source: Arc<dyn Source>, options: RedisOptions) -> Self {
        let (ops, asked) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            itself: options.itself.clone(),
            mirror: Mutex::default(),
            counters: Counters::default(),
        });
        let worker = Worker::new(shared.clone(), source.clone(), ops.downgrade(), options);
        tokio::spawn(worker.run(asked));
        Self { shared, source, ops }
    }

    /// What went wrong so far.
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
        if let Ok(Ok(entered)) = tokio::time::timeout(PATIENCE, &mut answered).await {
            return entered;
        }
        // The worker decides under the same lock: either it was first, or it will see our decision.
        let mut mirror = self.shared.mirror.lock();
        if let Ok(entered) = answered.try_recv() {
            return entered;
        }
        Counters::add(&self.shared.counters.admitted_alone, 1);
        mirror.decide(&user, number, limit)
    }

    /// What Redis answers, or none if it cannot be asked; then this node's own view has to do.
    fn sound<T: FromRedisValue>(&self, answer: RedisResult<Value>) -> Option<T> {
        let parsed = answer.and_then(|value| Ok(T::from_redis_value(value)?));
        parsed.inspect_err(|_| Counters::add(&self.shared.counters.failures, 1)).ok()
    }

    async fn listed(&self, user: &str) -> Option<Vec<UserSocket>> {
        let commands = self.source.commands()?;
        let encoded = encode_user(user);
        let mut range = redis::cmd("ZRANGEBYLEX");
        range.arg(&keys(bucket_of(user))[0]);
        range.arg([b"[", &*encoded].concat()).arg([b"(", &*after_user(&encoded)].concat());
        let entries: Vec<Vec<u8>> = self.sound(run_one(&commands, range).await)?;
        let mirror = self.shared.mirror.lock();
        let mut sockets = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(entry) = decode(&entry) else {
                Counters::add(&self.shared.counters.malformed, 1);
                continue;
            };
            // A leave may be on its way to Redis; of its own sockets a node knows better.
            if !self.shared.itself.is(entry.incarnation.as_bytes())
                || mirror.has(user, &entry.socket)
            {
                sockets.push(entry.socket);
            }
        }
        Some(sockets)
    }

    async fn page(&self, cursor: Option<&str>, limit: usize) -> Option<UserPage> {
        let commands = self.source.commands()?;
        let from = cursor.map(encode_user).unwrap_or_default();
        let ask = |bucket: usize| {
            let mut page = call(&SCRIPTS.page, keys(bucket));
            page.arg(&from).arg(limit + 1);
            vec![page]
        };
        let mut users = BTreeMap::new();
        for answer in run(&commands, (0..BUCKETS).map(ask).collect()).await.into_iter().flatten() {
            let listed: Vec<(Vec<u8>, usize)> = self.sound(answer)?;
            for (user, count) in listed {
                match decode_user(&user) {
                    Some(user) => _ = users.insert(user, count),
                    None => Counters::add(&self.shared.counters.malformed, 1),
                }
            }
        }
        Some(first(users, limit))
    }

    async fn living(&self) -> Option<Vec<NodeInfo>> {
        let commands = self.source.commands()?;
        let answer = run_one(&commands, call(&SCRIPTS.nodes, &node_keys()[..1])).await;
        let (nodes, malformed) = beat::read_nodes(self.sound(answer)?);
        Counters::add(&self.shared.counters.malformed, malformed);
        Some(nodes)
    }
}

impl Itself {
    /// Whether the incarnation is, or was, this node in this run.
    fn is(&self, incarnation: &[u8]) -> bool {
        let rest = incarnation.strip_prefix(self.incarnation.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"~"))
    }
}

fn first(users: BTreeMap<UserId, usize>, limit: usize) -> UserPage {
    let mut users = users.into_iter();
    let page = users.by_ref().take(limit).collect();
    UserPage { users: page, next: users.next().map(|(user, _)| user) }
}

/// More users at once would keep Redis from its other work.
const LONGEST_PAGE: usize = 1000;

impl UserDirectory for RedisDirectory {
    fn enter(&self, user: UserId, socket: UserSocket, limit: UserLimit) -> BoxFuture<'_, Entered> {
        let (answer, answered) = oneshot::channel();
        let number = {
            // Sent under the lock, so that Redis hears of it in the order in which it happened.
            let mut mirror = self.shared.mirror.lock();
            let number = mirror.ask(user.clone(), socket.clone());
            // A worker that has ended drops the answer, and we decide ourselves.
            let _ = self.ops.send(Op::Enter { user: user.clone(), socket, number, limit, answer });
            number
        };
        Box::pin(self.entered(user, number, limit, answered))
    }

    fn leave(&self, user: &UserId, namespace: &str, id: SocketId) {
        let mut mirror = self.shared.mirror.lock();
        if let Some(socket) = mirror.leave(user, namespace, id) {
            let _ = self.ops.send(Op::Leave { user: user.clone(), socket });
        }
    }

    fn sockets(&self, user: &str) -> BoxFuture<'_, Vec<UserSocket>> {
        let user: UserId = user.into();
        Box::pin(async move {
            let listed = self.listed(&user).await;
            listed.unwrap_or_else(|| self.shared.mirror.lock().sockets(&user))
        })
    }

    fn users(&self, cursor: Option<UserId>, limit: usize) -> BoxFuture<'_, UserPage> {
        let limit = limit.min(LONGEST_PAGE);
        Box::pin(async move {
            if let Some(page) = self.page(cursor.as_deref(), limit).await {
                return page;
            }
            let mirror = self.shared.mirror.lock();
            let users = mirror.users().map(|(user, count)| (user.clone(), count));
            first(users.filter(|(user, _)| cursor.as_ref() <= Some(user)).collect(), limit)
        })
    }

    fn nodes(&self) -> BoxFuture<'_, Vec<NodeInfo>> {
        Box::pin(async move {
            let living = self.living().await;
            let itself = self.shared.itself.info(self.shared.mirror.lock().user_count());
            let Some(mut nodes) = living else { return vec![itself] };
            // Of itself a node knows better than its last beat.
            if let Some(node) =
                nodes.iter_mut().find(|node| self.shared.itself.is(node.incarnation.as_bytes()))
            {
                (node.sockets, node.users) = (itself.sockets, itself.users);
            }
            nodes
        })
    }

    fn troubles(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.shared.counters;
        let counters = [
            ("failure", &counters.failures),
            ("malformed", &counters.malformed),
            ("admitted_alone", &counters.admitted_alone),
            ("swept", &counters.swept),
            ("repaired", &counters.repaired),
        ];
        counters.into_iter().map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let (done, closed) = oneshot::channel();
        let _ = self.ops.send(Op::Close(done));
        Box::pin(async move {
            let _ = closed.await;
        })
    }
}
