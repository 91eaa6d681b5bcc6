//! The directory of a node that stands alone.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    DirectoryBackend, Itself, LimitReached, NodeInfo, Unknown, UserLimit, UserPage, UserSocket,
    presence::{PresenceSink, Transitions},
};
use crate::{
    future::BoxFuture,
    id::{SocketId, UserId},
};

/// Users and their sockets under one lock, so that a count and its consequences are one step.
#[derive(Default)]
struct Listing {
    /// Sorted, for paging. A user is here only while it has sockets; nearly always one or two.
    users: BTreeMap<UserId, SmallVec<[UserSocket; 1]>>,
}

/// The effect of a change on the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    First,
    Last,
}

impl Listing {
    fn enter(
        &mut self,
        user: UserId,
        socket: UserSocket,
        limit: UserLimit,
    ) -> Result<(Change, Vec<UserSocket>), LimitReached> {
        let sockets = self.users.entry(user).or_default();
        let change = if sockets.is_empty() { Change::First } else { Change::None };
        let mut evicted = Vec::new();
        if limit.max_sockets > 0 && sockets.len() >= limit.max_sockets {
            if !limit.disconnect_oldest {
                return Err(LimitReached(limit.max_sockets));
            }
            let surplus = sockets.len() + 1 - limit.max_sockets;
            evicted.extend(sockets.drain(..surplus));
        }
        sockets.push(socket);
        Ok((change, evicted))
    }

    fn leave(&mut self, user: &UserId, namespace: &str, id: SocketId) -> Change {
        let Entry::Occupied(mut sockets) = self.users.entry(user.clone()) else {
            return Change::None;
        };
        let Some(at) = sockets
            .get()
            .iter()
            .position(|socket| socket.id == id && &*socket.namespace == namespace)
        else {
            return Change::None;
        };
        sockets.get_mut().remove(at);
        if !sockets.get().is_empty() {
            return Change::None;
        }
        sockets.remove();
        Change::Last
    }

    fn page(&self, cursor: Option<UserId>, limit: usize) -> UserPage {
        let from = cursor.map_or(Bound::Unbounded, Bound::Included);
        let mut users = self.users.range((from, Bound::Unbounded));
        let page = users.by_ref().take(limit).map(|(user, sockets)| (user.clone(), sockets.len()));
        let page = page.collect();
        UserPage { users: page, next: users.next().map(|(user, _)| user.clone()) }
    }
}

/// Keeps everything in memory.
pub(crate) struct MemoryDirectory {
    itself: Itself,
    state: Arc<Mutex<State>>,
}

struct State {
    listing: Listing,
    transitions: Transitions,
    /// Takes changes of presence. `None` if nobody listens.
    sink: Option<PresenceSink>,
    /// A task waits for the next user to go offline.
    is_watched: bool,
}

impl MemoryDirectory {
    pub(crate) fn new(itself: Itself, offline_after: Duration, sink: Option<PresenceSink>) -> Self {
        let transitions = Transitions::new(offline_after, sink.is_some());
        let state = State { listing: Listing::default(), transitions, sink, is_watched: false };
        Self { itself, state: Arc::new(Mutex::new(state)) }
    }
}

impl State {
    /// Notes what a change means for the user. Returns a time to look for those who went offline.
    fn note(&mut self, user: &UserId, change: Change) -> Option<Instant> {
        match change {
            Change::None => None,
            Change::First => {
                let came = self.transitions.came(user);
                if let (Some(presence), Some(sink)) = (came, &self.sink) {
                    sink.tell(presence);
                }
                None
            }
            Change::Last => Some(self.transitions.left(user, Instant::now())),
        }
    }

    fn expire(&mut self, now: Instant) {
        let gone = self.transitions.expire(now);
        for presence in gone {
            if let Some(sink) = &self.sink {
                sink.tell(presence);
            }
        }
    }
}

/// Waits for all users to go offline that leave meanwhile. Without a listener they are only forgotten.
async fn watch(directory: Weak<Mutex<State>>, mut due: Instant) {
    loop {
        tokio::time::sleep_until(due).await;
        let Some(state) = directory.upgrade() else { return };
        let mut state = state.lock();
        state.expire(Instant::now());
        match state.transitions.next() {
            Some(next) => due = next,
            None => {
                state.is_watched = false;
                return;
            }
        }
    }
}

