//! What a node tells the others about the inbox, directly and without an answer that matters: a
//! message was kept for a stream that the other one holds, or a stream that it waits for is free.
//!
//! Nothing depends on it. Who is not told finds the message in the store a little later.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::timeout};

use super::{Inbox, Shared};
use crate::{
    edge::Hop,
    store::inbox::{Message, StreamKey},
};

/// The name of these questions.
const TELL: &str = "inbox";

/// News that wait for one node.
const QUEUE: usize = 1024;

/// Bytes of the messages in one question, and in a queue.
const BYTES: usize = 512 * 1024;

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
    queues: Mutex<HashMap<String, mpsc::Sender<News>>>,
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
        let Some(queue) = queues.get(node).filter(|queue| !queue.is_closed()) else {
            return self.begin(&mut queues, node, news);
        };
        if queue.try_send(news).is_err() {
            self.meters.unsaid.count();
        }
    }

    fn begin(
        self: &Arc<Self>,
        queues: &mut HashMap<String, mpsc::Sender<News>>,
        node: &str,
        news: News,
    ) {
        let (queue, to_tell) = mpsc::channel(QUEUE);
        // It has room.
        let _ = queue.try_send(news);
        queues.insert(node.to_owned(), queue);
        let (shared, node) = (self.clone(), node.to_owned());
        let stop = self.context.stop.clone();
        self.context.tasks.spawn(async move {
            stop.run_until_cancelled(shared.pass_on(&node, to_tell)).await;
        });
    }

    /// Tells one node what comes, until nothing has come for a while.
    async fn pass_on(&self, node: &str, mut to_tell: mpsc::Receiver<News>) {
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
            let mut bytes = first.size();
            let mut all = vec![first];
            while let Ok(news) = to_tell.try_recv() {
                bytes += news.size();
                if bytes > BYTES {
                    next = Some(news);
                    break;
                }
                all.push(news);
            }
            let told = neighbours.hop.ask_for::<()>(node, TELL, &all, PATIENCE).await;
            if let Err(error) = told {
                tracing::debug!(node, %error, "a node is not told about its inbox");
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
