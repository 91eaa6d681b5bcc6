//! What every [`UserDirectory`] does, as tests. The crate's own pass them, too: in memory, and in
//! Redis.
//!
//! A test of the program calls [`all`] with a function that makes the directory of a further node of
//! the cluster that it names. Directories of one name know each other, those of different names do
//! not. [`alone`] is the part for a directory that serves a single node. A claim that does not hold
//! panics, and says what was expected.
//!
//! ```
//! use switchboard::users::{UserDirectory, conformance};
//!
//! // `make` takes the name of a cluster.
//! async fn keeps_the_claims<D: UserDirectory>(make: impl AsyncFn(String) -> D) {
//!     conformance::all(&make).await;
//! }
//!
//! async fn keeps_each_claim<D: UserDirectory>(make: impl AsyncFn(String) -> D) {
//!     conformance::alone(&make).await;
//!     // Which is:
//!     conformance::a_socket_is_listed_until_it_leaves(&make).await;
//!     conformance::a_limit_refuses_the_newest_or_removes_the_oldest(&make).await;
//!     conformance::pages_follow_each_other_without_gap_or_repetition(&make).await;
//!     conformance::the_id_of_a_user_may_be_any_text(&make).await;
//!     conformance::who_is_online_is_told_once(&make).await;
//!     conformance::who_closes_is_not_listed(&make).await;
//!     // And with several nodes:
//!     conformance::nodes_see_one_another(&make).await;
//!     conformance::a_limit_holds_for_all_nodes(&make).await;
//!     conformance::a_node_that_closes_takes_its_sockets_along(&make).await;
//! }
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{
    Here, Itself, LimitReached, Presence, PresenceSink, UserDirectory, UserLimit, UserSocket,
    seam::ThisNode,
};
use crate::id::{NodeId, SocketId, UserId};

/// How long a claim waits for what should come soon.
const DEADLINE: Duration = Duration::from_secs(15);

/// The grace time of these nodes: not over between two steps, on a busy machine either.
const GRACE: Duration = Duration::from_secs(4);

const NO_LIMIT: UserLimit = UserLimit { max_sockets: 0, disconnect_oldest: false };

/// All claims, one after the other.
///
/// # Panics
/// If one of them does not hold.
pub async fn all<D: UserDirectory>(make: impl AsyncFn(String) -> D) {
    alone(&make).await;
    nodes_see_one_another(&make).await;
    a_limit_holds_for_all_nodes(&make).await;
    a_node_that_closes_takes_its_sockets_along(&make).await;
}

/// The claims about one node.
///
/// # Panics
/// If one of them does not hold.
pub async fn alone<D: UserDirectory>(make: impl AsyncFn(String) -> D) {
    a_socket_is_listed_until_it_leaves(&make).await;
    a_limit_refuses_the_newest_or_removes_the_oldest(&make).await;
    pages_follow_each_other_without_gap_or_repetition(&make).await;
    the_id_of_a_user_may_be_any_text(&make).await;
    who_is_online_is_told_once(&make).await;
    who_closes_is_not_listed(&make).await;
}

/// Nodes of one cluster.
struct Cluster<'a, M> {
    make: &'a M,
    name: String,
}

/// A node, as far as its directory goes.
struct Node<D> {
    directory: D,
    name: NodeId,
    told: PresenceSink,
}

/// The sockets of these nodes are none.
struct Nobody;

impl Here for Nobody {
    fn disconnect(&self, _: &UserSocket) {}

    fn transport(&self, _: &UserSocket) -> Option<&'static str> {
        None
    }
}

fn cluster<M>(make: &M) -> Cluster<'_, M> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Cluster { make, name: format!("conformance-{:08x}-{number}", rand::random::<u32>()) }
}

impl<M> Cluster<'_, M> {
    async fn node<D: UserDirectory>(&self, name: &str) -> Node<D>
    where
        M: AsyncFn(String) -> D,
    {
        let directory = (self.make)(self.name.clone()).await;
        let (name, told) = (NodeId::named(name), PresenceSink::default());
        let node = ThisNode {
            itself: Itself::new(name.clone(), Arc::new(|| 7)),
            presence: Some(told.clone()),
            here: Arc::new(Nobody),
            offline_after: GRACE,
        };
        directory.join(node);
        Node { directory, name, told }
    }
}