impl DirectoryBackend for MemoryDirectory {
    fn enter(
        &self,
        user: UserId,
        socket: UserSocket,
        limit: UserLimit,
    ) -> BoxFuture<'_, Result<Vec<UserSocket>, LimitReached>> {
        let mut state = self.state.lock();
        let entered = state.listing.enter(user.clone(), socket, limit).map(|(change, evicted)| {
            state.note(&user, change);
            evicted
        });
        Box::pin(std::future::ready(entered))
    }

    fn leave(&self, user: &UserId, namespace: &str, id: SocketId) {
        let mut state = self.state.lock();
        let change = state.listing.leave(user, namespace, id);
        let due = state.note(user, change).filter(|_| !state.is_watched);
        let (Some(due), Ok(runtime)) = (due, tokio::runtime::Handle::try_current()) else { return };
        state.is_watched = true;
        drop(state);
        runtime.spawn(watch(Arc::downgrade(&self.state), due));
    }

    fn sockets(&self, user: &str) -> BoxFuture<'_, Result<Vec<UserSocket>, Unknown>> {
        let sockets = self.state.lock().listing.users.get(user).map(|sockets| sockets.to_vec());
        Box::pin(std::future::ready(Ok(sockets.unwrap_or_default())))
    }

    fn online(&self, users: Vec<UserId>) -> BoxFuture<'_, Result<Vec<bool>, Unknown>> {
        let (state, now) = (self.state.lock(), Instant::now());
        let is_online = |user: &UserId| {
            state.listing.users.contains_key(user) || state.transitions.is_leaving(user, now)
        };
        let online = users.iter().map(is_online).collect();
        Box::pin(std::future::ready(Ok(online)))
    }

    fn users(
        &self,
        cursor: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<UserPage, Unknown>> {
        let page = self.state.lock().listing.page(cursor, limit);
        Box::pin(std::future::ready(Ok(page)))
    }

    fn users_here(&self) -> usize {
        self.state.lock().listing.users.len()
    }

    fn publish(&self, address: String) {
        *self.itself.address.lock() = Some(address);
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeInfo>, Unknown>> {
        let itself = self.itself.info(self.users_here());
        Box::pin(std::future::ready(Ok(vec![itself])))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let mut state = self.state.lock();
        let users = std::mem::take(&mut state.listing.users);
        for user in users.keys() {
            state.note(user, Change::Last);
        }
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::NodeId,
        users::{
            seam::ThisNode,
            suite::{Outward, claims},
        },
    };

    fn socket(id: SocketId, namespace: &str) -> UserSocket {
        UserSocket {
            id,
            node: NodeId::named("n1"),
            namespace: namespace.into(),
            connected_at: SystemTime::UNIX_EPOCH,
            transport: "websocket".into(),
        }
    }

    fn id(number: u8) -> SocketId {
        SocketId::numbered(number.into())
    }

    claims!(
        memory,
        async {
            async |_: String| {
                Outward::new(|node: ThisNode| {
                    MemoryDirectory::new(node.itself, node.offline_after, node.presence)
                })
            }
        },
        alone
    );

    #[derive(Debug, Clone)]
    enum Step {
        Enter(u8, u8, bool),
        Leave(u8, u8, bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step =
            (0..4_u8, 0..12_u8, any::<bool>(), any::<bool>()).prop_map(|(u, s, n, enter)| {
                if enter { Step::Enter(u, s, n) } else { Step::Leave(u, s, n) }
            });
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Any interleaving of connects and disconnects, double leaves and leaves of unknown sockets
        /// included, leaves exactly the sockets that entered and did not leave.
        #[test]
        fn the_directory_is_exact_under_any_interleaving(
            steps in steps(),
            max_sockets in 0..4_usize,
            disconnect_oldest in any::<bool>(),
        ) {
            let limit = UserLimit { max_sockets, disconnect_oldest };
            let mut listing = Listing::default();
            let mut model: HashMap<UserId, Vec<(SocketId, &str)>> = HashMap::new();
            for step in steps {
                match step {
                    Step::Enter(user, number, chat) => {
                        let namespace = if chat { "/chat" } else { "/" };
                        let name: UserId = format!("u{user}").into();
                        let held = model.entry(name.clone()).or_default();
                        // An engine never gives the same id twice while it is in use.
                        if held.contains(&(id(number), namespace)) { continue }
                        let entered = listing.enter(name, socket(id(number), namespace), limit);
                        let full = max_sockets > 0 && held.len() >= max_sockets;
                        prop_assert_eq!(entered.is_err(), full && !disconnect_oldest);
                        let Ok((change, evicted)) = entered else { continue };
                        prop_assert_eq!(change == Change::First, held.is_empty());
                        for gone in evicted {
                            prop_assert_eq!(held.remove(0).0, gone.id);
                        }
                        held.push((id(number), namespace));
                    }
                    Step::Leave(user, number, chat) => {
                        let namespace = if chat { "/chat" } else { "/" };
                        let name: UserId = format!("u{user}").into();
                        let held = model.entry(name.clone()).or_default();
                        let before = held.len();
                        held.retain(|socket| *socket != (id(number), namespace));
                        let change = listing.leave(&name, namespace, id(number));
                        prop_assert_eq!(change == Change::Last, before == 1 && held.is_empty());
                    }
                }
                model.retain(|_, held| !held.is_empty());
                let listed: HashMap<_, Vec<_>> = listing.users.iter().map(|(user, sockets)| {
                    let sockets = sockets.iter().map(|s| (s.id, &*s.namespace)).collect();
                    (user.clone(), sockets)
                }).collect();
                let expected: HashMap<_, Vec<_>> = model.clone();
                prop_assert_eq!(listed, expected);
            }
        }
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        let mut listing = Listing::default();
        for number in 0..25 {
            let user = format!("user{number:02}").into();
            let entered = listing.enter(user, socket(id(number), "/"), UserLimit::default());
            assert!(entered.is_ok());
        }
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = listing.page(cursor, 10);
            seen.extend(page.users.into_iter().map(|(user, _)| user.to_string()));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let expected: Vec<_> = (0..25).map(|number| format!("user{number:02}")).collect();
        assert_eq!(seen, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_users_that_have_gone() {
        let itself = Itself::new(NodeId::named("n1"), Arc::new(|| 0));
        let directory = MemoryDirectory::new(itself, Duration::from_secs(5), None);
        for _ in 0..2 {
            for number in 0..3 {
                let user: UserId = format!("u{number}").into();
                let (here, limit) = (socket(id(number), "/"), UserLimit::default());
                directory.enter(user.clone(), here, limit).await.expect("there is no limit");
                tokio::time::sleep(Duration::from_secs(1)).await;
                directory.leave(&user, "/", id(number));
            }
            assert!(directory.state.lock().is_watched);
            // The last one leaves a second after the one before, and goes offline as much later.
            tokio::time::sleep(Duration::from_secs(6)).await;
            let state = directory.state.lock();
            assert_eq!((state.transitions.next(), state.is_watched), (None, false));
        }
    }
}
