//! The user directory as a program may bring it.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use super::{
    Here, Itself, LimitReached, NodeInfo, Presence, PresenceSink, Unknown, UserLimit, UserPage,
    UserSocket,
};
use crate::id::{NodeId, SocketId, UserId};

/// Knows which user has which sockets, in the whole cluster: a table of Postgres, say. It is given to
/// [`Builder::user_directory`](crate::server::Builder::user_directory).
///
/// # What is guaranteed
/// - **Exact.** A socket is listed from the moment [`enter`](Self::enter) succeeds until
///   [`leave`](Self::leave), in whatever order the calls of different sockets come. This node sees
///   its own changes at once, the others soon. A socket is known by its namespace and id.
/// - **One step.** The limit of a user is checked and the socket listed in one step, so that two
///   nodes never both give away the last place.
/// - **The dead are gone.** The sockets of a node that ends without a word are listed for some seconds
///   only: each node renews a lease. A node that was taken for dead and lives lists its sockets again.
/// - **An answer is true, or there is none.** While it is not known what the other nodes hold,
///   questions are answered by [`Unknown`]. They never leave anybody out.
///
/// # Who may wait
/// [`join`](Self::join), [`leave`](Self::leave), [`users_here`](Self::users_here) and
/// [`changed`](Self::changed) return at once. The rest may wait; but a client waits for
/// [`enter`](Self::enter) before it is connected, so that must end in some seconds, whatever happens.
/// Where the storage cannot be asked, the directory admits the socket and makes good for it later.
///
/// Whether a directory keeps to this is tested by the suite behind the feature `conformance`,
/// `switchboard::users::conformance`. `tests/seams.rs` in the repository has a small directory.
///
/// ```
/// use std::{
///     collections::BTreeMap,
///     sync::{Mutex, OnceLock},
/// };
/// use switchboard::{
///     Gateway, Handshake, Identity, Switchboard,
///     id::{SocketId, UserId},
///     testing::Server,
///     users::{
///         LimitReached, NodeInfo, Presence, ThisNode, Unknown, UserDirectory, UserLimit, UserPage,
///         UserSocket,
///     },
/// };
///
/// /// As small as it can be: for one node, and whoever has no socket is offline at once.
/// #[derive(Default)]
/// struct Table {
///     node: OnceLock<ThisNode>,
///     users: Mutex<BTreeMap<UserId, Vec<UserSocket>>>,
/// }
///
/// impl Table {
///     fn node(&self) -> &ThisNode {
///         self.node.get().expect("it has joined")
///     }
/// }
///
/// impl UserDirectory for Table {
///     fn join(&self, node: ThisNode) {
///         self.node.set(node).expect("a node joins once");
///     }
///
///     async fn enter(
///         &self,
///         user: UserId,
///         socket: UserSocket,
///         limit: UserLimit,
///     ) -> Result<Vec<UserSocket>, LimitReached> {
///         let mut users = self.users.lock().unwrap();
///         let held = users.get(&user).map_or(0, Vec::len);
///         let is_full = limit.max_sockets > 0 && held >= limit.max_sockets;
///         if is_full && !limit.disconnect_oldest {
///             return Err(LimitReached(limit.max_sockets));
///         }
///         if held == 0 {
///             self.node().tell(Presence::Online(user.clone()));
///         }
///         let sockets = users.entry(user).or_default();
///         let surplus = if is_full { held + 1 - limit.max_sockets } else { 0 };
///         let gone = sockets.drain(..surplus).collect();
///         sockets.push(socket);
///         Ok(gone)
///     }
///
///     fn leave(&self, user: &UserId, namespace: &str, id: SocketId) {
///         let mut users = self.users.lock().unwrap();
///         let Some(sockets) = users.get_mut(user) else { return };
///         sockets.retain(|socket| socket.id != id || &*socket.namespace != namespace);
///         if sockets.is_empty() {
///             users.remove(user);
///             self.node().tell(Presence::Offline(user.clone()));
///         }
///     }
///
///     async fn sockets(&self, user: &str) -> Result<Vec<UserSocket>, Unknown> {
///         Ok(self.users.lock().unwrap().get(user).cloned().unwrap_or_default())
///     }
///
///     async fn online(&self, asked: Vec<UserId>) -> Result<Vec<bool>, Unknown> {
///         let users = self.users.lock().unwrap();
///         Ok(asked.iter().map(|user| users.contains_key(user)).collect())
///     }
///
///     async fn users(&self, cursor: Option<UserId>, limit: usize) -> Result<UserPage, Unknown> {
///         let users = self.users.lock().unwrap();
///         let mut rest = users.range(cursor.unwrap_or_else(|| "".into())..);
///         let mut page = UserPage::default();
///         page.users = rest.by_ref().take(limit).map(|(user, sockets)| (user.clone(), sockets.len())).collect();
///         page.next = rest.next().map(|(user, _)| user.clone());
///         Ok(page)
///     }
///
///     fn users_here(&self) -> usize {
///         self.users.lock().unwrap().len()
///     }
///
///     async fn nodes(&self) -> Result<Vec<NodeInfo>, Unknown> {
///         Ok(vec![self.node().info(self.users_here())])
///     }
///
///     /// There is no other node that has to be told anything.
///     fn changed(&self) {}
///
///     fn trouble(&self) -> Option<String> {
///         None
///     }
///
///     async fn close(&self) {
///         self.users.lock().unwrap().clear();
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), switchboard::Fault> {
/// let builder = Switchboard::builder()
///     .user_directory(Table::default())
///     .global_middleware(async |handshake: Handshake| handshake.set_identity(Identity::user("ada")))
///     .gateway(Gateway::new("/"));
/// let server = Server::start(builder).await;
/// let _ada = server.connect().await.expect("everybody may enter");
/// assert_eq!(server.sockets_of("ada").await?.len(), 1);
/// assert_eq!(server.online(&["ada", "bob"]).await?, [true, false]);
/// # Ok(())
/// # }
/// ```
pub trait UserDirectory: Send + Sync + 'static {
    /// The node comes to its cluster. Called once, before anything else, inside a tokio runtime. What
    /// has to be done again and again, such as renewing the lease, is spawned here.
    fn join(&self, node: ThisNode);

    /// Lists a socket of this node, if the user may have one more. Returns the sockets that have to
    /// go for it, which are no longer listed here. The server disconnects them on whatever node they
    /// are. That node may go on listing its own until [`leave`](Self::leave) is called for it there.
    ///
    /// # Errors
    /// If the user has as many as it may have.
    fn enter(
        &self,
        user: UserId,
        socket: UserSocket,
        limit: UserLimit,
    ) -> impl Future<Output = Result<Vec<UserSocket>, LimitReached>> + Send;

    /// Takes a socket of this node off the list. Does nothing if it is not listed. It cannot fail and
    /// must not be forgotten: what cannot be done now is done later.
    fn leave(&self, user: &UserId, namespace: &str, id: SocketId);

    /// The sockets of a user in the whole cluster, oldest first.
    ///
    /// # Errors
    /// While it is not known.
    fn sockets(&self, user: &str) -> impl Future<Output = Result<Vec<UserSocket>, Unknown>> + Send;

    /// Whether each of these users is online: it has a socket, or lost its last one less than
    /// [`ThisNode::offline_after`] ago. In the order asked.
    ///
    /// # Errors
    /// While it is not known.
    fn online(&self, users: Vec<UserId>)
    -> impl Future<Output = Result<Vec<bool>, Unknown>> + Send;

    /// Users with at least one socket, in the order of the bytes of their ids: at most `limit`, from
    /// `cursor` on (included).
    ///
    /// # Errors
    /// While it is not known.
    fn users(
        &self,
        cursor: Option<UserId>,
        limit: usize,
    ) -> impl Future<Output = Result<UserPage, Unknown>> + Send;

    /// How many users have sockets on this node.
    fn users_here(&self) -> usize;

    /// The live nodes, this one among them, each with the incarnation that it has given itself.
    /// Messages between nodes rely on this list.
    ///
    /// # Errors
    /// While it is not known.
    fn nodes(&self) -> impl Future<Output = Result<Vec<NodeInfo>, Unknown>> + Send;

    /// [`ThisNode::info`] says something else from now on. The others are told at once, or with the
    /// next lease.
    fn changed(&self) {}

    /// Why the other nodes cannot be told anything just now, for operators: the node is not ready
    /// meanwhile. `None` if they can. It must hold no secret.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// The node leaves the cluster: it and its sockets are no longer listed. Called once.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// The node that a [`UserDirectory`] serves. Clones are the same.
///
/// ```
/// use switchboard::{id::UserId, users::{Presence, ThisNode, UserSocket}};
///
/// /// What `join` writes, and a task of the directory again and again.
/// fn lease(node: &ThisNode, users: usize) -> String {
///     let info = node.info(users);
///     format!("{} {} {} {}", node.id(), node.incarnation(), info.sockets, info.users)
/// }
///
/// /// The last socket of a user has left.
/// async fn left(node: ThisNode, user: UserId, has_come_back: impl AsyncFn() -> bool) {
///     tokio::time::sleep(node.offline_after()).await;
///     if node.wants_presence() && !has_come_back().await {
///         node.tell(Presence::Offline(user));
///     }
/// }
///
/// /// Two nodes have given away the last place while the storage was away.
/// fn give_back(node: &ThisNode, too_many: &[UserSocket]) {
///     too_many.iter().for_each(|socket| node.disconnect(socket));
/// }
/// ```
#[derive(Clone)]
pub struct ThisNode {
    pub(super) itself: Itself,
    pub(super) presence: Option<PresenceSink>,
    pub(super) here: Arc<dyn Here>,
    pub(super) offline_after: Duration,
}

impl ThisNode {
    /// Its name. Another node may have the same one: after a restart, for a while.
    pub fn id(&self) -> &NodeId {
        &self.itself.id
    }

    /// The name of this run, which no other run of any node has.
    pub fn incarnation(&self) -> &str {
        &self.itself.incarnation
    }

    /// The node as others are to see it, as of now. `users`: see [`UserDirectory::users_here`].
    pub fn info(&self, users: usize) -> NodeInfo {
        self.itself.info(users)
    }

    /// `users.offline_after`: how long a user without sockets is still online.
    pub fn offline_after(&self) -> Duration {
        self.offline_after
    }

    /// Whether the program wants to hear of changes of presence.
    pub fn wants_presence(&self) -> bool {
        self.presence.is_some()
    }

    /// A user has come online, or gone offline. One node of the cluster is told of each change: the
    /// one that causes it. Never waits.
    pub fn tell(&self, change: Presence) {
        if let Some(presence) = &self.presence {
            presence.tell(change);
        }
    }

    /// Disconnects a socket of this node whose user has too many, for a directory that finds that out
    /// after it had to admit it. Never waits.
    pub fn disconnect(&self, socket: &UserSocket) {
        self.here.disconnect(socket);
    }
}

impl fmt::Debug for ThisNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThisNode").field(&self.itself).finish()
    }
}
