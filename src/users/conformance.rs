//! The behaviour of every user directory. Each implementation runs all of it.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use test_kit::waiting::until;

use super::{LimitReached, UserDirectory, UserLimit, UserSocket};
use crate::id::{NodeId, SocketId, UserId};

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

const NONE: UserLimit = UserLimit { max_sockets: 0, disconnect_oldest: false };

async fn enter(directory: &impl UserDirectory, user: &str, number: u32) {
    let entered = directory.enter(user.into(), socket(number, "/"), NONE).await;
    assert_eq!(entered, Ok(vec![]));
}

async fn all_users(directory: &impl UserDirectory, limit: usize) -> Vec<(String, usize)> {
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = directory.users(cursor, limit).await.expect("it knows");
        assert!(page.users.len() <= limit);
        seen.extend(page.users.into_iter().map(|(user, count)| (user.to_string(), count)));
        cursor = page.next;
        if cursor.is_none() {
            return seen;
        }
    }
}

pub(super) async fn a_socket_is_listed_until_it_leaves(directory: impl UserDirectory) {
    let entered = directory.enter("ada".into(), socket(1, "/chat"), NONE).await;
    assert_eq!(entered, Ok(vec![]));
    enter(&directory, "ada", 2).await;
    enter(&directory, "ada", 3).await;
    let listed = directory.sockets("ada").await.expect("it knows");
    assert_eq!(listed, [socket(1, "/chat"), socket(2, "/"), socket(3, "/")]);
    directory.leave(&"ada".into(), "/", socket(2, "/").id);
    directory.leave(&"ada".into(), "/", socket(1, "/").id); // of another namespace
    directory.leave(&"bob".into(), "/", socket(3, "/").id); // of another user
    assert_eq!(
        directory.sockets("ada").await.expect("it knows"),
        [socket(1, "/chat"), socket(3, "/")]
    );
    assert_eq!(directory.sockets("bob").await.expect("it knows"), []);
}

pub(super) async fn a_limit_refuses_the_newest_or_removes_the_oldest(
    directory: impl UserDirectory,
) {
    let reject = UserLimit { max_sockets: 2, disconnect_oldest: false };
    let oldest = UserLimit { max_sockets: 2, disconnect_oldest: true };
    let enter =
        async |number, limit| directory.enter("ada".into(), socket(number, "/"), limit).await;
    assert_eq!(enter(1, reject).await, Ok(vec![]));
    assert_eq!(enter(2, reject).await, Ok(vec![]));
    assert_eq!(enter(3, reject).await, Err(LimitReached(2)));
    assert_eq!(enter(4, oldest).await, Ok(vec![socket(1, "/")]));
    assert_eq!(directory.sockets("ada").await.expect("it knows"), [socket(2, "/"), socket(4, "/")]);
    directory.leave(&"ada".into(), "/", socket(1, "/").id); // that it was thrown out ends in this
    assert_eq!(enter(5, reject).await, Err(LimitReached(2)));
    directory.leave(&"ada".into(), "/", socket(2, "/").id);
    assert_eq!(enter(5, reject).await, Ok(vec![]));
    let lower = UserLimit { max_sockets: 1, disconnect_oldest: true };
    assert_eq!(enter(6, lower).await, Ok(vec![socket(4, "/"), socket(5, "/")]));
}

pub(super) async fn pages_follow_each_other_without_gap_or_repetition(
    directory: impl UserDirectory,
) {
    let mut expected = BTreeMap::new();
    for number in 0..250_u32 {
        let user = format!("user{:03}", number % 125);
        enter(&directory, &user, number).await;
        *expected.entry(user).or_insert(0) += 1;
    }
    let expected: Vec<(String, usize)> = expected.into_iter().collect();
    for limit in [1, 10, 124, 125, 1000] {
        assert_eq!(all_users(&directory, limit).await, expected);
    }
    let from = directory.users(Some("user1205".into()), 2).await.expect("it knows");
    assert_eq!(from.users, [("user121".into(), 2), ("user122".into(), 2)]);
    assert_eq!(from.next, Some("user123".into()));
}

