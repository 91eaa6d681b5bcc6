//! What a node tells the others about the inbox, directly and without an answer that matters: a
//! message was kept for a stream that the other one holds, or a stream that it waits for is free.
//!
//! Nothing depends on it. Who is not told finds the message in the store a little later.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::{Inbox, Shared};
use crate::{
    edge::Hop,
    store::inbox::{Message, StreamKey},
};

/// The name of these questions.
const TELL: &str = "inbox";

/// News that wait for one node, and the bytes of their messages.
const QUEUE: usize = 1024;
const BYTES: usize = 8 * 1024 * 1024;

/// Bytes of the messages in one question.
const BYTES_TOGETHER: usize = 512 * 1024;

/// How long a node is given.
const PATIENCE: Duration = Duration::from_secs(5);

/// After this time without news, nobody waits for more of them.
const IDLE: Duration = Duration::from_secs(60);

/// Something that another node wants to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum News {
    /// A message was kept for a user.
    Kept(String, Message),
    /// Nobody holds this stream.
    Free(StreamKey),
}

/// The queues for the other nodes.
pub(super) struct Neighbours {
    hop: Hop,
    queues: Mutex<HashMap<String, Queue>>,
}

/// What waits for one node.
struct Queue {
    news: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

struct Waiting {
    news: News,
    _room: OwnedSemaphorePermit,
}

impl Queue {
    fn new() -> (Self, mpsc::Receiver<Waiting>) {
        let (news, to_tell) = mpsc::channel(QUEUE);
        (Self { news, room: Arc::new(Semaphore::new(BYTES)) }, to_tell)
    }

    /// False if there is no room.
    fn put(&self, news: News) -> bool {
        let bytes = u32::try_from(news.size()).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) else { return false };
        self.news.try_send(Waiting { news, _room: room }).is_ok()
    }
}

impl Neighbours {
    pub(super) fn new(hop: Hop) -> Self {
        Self { hop, queues: Mutex::default() }
    }
}

impl Shared {
    /// Tells another node. Never waits.
    pub(super) fn tell(self: &Arc<Self>, node: &str, news: News) {
        let Some(neighbours) = &self.neighbours else { return };
        let mut queues = neighbours.queues.lock();
        let is_put = match queues.get(node).filter(|queue| !queue.news.is_closed()) {
            Some(queue) => queue.put(news),
            None => {
                let (queue, to_tell) = Queue::new();
                let is_put = queue.put(news);
                queues.insert(node.to_owned(), queue);
                self.begin(node, to_tell);
                is_put
            }
        };
        if !is_put {
            self.meters.unsaid.count();
        }
    }

    fn begin(self: &Arc<Self>, node: &str, to_tell: mpsc::Receiver<Waiting>) {
        let (shared, node) = (self.clone(), node.to_owned());
        let stop = self.node.stop.clone();
        self.node.tasks.spawn(async move {
            stop.run_until_cancelled(shared.pass_on(&node, to_tell)).await;
        });
    }

    /// Tells one node what comes, until nothing has come for a while.
    async fn pass_on(&self, node: &str, mut to_tell: mpsc::Receiver<Waiting>) {
        let Some(neighbours) = &self.neighbours else { return };
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(news) => news,
                None => match timeout(IDLE, to_tell.recv()).await {
                    Ok(Some(news)) => news,
                    Ok(None) => return,
                    Err(_) => {
                        let mut queues = neighbours.queues.lock();
                        // Nobody puts anything in while this is locked.
                        if to_tell.is_empty() {
                            queues.remove(node);
                            return;
                        }
                        continue;
                    }
                },
            };
            let mut bytes = first.news.size();
            let mut all = vec![first.news];
            while let Ok(waiting) = to_tell.try_recv() {
                bytes += waiting.news.size();
                if bytes > BYTES_TOGETHER {
                    next = Some(waiting);
                    break;
                }
                all.push(waiting.news);
            }
            let told = neighbours.hop.ask_for::<()>(node, TELL, &all, PATIENCE).await;
            if let Err(error) = told {
                tracing::debug!(node, %error, "a node cannot be told what is new in an inbox");
                self.meters.unsaid.add(all.len() as u64);
            }
        }
    }
}

impl News {
    fn size(&self) -> usize {
        match self {
            Self::Kept(_, message) => message.event.len() + message.args.len(),
            Self::Free(_) => 0,
        }
    }
}

impl Inbox {
    /// Listens to what the others say.
    pub(super) fn listen(&self, hop: &Hop) {
        let shared = Arc::downgrade(&self.0);
        hop.answer_with(TELL, move |news: Vec<News>| {
            let shared = shared.clone();
            async move {
                let shared = shared.upgrade()?;
                for news in news {
                    match news {
                        News::Kept(user, message) => shared.heard(&user, &message),
                        News::Free(stream) => shared.may_be_free(&stream),
                    }
                }
                Some(())
            }
        });
    }
}
