//! The published claims run on the directories of ours, and what is asked of these beyond.

use std::{collections::HashMap, sync::OnceLock};

pub(super) use super::conformance::socket;
use super::{
    DirectoryBackend, LimitReached, NodeInfo, Unknown, UserLimit, UserPage, UserSocket,
    seam::{ThisNode, UserDirectory},
};
use crate::id::{SocketId, UserId};

/// A directory of ours, as one that a program brings.
pub(super) struct Outward<D> {
    make: Box<dyn Fn(ThisNode) -> D + Send + Sync>,
    made: OnceLock<D>,
}

impl<D: DirectoryBackend> Outward<D> {
    pub(super) fn new(make: impl Fn(ThisNode) -> D + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), made: OnceLock::new() }
    }

    fn inner(&self) -> &D {
        self.made.get().expect("its node has joined")
    }
}

impl<D: DirectoryBackend> UserDirectory for Outward<D> {
    fn join(&self, node: ThisNode) {
        assert!(self.made.set((self.make)(node)).is_ok(), "a node joins once");
    }

    async fn enter(
        &self,
        user: UserId,
        socket: UserSocket,
        limit: UserLimit,
    ) -> Result<Vec<UserSocket>, LimitReached> {
        self.inner().enter(user, socket, limit).await
    }

    fn leave(&self, user: &UserId, namespace: &str, id: SocketId) {
        self.inner().leave(user, namespace, id);
    }

    async fn sockets(&self, user: &str) -> Result<Vec<UserSocket>, Unknown> {
        self.inner().sockets(user).await
    }

    async fn online(&self, users: Vec<UserId>) -> Result<Vec<bool>, Unknown> {
        self.inner().online(users).await
    }

    async fn users(&self, cursor: Option<UserId>, limit: usize) -> Result<UserPage, Unknown> {
        self.inner().users(cursor, limit).await
    }

    fn users_here(&self) -> usize {
        self.inner().users_here()
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, Unknown> {
        self.inner().nodes().await
    }

    async fn close(&self) {
        self.inner().close().await;
    }
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
    directory: &impl DirectoryBackend,
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

/// Runs the published claims, each as a test. `$make` makes the function that makes directories.
macro_rules! claims {
    ($module:ident, $make:expr) => {
        $crate::users::suite::claims!($module, $make,
            a_socket_is_listed_until_it_leaves,
            a_limit_refuses_the_newest_or_removes_the_oldest,
            pages_follow_each_other_without_gap_or_repetition,
            the_id_of_a_user_may_be_any_text,
            who_is_online_is_told_once,
            who_closes_is_not_listed,
            nodes_see_one_another,
            a_limit_holds_for_all_nodes,
            a_node_that_closes_takes_its_sockets_along,
        );
    };
    ($module:ident, $make:expr, alone) => {
        $crate::users::suite::claims!($module, $make,
            a_socket_is_listed_until_it_leaves,
            a_limit_refuses_the_newest_or_removes_the_oldest,
            pages_follow_each_other_without_gap_or_repetition,
            the_id_of_a_user_may_be_any_text,
            who_is_online_is_told_once,
            who_closes_is_not_listed,
        );
    };
    ($module:ident, $make:expr, $($claim:ident,)*) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(#[tokio::test]
            async fn $claim() {
                let make = $make.await;
                $crate::users::conformance::$claim(&make).await;
            })*
        }
    };
}
pub(super) use claims;
