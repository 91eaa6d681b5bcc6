//! A program's directory, as the node uses it.

use std::{sync::Arc, time::Duration};

use super::{
    DirectoryBackend, Here, Itself, LimitReached, NodeInfo, PresenceSink, Unknown, UserLimit,
    UserPage, UserSocket,
    seam::{ThisNode, UserDirectory},
};
use crate::{
    future::BoxFuture,
    id::{SocketId, UserId},
};

/// A directory that the program has brought, for a node that it does not know yet.
pub(crate) trait NewDirectory: Send + Sync {
    /// The node joins it.
    fn join(
        self: Box<Self>,
        itself: Itself,
        presence: Option<PresenceSink>,
        here: Arc<dyn Here>,
        offline_after: Duration,
    ) -> Arc<dyn DirectoryBackend>;
}

impl<D: UserDirectory> NewDirectory for D {
    fn join(
        self: Box<Self>,
        itself: Itself,
        presence: Option<PresenceSink>,
        here: Arc<dyn Here>,
        offline_after: Duration,
    ) -> Arc<dyn DirectoryBackend> {
        let node = ThisNode { itself: itself.clone(), presence, here, offline_after };
        UserDirectory::join(&*self, node);
        Arc::new(Brought { directory: *self, itself })
    }
}

struct Brought<D> {
    directory: D,
    itself: Itself,
}

impl<D: UserDirectory> DirectoryBackend for Brought<D> {
    fn enter(
        &self,
        user: UserId,
        socket: UserSocket,
        limit: UserLimit,
    ) -> BoxFuture<'_, Result<Vec<UserSocket>, LimitReached>> {
        Box::pin(self.directory.enter(user, socket, limit))
    }

    fn leave(&self, user: &UserId, namespace: &str, id: SocketId) {
        self.directory.leave(user, namespace, id);
    }

    fn sockets(&self, user: &str) -> BoxFuture<'_, Result<Vec<UserSocket>, Unknown>> {
        let user = user.to_owned();
        Box::pin(async move { self.directory.sockets(&user).await })
    }

    fn online(&self, users: Vec<UserId>) -> BoxFuture<'_, Result<Vec<bool>, Unknown>> {
        let asked = users.len();
        Box::pin(async move {
            let online = self.directory.online(users).await?;
            (online.len() == asked).then_some(online).ok_or(Unknown)
        })
    }

    fn users(
        &self,
        cursor: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<UserPage, Unknown>> {
        Box::pin(self.directory.users(cursor, limit))
    }

    fn users_here(&self) -> usize {
        self.directory.users_here()
    }

    fn trouble(&self) -> Option<String> {
        self.directory.trouble()
    }

    fn is_complete(&self) -> bool {
        self.directory.trouble().is_none()
    }

    fn publish(&self, address: String) {
        *self.itself.address.lock() = Some(address);
        self.directory.changed();
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeInfo>, Unknown>> {
        Box::pin(self.directory.nodes())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.directory.close())
    }
}