impl<D: UserDirectory> Node<D> {
    /// A socket of this node; a greater number is younger.
    fn socket(&self, number: u32, namespace: &str) -> UserSocket {
        UserSocket { node: self.name.clone(), ..socket(number, namespace) }
    }

    async fn enter_as(
        &self,
        user: &str,
        number: u32,
        limit: UserLimit,
    ) -> Result<Vec<UserSocket>, LimitReached> {
        let entering = self.directory.enter(user.into(), self.socket(number, "/"), limit);
        within("a socket enters", entering).await
    }

    async fn enter(&self, user: &str, number: u32) {
        let entered = self.enter_as(user, number, NO_LIMIT).await;
        assert_eq!(entered, Ok(vec![]), "nobody has to go where there is no limit");
    }

    fn leave(&self, user: &str, namespace: &str, number: u32) {
        self.directory.leave(&user.into(), namespace, socket(number, namespace).id);
    }

    async fn sockets(&self, user: &str) -> Vec<UserSocket> {
        within("sockets are told", self.directory.sockets(user))
            .await
            .unwrap_or_else(|error| panic!("the sockets of {user:?}: {error}"))
    }

    /// What is seen on another node than that of the change comes soon.
    async fn sees(&self, user: &str, expected: &[UserSocket]) {
        let what = format!("{} sees {} sockets of {user:?}", self.name, expected.len());
        until(&what, async || self.sockets(user).await == expected).await;
    }

    async fn users(&self, limit: usize) -> Vec<(String, usize)> {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = within("users are told", self.directory.users(cursor, limit)).await;
            let page = page.unwrap_or_else(|error| panic!("a page of users: {error}"));
            assert!(page.users.len() <= limit, "a page has at most {limit} users: {page:?}");
            seen.extend(page.users.into_iter().map(|(user, count)| (user.to_string(), count)));
            cursor = page.next;
            if cursor.is_none() {
                return seen;
            }
        }
    }

    async fn online(&self, users: &[&str]) -> Vec<bool> {
        let asked = users.iter().map(|user| UserId::from(*user)).collect();
        within("presence is told", self.directory.online(asked))
            .await
            .unwrap_or_else(|error| panic!("whether {users:?} are online: {error}"))
    }

    async fn nodes(&self) -> Vec<String> {
        let nodes = within("nodes are told", self.directory.nodes()).await;
        let nodes = nodes.unwrap_or_else(|error| panic!("the nodes: {error}"));
        let mut names: Vec<_> = nodes.iter().map(|node| node.id.to_string()).collect();
        names.sort_unstable();
        names
    }

    async fn close(&self) {
        within("a directory closes", self.directory.close()).await;
    }
}

