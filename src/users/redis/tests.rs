//! The directory against real Redis servers: one, and a cluster of three masters.

mod cluster;
mod conditions;
mod healing;
mod limits;
mod losses;
mod prefixes;
mod presence;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use test_kit::{
    network::Network,
    redis::RedisServer,
    waiting::{DEADLINE, until, within},
};
use tokio::sync::watch;

use super::{RedisDirectory, RedisOptions, Source};
use crate::{
    id::NodeId,
    link::{
        Link,
        redis::{
            commands::Commands,
            testing::{Reached as _, target},
        },
    },
    users::{
        DirectoryBackend, Here, Itself, Presence, PresenceSink, Unknown, UserLimit, UserSocket,
        seam::ThisNode,
        suite::{Outward, Step, claims, exact_under_any_interleaving, socket},
    },
};

/// A link that a test can cut.
struct TestSource {
    commands: Mutex<Option<Commands>>,
    link: watch::Sender<Link>,
}

impl TestSource {
    fn new(commands: Commands) -> Arc<Self> {
        Arc::new(Self { commands: Mutex::new(Some(commands)), link: watch::Sender::new(Link::Up) })
    }

    fn cut(&self) {
        *self.commands.lock() = None;
        self.link.send_replace(Link::Down);
    }

    fn mend(&self, commands: Commands) {
        *self.commands.lock() = Some(commands);
        self.link.send_replace(Link::Up);
    }
}

impl Source for TestSource {
    fn commands(&self) -> Option<Commands> {
        self.commands.lock().clone()
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }
}

/// A node, as far as the directory goes.
struct Node {
    directory: RedisDirectory,
    source: Arc<TestSource>,
    told: PresenceSink,
    gone: Arc<Gone>,
    name: NodeId,
}

/// How a node is started.
#[derive(Clone, Copy)]
struct As {
    lease: Duration,
    patience: Duration,
    grace: Duration,
    key_prefix: &'static str,
    limit: UserLimit,
}

impl Default for As {
    fn default() -> Self {
        Self {
            lease: LEASE,
            patience: DEADLINE,
            grace: GRACE,
            key_prefix: "socket.io",
            limit: NONE,
        }
    }
}

/// The sockets that were told to go.
#[derive(Default)]
struct Gone(Mutex<Vec<UserSocket>>, std::sync::atomic::AtomicBool);

impl Here for Gone {
    fn disconnect(&self, socket: &UserSocket) {
        self.0.lock().push(socket.clone());
    }

    /// All have upgraded, once that is set.
    fn transport(&self, _: &UserSocket) -> Option<&'static str> {
        self.1.load(std::sync::atomic::Ordering::Relaxed).then_some("websocket")
    }
}

const GRACE: Duration = Duration::from_millis(300);
const LEASE: Duration = Duration::from_millis(1500);
/// Of tests in which Redis hangs.
const PATIENCE: Duration = Duration::from_secs(1);
const NONE: UserLimit = UserLimit { max_sockets: 0, disconnect_oldest: false };

impl Node {
    fn start(name: &str, commands: Commands) -> Self {
        Self::start_as(name, commands, As::default())
    }

    fn start_with(name: &str, commands: Commands, lease: Duration, patience: Duration) -> Self {
        Self::start_as(name, commands, As { lease, patience, ..As::default() })
    }

    fn start_as(name: &str, commands: Commands, how: As) -> Self {
        Self::start_on(name, TestSource::new(commands), how)
    }

    fn start_on(name: &str, source: Arc<TestSource>, how: As) -> Self {
        let (told, gone) = (PresenceSink::default(), Arc::new(Gone::default()));
        let name = NodeId::named(name);
        let options = Self::options(name.clone(), how, told.clone(), gone.clone());
        Self { directory: RedisDirectory::start(source.clone(), options), source, told, gone, name }
    }

    fn options(name: NodeId, how: As, told: PresenceSink, gone: Arc<Gone>) -> RedisOptions {
        RedisOptions {
            itself: Itself::new(name, Arc::new(|| 7)),
            key_prefix: how.key_prefix.into(),
            lease: how.lease,
            offline_after: how.grace,
            patience: how.patience,
            rights: None,
            presence: Some(told),
            limit: how.limit,
            here: gone,
        }
    }

    fn bucket_keys(&self, user: &str) -> &[String; 2] {
        self.directory.shared.keys.bucket(super::entry::bucket_of(user))
    }

    fn socket(&self, number: u32) -> UserSocket {
        UserSocket { node: self.name.clone(), ..socket(number, "/") }
    }

    /// For tests in which no lease ends: a busy machine may hold up a beat for longer than `LEASE`.
    fn start_steady(name: &str, commands: Commands) -> Self {
        Self::start_with(name, commands, RedisOptions::LEASE, DEADLINE)
    }

    async fn enter(&self, user: &str, number: u32) {
        let entered = self.directory.enter(user.into(), self.socket(number), NONE).await;
        assert_eq!(entered, Ok(vec![]));
    }

    fn leave(&self, user: &str, number: u32) {
        self.directory.leave(&user.into(), "/", self.socket(number).id);
    }

