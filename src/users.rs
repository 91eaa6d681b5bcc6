//! The user directory: which user has which sockets on which node.
//!
//! A program that has something else than Redis to keep it brings a [`UserDirectory`].
//!
//! # Inside
//!
//! `DirectoryBackend` is the seam: in memory for one node, in Redis for a cluster, or the program's
//! own. `Directory` is the
//! handle that the rest of the server holds. The choice is made once, at the start.

mod brought;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod memory;
mod nodes;
mod presence;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod seam;
#[cfg(test)]
mod suite;

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use serde::Serialize;

pub(crate) use brought::{NewDirectory, brought};
pub(crate) use memory::MemoryDirectory;
pub(crate) use nodes::Itself;
pub use nodes::NodeInfo;
pub use presence::Presence;
pub(crate) use presence::PresenceSink;
pub use seam::{ThisNode, UserDirectory};

use crate::{
    fault::{Code, Fault},
    future::BoxFuture,
    id::{NodeId, SocketId, UserId},
    millis,
};

/// A socket of an authenticated user.
///
/// ```
/// use switchboard::{Gateway, Switchboard};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
/// for socket in server.sockets_of("ada").await? {
///     println!("{} on {} by {}", socket.id, socket.node, socket.transport);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UserSocket {
    /// The public id.
    pub id: SocketId,
    /// The node that holds the connection.
    pub node: NodeId,
    /// The namespace that the socket is in.
    pub namespace: Arc<str>,
    /// When it was accepted.
    #[serde(serialize_with = "millis::serialize")]
    pub connected_at: SystemTime,
    /// `websocket` or `polling`. The upgrade of a socket on another node shows within about five
    /// seconds.
    pub transport: Cow<'static, str>,
}

impl UserSocket {
    /// A socket as a [`UserDirectory`] has kept it.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use switchboard::users::UserSocket;
    ///
    /// /// A row of a table, as a directory has kept it.
    /// struct Row {
    ///     socket: String,
    ///     node: String,
    ///     namespace: String,
    ///     connected_at_ms: u64,
    ///     transport: String,
    /// }
    ///
    /// fn socket(row: Row) -> Result<UserSocket, switchboard::id::NotASocketId> {
    ///     let connected_at = SystemTime::UNIX_EPOCH + Duration::from_millis(row.connected_at_ms);
    ///     Ok(UserSocket::new(row.socket.parse()?, (&*row.node).into(), row.namespace, connected_at, row.transport))
    /// }
    /// ```
    pub fn new(
        id: SocketId,
        node: NodeId,
        namespace: impl Into<Arc<str>>,
        connected_at: SystemTime,
        transport: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (namespace, transport) = (namespace.into(), transport.into());
        Self { id, node, namespace, connected_at, transport }
    }
}

/// How many sockets a user may have, and the fate of a socket too many.
///
/// ```
/// use switchboard::users::{LimitReached, UserLimit};
///
/// /// Whether a user with so many sockets may have one more.
/// fn check(held: usize, limit: UserLimit) -> Result<(), LimitReached> {
///     let is_full = limit.max_sockets > 0 && held >= limit.max_sockets;
///     if is_full && !limit.disconnect_oldest { Err(LimitReached(limit.max_sockets)) } else { Ok(()) }
/// }
///
/// assert!(check(1000, UserLimit::default()).is_ok(), "there is no limit");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UserLimit {
    /// 0 = no limit.
    pub max_sockets: usize,
    /// The oldest socket goes instead of the newest.
    pub disconnect_oldest: bool,
}

/// A user has as many sockets as it may have: this many.
///
/// ```
/// use switchboard::{Code, Fault, users::LimitReached};
///
/// let fault = Fault::from(LimitReached(3));
/// assert_eq!(fault.code(), Code::TooManySockets);
/// assert_eq!(fault.message(), "a user may have 3 sockets at most");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReached(pub usize);

impl From<LimitReached> for Fault {
    fn from(LimitReached(limit): LimitReached) -> Self {
        Self::new(Code::TooManySockets, format!("a user may have {limit} sockets at most"))
    }
}

/// The sockets on other nodes are not known: what holds the directory does not answer in time, refuses
/// to, or has lost its data and is being told again.
///
/// ```
/// use switchboard::{Code, Fault, users::Unknown};
///
/// /// A question to the storage of a directory.
/// async fn ask<T>(question: impl Future<Output = std::io::Result<T>>) -> Result<T, Unknown> {
///     question.await.map_err(|_| Unknown)
/// }
///
/// assert_eq!(Fault::from(Unknown).code(), Code::Unavailable);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user directory cannot tell just now")]
pub struct Unknown;

impl From<Unknown> for Fault {
    fn from(error: Unknown) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}

