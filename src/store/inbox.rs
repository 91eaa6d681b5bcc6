//! The seam of the inbox: messages for users, kept until each of their devices has acknowledged
//! them.
//!
//! ```text
//! user ── a counter, the ids of what was kept, its known devices
//!   message: seq 1, 2, 3 … in some namespace, until it expires or every known device has it
//!   stream: (device, namespace) ── acknowledged up to, holder: the node that delivers
//! ```
//!
//! The order of a user's messages is that of their numbers. Numbers are given in the transaction
//! that keeps the message, so whoever sees a number finds all smaller ones that are still there.
//!
//! A stream is what is delivered to a device in one namespace. One node at a time delivers it, its
//! *holder*. A holder is a run of a node with a lease; a lease that ran out frees all its streams.

#[cfg(test)]
pub(crate) mod suite;

use std::{collections::BTreeMap, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::{future::BoxFuture, id::UserId};

/// Most devices of one user. Above it the one that has been away for longest is forgotten.
pub(crate) const MAX_DEVICES: usize = 64;

/// The lease of a holder.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// What a store is told about the inbox when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InboxRules {
    /// For how long an id is known after its message was kept, and for how long a device is after it
    /// has left.
    pub(crate) ttl: Duration,
    /// Messages of one user that some known device has not acknowledged. 0: no limit.
    pub(crate) max_messages: u64,
    /// Their [bytes](NewMessage::size). 0: no limit.
    pub(crate) max_bytes: u64,
}

/// A message to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewMessage {
    pub(crate) user: UserId,
    /// Names the message among those of the user.
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) event: String,
    /// An array in MessagePack.
    pub(crate) args: Bytes,
    pub(crate) ttl: Duration,
    /// Takes the place of the message of the same namespace with the same key.
    pub(crate) collapse: Option<String>,
}

impl NewMessage {
    /// What it counts for the user's quota.
    pub(crate) fn size(&self) -> u64 {
        let names = self.id.len() + self.namespace.len() + self.event.len();
        let all = names + self.args.len() + self.collapse.as_deref().map_or(0, str::len);
        u64::try_from(all).unwrap_or(u64::MAX)
    }
}

/// What became of a message to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is kept, and survives a crash of the store.
    New {
        seq: u64,
        /// The nodes that hold a stream of this user, in any namespace, each once.
        holders: Vec<String>,
    },
    /// A message with this id was kept before; nothing has changed.
    Known { seq: u64 },
    /// The user has too many messages, or too many bytes. It took no number, and the id is free.
    Full,
}

/// A message that is kept.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) event: String,
    /// An array in MessagePack.
    pub(crate) args: Bytes,
    pub(crate) created: SystemTime,
    pub(crate) expires: SystemTime,
}

/// What is delivered to a device in one namespace.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamKey {
    pub(crate) user: UserId,
    pub(crate) device: Arc<str>,
    pub(crate) namespace: Arc<str>,
}

/// A run of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its name for other nodes.
    pub(crate) node: String,
    /// Tells this run from every other one.
    pub(crate) run: String,
}

/// The answer to a node that wants to deliver a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attached {
    /// The node holds it from now on, or has held it all along.
    Held {
        /// The highest number up to which the device has acknowledged what is in this namespace.
        after: u64,
        /// The highest number that the user has given.
        last: u64,
    },
    /// Another node holds it. The store remembers who waits.
    Waits,
    /// The user has [`MAX_DEVICES`] devices, and all of them are connected.
    TooMany,
}

/// A page of a user's messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    pub(crate) messages: Vec<Message>,
    /// For each known device the highest number up to which it has acknowledged everything that is
    /// still kept, in all namespaces; the last number if there is nothing left for it.
    pub(crate) devices: BTreeMap<String, u64>,
    /// The number of the last message of this page, if there are more.
    pub(crate) next: Option<u64>,
}

/// What was cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Swept {
    /// Messages that ran out before every device had them.
    pub(crate) expired: u64,
    /// Devices that had not come for the ttl.
    pub(crate) devices: u64,
    /// There is more to clean up.
    pub(crate) more: bool,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Depth {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// When the oldest of them was kept.
    pub(crate) oldest: Option<SystemTime>,
}

/// Messages for users. Texts may be anything without NUL. Every call is one transaction, and may be
/// made by several nodes at once.
pub(crate) trait InboxStore: Send + Sync + 'static {
    /// Keeps messages, those of one user in the order of the list. One answer for each.
    ///
    /// What has expired, or is acknowledged by all known devices, is not counted; its id stays known. A message that takes
    /// another one's place is not one more, and fits as long as it does not make too many bytes more.
    fn keep(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<Kept>, StoreError>>;

    /// A device is there, and this node wants to deliver to it. Makes the device known: the very
    /// first one of a user gets everything, each other one what is kept from now on. After this call
    /// no message of the user is kept without this node among its holders, or it is read by
    /// [`pending`](Self::pending).
    ///
    /// A holder whose lease ran out, or was never [renewed](Self::renew), holds nothing.
    fn attach<'a>(
        &'a self,
        stream: &'a StreamKey,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Attached, StoreError>>;

    /// This node delivers these streams no longer, and waits for none of them. Returns the nodes that
    /// wait for one of them, each with what it waits for. Streams of others are left alone.
    fn detach<'a>(
        &'a self,
        streams: Vec<StreamKey>,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Vec<(String, StreamKey)>, StoreError>>;

    /// Messages of a stream behind a number, in order: at most `count`, and no more bytes than
    /// `bytes`, but at least one if there is one. Nothing that has expired.
    fn pending<'a>(
        &'a self,
        stream: &'a StreamKey,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, StoreError>>;

    /// Devices have everything of a stream up to a number. Never takes anything back, and does not ask
    /// who holds the stream. Messages that all known devices have are removed; their ids stay.
    fn acknowledge(&self, streams: Vec<(StreamKey, u64)>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The messages of a user behind a number that some device has not acknowledged, oldest first.
    fn list<'a>(
        &'a self,
        user: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Listing, StoreError>>;

    /// Removes the message with this id, or all messages of the user. Returns how many there were.
    /// Ids stay known.
    fn delete<'a>(
        &'a self,
        user: &'a str,
        id: Option<&'a str>,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// The highest number of each of these users, 0 for who has none, in the order of the list.
    fn last(&self, users: Vec<UserId>) -> BoxFuture<'_, Result<Vec<u64>, StoreError>>;

    /// The holder's lease begins anew, for [`LEASE`].
    fn renew<'a>(&'a self, holder: &'a Holder) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The holder holds nothing any more. Returns what [`detach`](Self::detach) does.
    fn retire<'a>(
        &'a self,
        holder: &'a Holder,
    ) -> BoxFuture<'a, Result<Vec<(String, StreamKey)>, StoreError>>;

    /// Removes at most about `rows` rows that nobody needs: expired messages, ids and devices past
    /// the ttl, leases that ran out. A user's counter stays for ever: a client that remembers the
    /// highest number it has handled must never see that number again.
    fn sweep(&self, rows: usize) -> BoxFuture<'_, Result<Swept, StoreError>>;

    /// How much is kept.
    fn depth(&self) -> BoxFuture<'_, Result<Depth, StoreError>>;
}
