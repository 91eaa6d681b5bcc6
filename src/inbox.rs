//! The inbox: messages for users, kept until each of their devices has acknowledged them.
//!
//! ```text
//! keep ── queues ── store ─┬─ stream on this node ── window ── socket ── client
//!                          └─ neighbours ── hop ── stream on another node
//!                                          client's acknowledgement ── window ── acks ── store
//! ```
//!
//! The store has the truth: messages, numbers, devices, and which node delivers what (`crate::store::inbox`).
//! This module has the streams of this node:
//!
//! * `keeping`: messages on their way into the store, and out of it to whoever holds a stream.
//! * `stream` with `window`: what one device in one namespace is sent. `device`: what a CONNECT says.
//! * `acks`: what devices have acknowledged, on its way into the store.
//! * `lease`, `looking`: being a holder, and looking after what may have been missed.
//! * `neighbours`: what nodes tell each other, so that nothing has to wait for the next look.

mod acks;
mod device;
mod keeping;
mod lease;
mod looking;
pub(crate) mod meters;
mod names;
mod neighbours;
mod posting;
mod stream;
mod window;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use dashmap::DashMap;

pub(crate) use device::Device;
pub use posting::{ForUser, Posted};

use crate::{
    config,
    edge::Hop,
    fault::Fault,
    id::{UserId, random_text},
    rate::Occasions,
    sockets::{Socket, node::Node},
    store::{
        InboxStore, StoreError,
        inbox::{Holder, Listing, Message, StreamKey},
    },
};
use acks::Acks;
use keeping::Queues;
use lease::Lease;
use meters::Meters;
use neighbours::Neighbours;
use stream::{Rest, Stream};

/// Questions of streams that the store is asked at one time.
const ASKED_AT_ONCE: usize = 64;

/// Messages for users that are kept until each of their devices has acknowledged them. Cheap to clone. It is
/// [there](crate::Switchboard::inbox) if `inbox.enabled` is set.
///
/// ```
/// use switchboard::{Config, Gateway, Switchboard, config::SecretUrl};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::with(|config| {
///     config.store.url = Some(SecretUrl::new("sqlite::memory:"));
///     config.inbox.enabled = true;
/// });
/// let server = Switchboard::builder().config(config).gateway(Gateway::new("/")).build()?;
/// let inbox = server.inbox().expect("it is enabled");
/// let posted = inbox.to("bob").keep("invoice", &("march", 120)).await?;
/// assert_eq!(posted.seq, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

pub(crate) struct Shared {
    options: config::Inbox,
    store: Arc<dyn InboxStore>,
    node: Arc<Node>,
    holder: Holder,
    lease: Lease,
    queues: Queues,
    streams: DashMap<UserId, Vec<Arc<Stream>>>,
    /// What the store refused, and devices that were one too many: for the log.
    refused: Occasions,
    too_many: Occasions,
    asking: tokio::sync::Semaphore,
    acks: Acks,
    meters: Meters,
    /// `None`: there are no other nodes.
    neighbours: Option<Neighbours>,
}

impl Inbox {
    /// Starts the inbox of a node.
    pub(crate) fn start(
        options: config::Inbox,
        store: Arc<dyn InboxStore>,
        node: &Arc<Node>,
        hop: Option<&Hop>,
    ) -> Self {
        let (queues, orders) = Queues::new();
        let shared = Arc::new(Shared {
            options,
            store,
            node: node.clone(),
            holder: Holder { node: node.id().to_string(), run: random_text(16) },
            lease: Lease::new(),
            queues,
            streams: DashMap::new(),
            refused: Occasions::default(),
            too_many: Occasions::default(),
            asking: tokio::sync::Semaphore::new(ASKED_AT_ONCE),
            acks: Acks::default(),
            meters: Meters::default(),
            neighbours: hop.cloned().map(Neighbours::new),
        });
        // Until it says something else.
        shared.meters.is_up.store(true, Relaxed);
        node.hear_answers();
        orders.serve(&shared);
        let inbox = Self(shared);
        if let Some(hop) = hop {
            inbox.listen(hop);
        }
        inbox.look_after();
        inbox
    }

    /// A socket of a user is connected: it may get what was kept.
    pub(crate) fn arrived(&self, socket: &Socket) {
        let Some((key, wants_sequence)) = stream_of(socket) else { return };
        let mut streams = self.0.streams.entry(key.user.clone()).or_default();
        let known = streams.iter().find(|stream| stream.key == key);
        let stream = known.cloned().unwrap_or_else(|| {
            let stream = Arc::new(Stream::new(key));
            streams.push(stream.clone());
            stream
        });
        let needs_pump = stream.arrived(socket.clone(), wants_sequence);
        drop(streams);
        if needs_pump {
            self.0.pump(&stream);
        }
    }

    /// The socket has left.
    pub(crate) fn left(&self, socket: &Socket) {
        let Some((key, _)) = stream_of(socket) else { return };
        let Some(stream) = self.0.stream(&key) else { return };
        if stream.left(socket) {
            self.0.pump(&stream);
        }
    }

    /// The messages of a user that are not acknowledged by all its devices, behind a number, the oldest first.
    pub(crate) async fn list(
        &self,
        user: &str,
        after: u64,
        limit: usize,
    ) -> Result<Listing, Fault> {
        names::check("user", user, usize::MAX)?;
        self.0.store.list(user, after, limit).await.map_err(|error| failed(&error))
    }