/// A socket; a greater number is younger.
pub(super) fn socket(number: u32, namespace: &str) -> UserSocket {
    UserSocket {
        id: SocketId::numbered(number),
        node: NodeId::named("n1"),
        namespace: namespace.into(),
        connected_at: SystemTime::UNIX_EPOCH
            + Duration::from_micros(1_700_000_000_000_000)
            + Duration::from_micros(number.into()),
        transport: "websocket".into(),
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(DEADLINE, future).await;
    ended.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A socket is listed from its entrance until it leaves, and no other call changes that.
///
/// # Panics
/// If it does not hold.
pub async fn a_socket_is_listed_until_it_leaves<D: UserDirectory>(
    make: &impl AsyncFn(String) -> D,
) {
    let node = cluster(make).node("n1").await;
    let entered = node.directory.enter("ada".into(), node.socket(1, "/chat"), NO_LIMIT).await;
    assert_eq!(entered, Ok(vec![]));
    node.enter("ada", 2).await;
    node.enter("ada", 3).await;
    let [one, two, three] = [node.socket(1, "/chat"), node.socket(2, "/"), node.socket(3, "/")];
    assert_eq!(node.sockets("ada").await, [one.clone(), two, three.clone()], "oldest first");
    assert_eq!(node.directory.users_here(), 1, "users are counted, not sockets");
    node.leave("ada", "/", 2);
    node.leave("ada", "/", 1); // of another namespace
    node.leave("bob", "/", 3); // of another user
    assert_eq!(node.sockets("ada").await, [one, three], "a node sees its own changes at once");
    assert_eq!(node.sockets("bob").await, []);
    node.leave("ada", "/chat", 1);
    node.leave("ada", "/", 3);
    assert_eq!(node.directory.users_here(), 0, "a user without sockets is not here");
    node.close().await;
}

/// Check and listing are one step, and the oldest go first.
///
/// # Panics
/// If it does not hold.
pub async fn a_limit_refuses_the_newest_or_removes_the_oldest<D: UserDirectory>(
    make: &impl AsyncFn(String) -> D,
) {
    let node = cluster(make).node("n1").await;
    let reject = UserLimit { max_sockets: 2, disconnect_oldest: false };
    let oldest = UserLimit { max_sockets: 2, disconnect_oldest: true };
    let enter = async |number, limit| node.enter_as("ada", number, limit).await;
    let socket = |number| node.socket(number, "/");
    assert_eq!(enter(1, reject).await, Ok(vec![]));
    assert_eq!(enter(2, reject).await, Ok(vec![]));
    assert_eq!(enter(3, reject).await, Err(LimitReached(2)), "the third of two");
    assert_eq!(enter(4, oldest).await, Ok(vec![socket(1)]), "the oldest goes");
    assert_eq!(node.sockets("ada").await, [socket(2), socket(4)]);
    node.leave("ada", "/", 1); // that it was thrown out ends in this
    assert_eq!(enter(5, reject).await, Err(LimitReached(2)), "there is no place yet");
    node.leave("ada", "/", 2);
    assert_eq!(enter(5, reject).await, Ok(vec![]), "there is a place");
    let lower = UserLimit { max_sockets: 1, disconnect_oldest: true };
    assert_eq!(enter(6, lower).await, Ok(vec![socket(4), socket(5)]), "the limit is lower now");
    node.close().await;
}

/// Users in the order of their ids, page after page.
///
/// # Panics
/// If it does not hold.
pub async fn pages_follow_each_other_without_gap_or_repetition<D: UserDirectory>(
    make: &impl AsyncFn(String) -> D,
) {
    let node = cluster(make).node("n1").await;
    for number in 0..250_u32 {
        node.enter(&format!("user{:03}", number % 125), number).await;
    }
    let expected: Vec<_> = (0..125).map(|number| (format!("user{number:03}"), 2)).collect();
    for limit in [1, 10, 124, 125, 1000] {
        assert_eq!(node.users(limit).await, expected, "in pages of {limit}");
    }
    let from = node.directory.users(Some("user1205".into()), 2).await.expect("it knows");
    assert_eq!(from.users, [("user121".into(), 2), ("user122".into(), 2)], "from between two on");
    assert_eq!(from.next, Some("user123".into()));
    node.close().await;
}

/// Ids are compared byte by byte, whatever they are.
///
/// # Panics
/// If it does not hold.
pub async fn the_id_of_a_user_may_be_any_text<D: UserDirectory>(make: &impl AsyncFn(String) -> D) {
    let node = cluster(make).node("n1").await;
    let long = "x".repeat(4000);
    let odd = ["", " ", ":", "a", "a\0", "a\0\0", "a\0b", "a\u{1}", "ab", "{s1}", "*", "Ünï ☎ 🦀"];
    let mut users: Vec<&str> = odd.into_iter().chain([&*long]).collect();
    for (number, user) in (0..).zip(&users) {
        node.enter(user, number).await;
    }
    for (number, user) in (0..).zip(&users) {
        assert_eq!(node.sockets(user).await, [node.socket(number, "/")], "of {user:?}");
    }
    users.sort_unstable();
    let expected: Vec<_> = users.iter().map(|user| ((*user).to_owned(), 1)).collect();
    assert_eq!(node.users(3).await, expected);
    for (number, user) in (0..).zip(odd.into_iter().chain([&*long])) {
        node.leave(user, "/", number);
    }
    until("all have left", async || node.users(9).await.is_empty()).await;
    node.close().await;
}

/// Online with the first socket, offline after the grace time; the reload of a page is neither.
///
/// # Panics
/// If it does not hold.
pub async fn who_is_online_is_told_once<D: UserDirectory>(make: &impl AsyncFn(String) -> D) {
    let node = cluster(make).node("n1").await;
    node.enter("ada", 1).await;
    node.enter("ada", 2).await;
    assert_eq!(within("ada comes", node.told.next()).await, Presence::Online("ada".into()));
    assert_eq!(node.online(&["ada", "bob"]).await, [true, false]);
    node.leave("ada", "/", 1);
    node.leave("ada", "/", 2);
    assert_eq!(node.online(&["ada"]).await, [true], "within the grace time");
    assert_eq!(within("ada goes", node.told.next()).await, Presence::Offline("ada".into()));
    until("ada is offline", async || node.online(&["ada"]).await == [false]).await;
    assert_eq!(node.told.try_next(), None, "each change is told once");
    node.close().await;
}

/// A node that leaves is not listed, nor are its sockets.
///
/// # Panics
/// If it does not hold.
pub async fn who_closes_is_not_listed<D: UserDirectory>(make: &impl AsyncFn(String) -> D) {
    let node = cluster(make).node("n1").await;
    node.enter("ada", 1).await;
    until("the node is listed", async || node.nodes().await == ["n1"]).await;
    node.close().await;
    assert_eq!(node.users(9).await, [], "its sockets went with it");
}

/// What one node lists, the others see.
///
/// # Panics
/// If it does not hold.
pub async fn nodes_see_one_another<D: UserDirectory>(make: &impl AsyncFn(String) -> D) {
    let cluster = cluster(make);
    let (a, b) = (cluster.node("n1").await, cluster.node("n2").await);
    a.enter("ada", 1).await;
    b.enter("ada", 2).await;
    b.enter("bob", 3).await;
    for node in [&a, &b] {
        node.sees("ada", &[a.socket(1, "/"), b.socket(2, "/")]).await;
        let users = [("ada".to_owned(), 2), ("bob".to_owned(), 1)];
        until("both see all users", async || node.users(9).await == users).await;
        assert_eq!(node.online(&["bob", "eve", "ada"]).await, [true, false, true]);
        until("both see all nodes", async || node.nodes().await == ["n1", "n2"]).await;
    }
    assert_eq!((a.directory.users_here(), b.directory.users_here()), (1, 2));
    b.leave("ada", "/", 1); // of the other node; it may do nothing
    a.leave("ada", "/", 1);
    b.sees("ada", &[b.socket(2, "/")]).await;
    a.close().await;
    b.close().await;
}

/// A user's limit is one for the whole cluster.
///
/// # Panics
/// If it does not hold.
pub async fn a_limit_holds_for_all_nodes<D: UserDirectory>(make: &impl AsyncFn(String) -> D) {
    let cluster = cluster(make);
    let (a, b) = (cluster.node("n1").await, cluster.node("n2").await);
    let reject = UserLimit { max_sockets: 2, disconnect_oldest: false };
    let oldest = UserLimit { max_sockets: 2, disconnect_oldest: true };
    assert_eq!(a.enter_as("ada", 1, reject).await, Ok(vec![]));
    assert_eq!(b.enter_as("ada", 2, reject).await, Ok(vec![]));
    assert_eq!(a.enter_as("ada", 3, reject).await, Err(LimitReached(2)), "one is elsewhere");
    let gone = b.enter_as("ada", 4, oldest).await;
    assert_eq!(gone, Ok(vec![a.socket(1, "/")]), "the oldest goes, wherever it is");
    b.sees("ada", &[b.socket(2, "/"), b.socket(4, "/")]).await;
    a.leave("ada", "/", 1); // its node has disconnected it
    a.sees("ada", &[b.socket(2, "/"), b.socket(4, "/")]).await;
    // Of many at once on both nodes, no more than two are let in.
    let entering = (0..20).map(|number| {
        let node = if number % 2 == 0 { &a } else { &b };
        node.enter_as("bob", 100 + number, reject)
    });
    let entered = futures_util::future::join_all(entering).await;
    let entered = entered.iter().filter(|entered| entered.is_ok()).count();
    assert_eq!(entered, 2, "two of twenty who came at once");
    a.close().await;
    b.close().await;
}

/// A node that leaves takes its sockets along, and no others.
///
/// # Panics
/// If it does not hold.
pub async fn a_node_that_closes_takes_its_sockets_along<D: UserDirectory>(
    make: &impl AsyncFn(String) -> D,
) {
    let cluster = cluster(make);
    let (a, b) = (cluster.node("n1").await, cluster.node("n2").await);
    a.enter("ada", 1).await;
    a.enter("eve", 2).await;
    b.enter("ada", 3).await;
    a.close().await;
    b.sees("ada", &[b.socket(3, "/")]).await;
    b.sees("eve", &[]).await;
    until("the node is gone", async || b.nodes().await == ["n2"]).await;
    b.close().await;
}
