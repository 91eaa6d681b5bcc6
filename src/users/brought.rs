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

/// Joins a directory that the program has brought, for a node that it does not know yet.
pub(crate) type NewDirectory = Box<
    dyn FnOnce(Itself, Option<PresenceSink>, Arc<dyn Here>, Duration) -> Arc<dyn DirectoryBackend>
        + Send
        + Sync,
>;

/// The way into a directory of the program's own. The last argument is the time after which a user
/// without sockets is offline.
pub(crate) fn brought(directory: impl UserDirectory) -> NewDirectory {
    Box::new(move |itself, presence, here, offline_after| {
        let node = ThisNode { itself: itself.clone(), presence, here, offline_after };
        directory.join(node);
        Arc::new(Brought { directory, itself })
    })
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
