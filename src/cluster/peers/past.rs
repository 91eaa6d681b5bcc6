//! Reading the log again, for clients that come back to what they have missed.

#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::fmt;

use super::Peers;
use crate::{
    cluster::{log::EntryId, message::Message},
    future::BoxFuture,
};

/// The log as it is kept.
pub(crate) trait Past: fmt::Debug + Send + Sync {
    /// See [`Peers::read_after`].
    fn read_after<'a>(
        &'a self,
        namespace: &'a str,
        after: EntryId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, NotRead>>;
}

/// A message in the log: a broadcast, a join, a leave or a disconnect.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) at: EntryId,
    pub(crate) message: Message,
}

/// A stretch of the log.
#[derive(Debug)]
pub(crate) struct Page {
    /// The messages of the namespace, in order.
    pub(crate) entries: Vec<Logged>,
    /// The place behind which the next page begins.
    pub(crate) next: EntryId,
    /// There was nothing behind that when Redis answered.
    pub(crate) is_end: bool,
}

/// Why there is no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRead {
    /// Something behind the place may be gone, or the place is of another stream.
    #[error("the log does not reach back to this place")]
    Gone,
    /// There is no log, or Redis does not answer.
    #[error("the log cannot be read now")]
    Unavailable,
}

impl Peers {
    /// The messages of a namespace behind a place in its log, `limit` of them or a few more.
    ///
    /// # Errors
    /// If they cannot be read, or not all of them.
    pub(crate) async fn read_after(
        &self,
        namespace: &str,
        after: EntryId,
        limit: usize,
    ) -> Result<Page, NotRead> {
        let past = self.past.as_ref().ok_or(NotRead::Unavailable)?;
        past.read_after(namespace, after, limit).await
    }
}