pub(super) async fn the_id_of_a_user_may_be_any_text(directory: impl UserDirectory) {
    let long = "x".repeat(4000);
    let odd = ["", " ", ":", "a", "a\0", "a\0\0", "a\0b", "a\u{1}", "ab", "{s1}", "*", "Ünï ☎ 🦀"];
    let mut users: Vec<&str> = odd.into_iter().chain([&*long]).collect();
    for (number, user) in (0..).zip(&users) {
        enter(&directory, user, number).await;
    }
    for (number, user) in (0..).zip(&users) {
        assert_eq!(
            directory.sockets(user).await.expect("it knows"),
            [socket(number, "/")],
            "of {user:?}"
        );
    }
    users.sort_unstable();
    let listed = all_users(&directory, 3).await;
    assert_eq!(listed, users.iter().map(|user| ((*user).to_owned(), 1)).collect::<Vec<_>>());
    for (number, user) in (0..).zip(odd.into_iter().chain([&*long])) {
        directory.leave(&user.into(), "/", socket(number, "/").id);
    }
    until("all have left", async || {
        directory.users(None, 9).await.expect("it knows").users.is_empty()
    })
    .await;
}

pub(super) async fn who_closes_is_not_listed(directory: impl UserDirectory) {
    enter(&directory, "ada", 1).await;
    assert_eq!(directory.nodes().await.expect("it knows").len(), 1);
    directory.close().await;
    assert_eq!(directory.users(None, 9).await.expect("it knows").users, []);
}

/// One thing that happens to a user's socket.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Enter(u8, u8, bool),
    Leave(u8, u8, bool),
}

/// Any interleaving of connects and disconnects, double leaves and leaves of unknown sockets
/// included, leaves exactly the sockets that entered and did not leave. Users are named anew by
/// `round`.
pub(super) async fn exact_under_any_interleaving(
    directory: &impl UserDirectory,
    round: usize,
    steps: Vec<Step>,
    limit: UserLimit,
) {
    let mut model: HashMap<UserId, Vec<UserSocket>> = HashMap::new();
    for (at, step) in (0..).zip(steps) {
        let (Step::Enter(user, number, chat) | Step::Leave(user, number, chat)) = step;
        let namespace = if chat { "/chat" } else { "/" };
        let name: UserId = format!("round{round}:{user}").into();
        let held = model.entry(name.clone()).or_default();
        let id = socket(number.into(), namespace).id;
        let is_it = |s: &UserSocket| s.id == id && &*s.namespace == namespace;
        if matches!(step, Step::Leave(..)) {
            directory.leave(&name, namespace, id);
            held.retain(|socket| !is_it(socket));
            continue;
        }
        if held.iter().any(is_it) {
            continue; // an engine never gives the same id twice while it is in use
        }
        let socket = UserSocket { id, ..socket(at, namespace) };
        let entered = directory.enter(name, socket.clone(), limit).await;
        let full = limit.max_sockets > 0 && held.len() >= limit.max_sockets;
        assert_eq!(entered.is_err(), full && !limit.disconnect_oldest);
        let Ok(evicted) = entered else { continue };
        assert_eq!(evicted, held.drain(..evicted.len()).collect::<Vec<_>>());
        held.push(socket);
    }
    for (user, held) in model {
        assert_eq!(directory.sockets(&user).await.expect("it knows"), held);
        for socket in held {
            directory.leave(&user, &socket.namespace, socket.id);
        }
    }
}

/// Runs all of it. The second argument makes a directory and what has to outlive it.
macro_rules! conformance {
    ($module:ident, $make:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $crate::users::conformance::conformance!(@ $make,
                a_socket_is_listed_until_it_leaves,
                a_limit_refuses_the_newest_or_removes_the_oldest,
                pages_follow_each_other_without_gap_or_repetition,
                the_id_of_a_user_may_be_any_text,
                who_closes_is_not_listed,
            );
        }
    };
    (@ $make:expr, $($claim:ident,)*) => {
        $(#[tokio::test]
        async fn $claim() {
            let (directory, _keep) = $make.await;
            $crate::users::conformance::$claim(directory).await;
        })*
    };
}
pub(super) use conformance;
