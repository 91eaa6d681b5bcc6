//! Keeps messages. Those that come while the store is busy go into it together, by a few queues; all
//! messages of a user take the same one, so they are numbered in the order of the calls.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::SystemTime,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{Shared, neighbours::News};
use crate::store::{
    StoreError,
    inbox::{Kept, Message, NewMessage},
};

/// Queues before the store.
const QUEUES: usize = 4;

/// Messages in one transaction.
const TOGETHER: usize = 128;

/// Messages that wait in one queue. More are made to wait before it.
const LENGTH: usize = 1024;

/// Bytes of all messages that wait.
const BYTES: usize = 64 * 1024 * 1024;

struct Order {
    message: NewMessage,
    told: oneshot::Sender<Result<Kept, StoreError>>,
    /// Its bytes. Whoever has given the order may not wait for it any more.
    _room: OwnedSemaphorePermit,
}

/// The queues before the store.
pub(super) struct Queues {
    senders: Vec<mpsc::Sender<Order>>,
    room: Arc<Semaphore>,
}

/// What waits in the queues.
pub(super) struct Orders(Vec<mpsc::Receiver<Order>>);

impl Queues {
    pub(super) fn new() -> (Self, Orders) {
        let (senders, orders) = (0..QUEUES).map(|_| mpsc::channel(LENGTH)).unzip();
        (Self { senders, room: Arc::new(Semaphore::new(BYTES)) }, Orders(orders))
    }

    /// Keeps a message. Dropped, it may be kept or not.
    pub(super) async fn keep(&self, message: NewMessage) -> Result<Kept, StoreError> {
        let ended = || StoreError::Unavailable("the node is stopping".into());
        let bytes = usize::try_from(message.size()).unwrap_or(BYTES).min(BYTES);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| ended())?;
        let mut hasher = DefaultHasher::new();
        message.user.hash(&mut hasher);
        // The remainder is less than the number of queues.
        #[allow(clippy::cast_possible_truncation)]
        let queue = (hasher.finish() % QUEUES as u64) as usize;
        let (told, answer) = oneshot::channel();
        self.senders[queue]
            .send(Order { message, told, _room: room })
            .await
            .map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl Orders {
    pub(super) fn serve(self, shared: &Arc<Shared>) {
        for orders in self.0 {
            let (shared, stop) = (Arc::downgrade(shared), shared.node.stop.clone());
            let serving = async move {
                let mut orders = orders;
                let mut all = Vec::new();
                while orders.recv_many(&mut all, TOGETHER).await > 0 {
                    let Some(shared) = shared.upgrade() else { break };
                    shared.keep_all(std::mem::take(&mut all)).await;
                }
            };
            tokio::spawn(async move { stop.run_until_cancelled(serving).await });
        }
    }
}

impl Shared {
    async fn keep_all(self: &Arc<Self>, orders: Vec<Order>) {
        let messages = orders.iter().map(|order| order.message.clone()).collect();
        let all = match self.store.keep(messages).await {
            Ok(all) => all,
            Err(error) => {
                // Whoever does not wait any more need not know.
                orders.into_iter().for_each(|order| _ = order.told.send(Err(error.clone())));
                return;
            }
        };
        for (Order { message, told, .. }, kept) in orders.into_iter().zip(all) {
            match &kept {
                Kept::New { seq, holders } => {
                    self.meters.kept.count();
                    self.delivers(message, *seq, holders);
                }
                Kept::Known { .. } => self.meters.known.count(),
                Kept::Full => self.meters.full.count(),
            }
            let _ = told.send(Ok(kept));
        }
    }

    /// A message was kept: those who hold a stream of the user send it.
    fn delivers(self: &Arc<Self>, new: NewMessage, seq: u64, holders: &[String]) {
        if holders.is_empty() {
            return;
        }
        let NewMessage { user, id, namespace, event, args, ttl, .. } = new;
        let created = SystemTime::now();
        let message = Message { seq, id, namespace, event, args, created, expires: created + ttl };
        for node in holders {
            match *node == self.holder.node {
                true => self.heard(&user, &message),
                false => self.tell(node, News::Kept(user.to_string(), message.clone())),
            }
        }
    }
}