    /// Removes a message of a user that not all its devices have acknowledged. Its id stays known. Returns whether it was there.
    ///
    /// ```no_run
    /// # async fn example(server: switchboard::Switchboard) -> Result<(), switchboard::Fault> {
    /// if let Some(inbox) = server.inbox() {
    ///     inbox.delete("bob", "invoice-7").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `unavailable` if the store cannot be reached.
    pub async fn delete(&self, user: &str, id: &str) -> Result<bool, Fault> {
        names::check("user", user, usize::MAX)?;
        names::check("id", id, usize::MAX)?;
        let deleted = self.0.store.delete(user, Some(id)).await;
        deleted.map(|count| count > 0).map_err(|error| failed(&error))
    }

    /// Removes all messages of a user. Returns how many there were.
    ///
    /// ```
    /// use switchboard::{Fault, Switchboard};
    ///
    /// /// The user's account is closed.
    /// async fn forget(server: &Switchboard, user: &str) -> Result<u64, Fault> {
    ///     match server.inbox() {
    ///         Some(inbox) => inbox.clear(user).await,
    ///         None => Ok(0),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// `unavailable` if the store cannot be reached.
    pub async fn clear(&self, user: &str) -> Result<u64, Fault> {
        names::check("user", user, usize::MAX)?;
        self.0.store.delete(user, None).await.map_err(|error| failed(&error))
    }

    /// For how long a message is kept at most.
    #[cfg(feature = "postgres")]
    pub(crate) fn longest(&self) -> Duration {
        self.0.options.ttl
    }

    /// Whether the store answered when it was last asked.
    pub(crate) fn is_up(&self) -> bool {
        self.0.meters.is_up.load(Relaxed)
    }

    /// The counts of this node.
    pub(crate) fn meters(&self) -> &Meters {
        &self.0.meters
    }
}

/// A store that is away was logged once. What it refuses would be refused again.
fn failed(error: &StoreError) -> Fault {
    match error {
        StoreError::Unavailable(_) => tracing::debug!(%error, "the inbox waits for the store"),
        StoreError::Refused(_) => tracing::error!(%error, "the inbox cannot do what it is asked"),
    }
    Fault::from(error)
}

impl Shared {
    fn stream(&self, key: &StreamKey) -> Option<Arc<Stream>> {
        self.streams.get(&key.user)?.iter().find(|stream| stream.key == *key).cloned()
    }

    /// A message was kept for a user.
    fn heard(self: &Arc<Self>, user: &str, message: &Message) {
        for stream in self.of_user(user) {
            if stream.heard(self, message) {
                self.pump(&stream);
            }
        }
    }

    fn of_user(&self, user: &str) -> Vec<Arc<Stream>> {
        self.streams.get(user).map(|streams| streams.clone()).unwrap_or_default()
    }

    /// Whoever had a stream has let it go.
    fn may_be_free(self: &Arc<Self>, key: &StreamKey) {
        if let Some(stream) = self.stream(key).filter(|stream| stream.may_be_free()) {
            self.pump(&stream);
        }
    }

    /// Tells a node that waits for a stream that nobody holds it.
    fn is_free(self: &Arc<Self>, node: &str, key: StreamKey) {
        match *node == *self.holder.node {
            true => self.may_be_free(&key),
            false => self.tell(node, neighbours::News::Free(key)),
        }
    }

    /// Starts a pump for a stream that needs one.
    fn pump(self: &Arc<Self>, stream: &Arc<Stream>) {
        let (shared, stream) = (self.clone(), stream.clone());
        let stop = self.node.stop.clone();
        self.node.tasks.spawn(async move {
            stop.run_until_cancelled(shared.run_pump(&stream)).await;
        });
    }

    async fn run_pump(self: &Arc<Self>, stream: &Arc<Stream>) {
        let Ok(_place) = self.asking.acquire().await else { return };
        match stream.pump(self).await {
            Rest::Idle => {}
            Rest::Over => self.forget(stream),
            Rest::Stuck(error) => {
                if let StoreError::Refused(_) = error
                    && let Some(count) = self.refused.next()
                {
                    let user = &*stream.key.user;
                    tracing::error!(user.id = user, count, %error, "an inbox cannot be delivered");
                }
            }
        }
    }

    fn forget(&self, stream: &Arc<Stream>) {
        self.streams.remove_if_mut(&stream.key.user, |_, streams| {
            streams.retain(|it| !(Arc::ptr_eq(it, stream) && it.is_over()));
            streams.is_empty()
        });
    }
}

/// The stream of a socket that belongs to a user, and whether it wants sequence numbers.
fn stream_of(socket: &Socket) -> Option<(StreamKey, bool)> {
    let user = socket.user()?;
    // Nothing is kept for a user with a name that no store takes.
    names::check("user", &user, posting::LONGEST_USER).ok()?;
    // It was fit when the socket entered.
    let Device { name, wants_sequence } = Device::of(&socket.auth()).ok()?;
    let namespace = socket.namespace().into();
    Some((StreamKey { user, device: name, namespace }, wants_sequence))
}