    async fn sees(&self, user: &str, expected: &[UserSocket]) {
        let seen = until_equal(expected, async || self.directory.sockets(user).await);
        assert_eq!(seen.await, Ok(expected.to_vec()), "sockets of {user} seen by {:?}", self.name);
    }

    async fn sees_nobody(&self) {
        let users = async || self.directory.users(None, 100).await.map(|page| page.users);
        assert_eq!(until_equal(&[], users).await, Ok(vec![]));
    }

    async fn sockets(&self, user: &str) -> Vec<UserSocket> {
        self.directory.sockets(user).await.expect("it knows")
    }

    /// How many nodes it knows; none while it does not know.
    async fn nodes(&self) -> usize {
        self.directory.nodes().await.map_or(0, |nodes| nodes.len())
    }

    /// How many users are listed; none while it does not know.
    async fn users(&self) -> Option<usize> {
        self.directory.users(None, 1000).await.ok().map(|page| page.users.len())
    }

    fn told(&mut self) -> Vec<Presence> {
        std::iter::from_fn(|| self.told.try_next()).collect()
    }
}

/// What is seen as soon as it is what is expected, or at last.
async fn until_equal<T: PartialEq>(
    expected: &[T],
    mut see: impl AsyncFnMut() -> Result<Vec<T>, Unknown>,
) -> Result<Vec<T>, Unknown> {
    let start = std::time::Instant::now();
    loop {
        let seen = see().await;
        if seen.as_deref() == Ok(expected) || start.elapsed() > DEADLINE {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Directories of nodes on one Redis, for the published claims.
fn directories(
    commands: Commands,
    keep: impl Sized,
) -> impl AsyncFn(String) -> Outward<RedisDirectory> {
    async move |_: String| {
        let (commands, _) = (commands.clone(), &keep);
        Outward::new(move |node: ThisNode| {
            let ThisNode { itself, presence, here, offline_after } = node;
            let options = RedisOptions {
                itself,
                key_prefix: "socket.io".into(),
                lease: RedisOptions::LEASE,
                offline_after,
                patience: DEADLINE,
                rights: None,
                presence,
                limit: NONE,
                here,
            };
            RedisDirectory::start(TestSource::new(commands.clone()), options)
        })
    }
}

async fn on_one_server() -> impl AsyncFn(String) -> Outward<RedisDirectory> {
    let server = RedisServer::start().await;
    directories(server.commands().await, server)
}

async fn on_a_cluster() -> impl AsyncFn(String) -> Outward<RedisDirectory> {
    let nodes = test_kit::redis_cluster::start().await;
    let seeds: Vec<String> = nodes.iter().map(RedisServer::url).collect();
    let target = target(&seeds.join(","));
    let commands = target.commands(&target.config()).await;
    directories(commands.expect("a connection"), nodes)
}

claims!(single, on_one_server());
claims!(redis_cluster, on_a_cluster());

#[tokio::test]
async fn the_directory_is_exact_under_any_interleaving() {
    let server = RedisServer::start().await;
    let node = Node::start_steady("n1", server.commands().await);
    for round in 0..60 {
        let step = || {
            let (user, number, chat) =
                (rand::random_range(0..4), rand::random_range(0..12), rand::random());
            if rand::random() {
                Step::Enter(user, number, chat)
            } else {
                Step::Leave(user, number, chat)
            }
        };
        let steps = std::iter::repeat_with(step).take(100).collect();
        let limit = UserLimit { max_sockets: round % 4, disconnect_oldest: round % 8 < 4 };
        exact_under_any_interleaving(&node.directory, round, steps, limit).await;
    }
    node.sees_nobody().await;
    let counters = node.directory.counters();
    assert_eq!(counters.repaired.load(std::sync::atomic::Ordering::Relaxed), 0, "{counters:?}");
}

/// Prints how fast; it cannot fail for being slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_enter_at_once() {
    const MANY: u32 = 20_000;
    let server = RedisServer::start().await;
    let node = Node::start_steady("n1", server.commands().await);
    node.enter("warm", 0).await;
    let limit = UserLimit { max_sockets: 2, disconnect_oldest: false };
    let start = std::time::Instant::now();
    let users: Vec<String> = (0..MANY).map(|number| format!("user{number}")).collect();
    for chunk in (0..MANY).collect::<Vec<_>>().chunks(200) {
        let entering = chunk.iter().map(|&number| {
            let user = users[number as usize].as_str().into();
            node.directory.enter(user, node.socket(number), limit)
        });
        let entered = futures_util::future::join_all(entering).await;
        assert!(entered.iter().all(Result::is_ok));
    }
    let entered = start.elapsed();
    let start = std::time::Instant::now();
    for number in 0..MANY {
        node.leave(&users[number as usize], number);
    }
    node.leave("warm", 0);
    node.sees_nobody().await;
    let left = start.elapsed();
    let per_second = |time: Duration| f64::from(MANY) / time.as_secs_f64();
    println!("{:.0} enter/s, {:.0} leave/s", per_second(entered), per_second(left));
}