/// A page of users, in the order of their ids.
///
/// ```
/// use switchboard::{Fault, Switchboard};
///
/// async fn everybody(server: &Switchboard) -> Result<usize, Fault> {
///     let (mut count, mut next) = (0, None::<switchboard::id::UserId>);
///     loop {
///         let page = server.users(next.as_deref(), 100).await?;
///         count += page.users.len();
///         next = page.next;
///         if next.is_none() {
///             return Ok(count);
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UserPage {
    /// Each user with the number of its sockets.
    pub users: Vec<(UserId, usize)>,
    /// The start of the next page. `None` after the last.
    pub next: Option<UserId>,
}

/// Knows which user has which sockets: all that the node makes use of. A program brings a
/// [`UserDirectory`].
///
/// Exact: a socket is listed from the moment `enter` succeeds until `leave`, whatever the order in
/// which the calls of different sockets interleave. A socket is known by its namespace and id.
pub(crate) trait DirectoryBackend: Send + Sync + 'static {
    /// Lists a socket, if the user may have one more; check and listing are one step. Returns the
    /// sockets that have to go for it. These are no longer listed.
    fn enter(
        &self,
        user: UserId,
        socket: UserSocket,
        limit: UserLimit,
    ) -> BoxFuture<'_, Result<Vec<UserSocket>, LimitReached>>;

    /// Takes a socket off the list. Does nothing if it is not listed. Never blocks.
    fn leave(&self, user: &UserId, namespace: &str, id: SocketId);

    /// The sockets of a user in the whole cluster, oldest first.
    fn sockets(&self, user: &str) -> BoxFuture<'_, Result<Vec<UserSocket>, Unknown>>;

    /// Whether each of these users is online: it has a socket, or lost its last one less than the
    /// grace time ago.
    fn online(&self, users: Vec<UserId>) -> BoxFuture<'_, Result<Vec<bool>, Unknown>>;

    /// Users with at least one socket: at most `limit`, from `cursor` on (included). A user that
    /// left a moment ago may still be counted.
    fn users(
        &self,
        cursor: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<UserPage, Unknown>>;

    /// How many users have sockets on this node.
    fn users_here(&self) -> usize;

    /// Counts of failures and repairs, by name. Empty if the directory keeps no count.
    fn troubles(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Why the other nodes cannot be told anything just now. `None` if they can.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Whether every user connected here is listed for the other nodes, or was a moment ago.
    fn is_complete(&self) -> bool {
        true
    }

    /// Tells the other nodes the address at which they reach this one.
    fn publish(&self, address: String);

    /// The live nodes.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeInfo>, Unknown>>;

    /// The node leaves the cluster: it and its sockets are no longer listed. Sockets that enter
    /// later are known to this node only.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// The sockets of this node, as far as the directory needs them.
pub(crate) trait Here: Send + Sync + 'static {
    /// Disconnects a socket, on whatever node: its user has more sockets than it may have.
    fn disconnect(&self, socket: &UserSocket);

    /// `websocket` or `polling`, as of now. `None` if the socket is not on this node.
    fn transport(&self, socket: &UserSocket) -> Option<&'static str>;
}

/// The node's handle to the directory.
#[derive(Clone)]
pub(crate) struct Directory {
    inner: Arc<dyn DirectoryBackend>,
    limit: UserLimit,
    here: Arc<dyn Here>,
}

impl Directory {
    /// A directory that the nodes of a cluster share.
    pub(crate) fn shared(
        limit: UserLimit,
        directory: Arc<dyn DirectoryBackend>,
        here: Arc<dyn Here>,
    ) -> Self {
        Self { inner: directory, limit, here }
    }

    pub(crate) async fn enter(
        &self,
        user: UserId,
        socket: UserSocket,
    ) -> Result<Vec<UserSocket>, LimitReached> {
        self.inner.enter(user, socket, self.limit).await
    }

    pub(crate) fn leave(&self, user: &UserId, namespace: &str, id: SocketId) {
        self.inner.leave(user, namespace, id);
    }

    pub(crate) async fn sockets(&self, user: &str) -> Result<Vec<UserSocket>, Unknown> {
        let mut sockets = self.inner.sockets(user).await?;
        for socket in &mut sockets {
            if let Some(transport) = self.here.transport(socket) {
                socket.transport = transport.into();
            }
        }
        Ok(sockets)
    }

    pub(crate) async fn online(&self, users: Vec<UserId>) -> Result<Vec<bool>, Unknown> {
        self.inner.online(users).await
    }

    pub(crate) async fn users(
        &self,
        cursor: Option<UserId>,
        limit: usize,
    ) -> Result<UserPage, Unknown> {
        self.inner.users(cursor, limit).await
    }

    pub(crate) fn users_here(&self) -> usize {
        self.inner.users_here()
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<NodeInfo>, Unknown> {
        self.inner.nodes().await
    }

    pub(crate) fn publish(&self, address: String) {
        self.inner.publish(address);
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.inner.is_complete()
    }

    pub(crate) fn troubles(&self) -> Vec<(&'static str, u64)> {
        self.inner.troubles()
    }

    pub(crate) async fn close(&self) {
        self.inner.close().await;
    }
}
