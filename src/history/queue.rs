//! Events on their way to the store, in order. What does not fit is dropped and counted.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::{
    rate::Occasions,
    store::{HistoryStore, StoreError, history::NewEvent},
};

/// Most events that wait, and most of their bytes.
const MAX_EVENTS: usize = 65_536;
const MAX_BYTES: usize = 64 << 20;

/// Most events that are written together, and most of their bytes.
const TOGETHER: usize = 256;
const BYTES_TOGETHER: usize = 1 << 20;

/// The pause before a store that was away is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Events that wait to be written.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
    /// How far everything is written, or given up.
    done: watch::Sender<Progress>,
    kept: AtomicU64,
    dropped: Occasions,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<NewEvent>,
    /// With those that are being written.
    bytes: usize,
    /// How many there were, all in all.
    added: u64,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    done: u64,
    /// The store does not take what is written.
    is_away: bool,
}

/// The numbers of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueCounts {
    pub(crate) kept: u64,
    pub(crate) dropped: u64,
    pub(crate) waiting: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            more: Notify::new(),
            done: watch::Sender::new(Progress::default()),
            kept: AtomicU64::new(0),
            dropped: Occasions::default(),
        }
    }
}

impl Queue {
    /// Puts an event behind the others. Never waits.
    pub(super) fn push(&self, event: NewEvent) {
        let mut waiting = self.waiting.lock();
        let size = event.size();
        if waiting.events.len() >= MAX_EVENTS || waiting.bytes + size > MAX_BYTES {
            drop(waiting);
            return self.drops("too much waits for the store");
        }
        waiting.bytes += size;
        waiting.added += 1;
        waiting.events.push_back(event);
        drop(waiting);
        self.more.notify_one();
    }

    /// An event will be missing.
    fn drops(&self, why: &str) {
        if let Some(dropped) = self.dropped.next() {
            tracing::warn!(dropped, "events are missing in the history of rooms: {why}");
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.done.borrow().is_away
    }

    pub(super) fn counts(&self) -> QueueCounts {
        QueueCounts {
            kept: self.kept.load(Ordering::Relaxed),
            dropped: self.dropped.count(),
            waiting: self.waiting.lock().events.len(),
        }
    }

    /// Ends when everything is written, or given up, that waits now. False at once if the store is
    /// away.
    pub(super) async fn written(&self) -> bool {
        let added = self.waiting.lock().added;
        let is_over = |progress: &Progress| progress.is_away || progress.done >= added;
        let mut progress = self.done.subscribe();
        progress.wait_for(is_over).await.is_ok_and(|progress| progress.done >= added)
    }

    /// Writes what comes, for ever.
    pub(super) async fn write(&self, store: &dyn HistoryStore) {
        loop {
            let (events, bytes) = self.next().await;
            let count = events.len() as u64;
            if !self.write_some(store, &events).await {
                // What makes no sense to the store now will make none later. The others may.
                for event in events {
                    if !self.write_some(store, std::slice::from_ref(&event)).await {
                        self.drops("the store refuses them");
                    }
                }
            }
            if self.done.borrow().is_away {
                tracing::info!("the history of rooms is written again");
            }
            self.waiting.lock().bytes -= bytes;
            self.done.send_modify(|progress| {
                *progress = Progress { done: progress.done + count, is_away: false };
            });
        }
    }

    /// Writes events together, however long that takes. False if the store refuses them.
    async fn write_some(&self, store: &dyn HistoryStore, events: &[NewEvent]) -> bool {
        while let Err(error) = store.append(events.to_vec()).await {
            if let StoreError::Refused(_) = error {
                tracing::debug!(%error, events = events.len(), "the store refuses");
                return false;
            }
            if !self.done.borrow().is_away {
                tracing::warn!(%error, "the history of rooms cannot be written just now");
                self.done.send_modify(|progress| progress.is_away = true);
            }
            sleep(PAUSE).await;
        }
        self.kept.fetch_add(events.len() as u64, Ordering::Relaxed);
        true
    }

    /// The next events, once there are any, and their bytes.
    async fn next(&self) -> (Vec<NewEvent>, usize) {
        loop {
            let more = self.more.notified();
            {
                let mut waiting = self.waiting.lock();
                let (mut events, mut bytes) = (Vec::new(), 0);
                while events.len() < TOGETHER
                    && bytes < BYTES_TOGETHER
                    && let Some(event) = waiting.events.pop_front()
                {
                    bytes += event.size();
                    events.push(event);
                }
                if !events.is_empty() {
                    return (events, bytes);
                }
            }
            more.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicBool};

    use bytes::Bytes;
    use test_kit::waiting::{until, within};

    use super::*;
    use crate::{future::BoxFuture, store::history::Page};

    /// A store that is away, or refuses what is called `bad`.
    #[derive(Default)]
    struct Fickle {
        is_away: AtomicBool,
        written: Mutex<Vec<String>>,
    }

    impl HistoryStore for Fickle {
        fn append(&self, events: Vec<NewEvent>) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async move {
                if self.is_away.load(Ordering::Relaxed) {
                    return Err(StoreError::Unavailable("away".into()));
                }
                if events.iter().any(|event| event.id == "bad") {
                    return Err(StoreError::Refused("bad".into()));
                }
                self.written.lock().extend(events.into_iter().map(|event| event.id));
                Ok(())
            })
        }

        fn list<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: Option<&'a str>,
            _: usize,
            _: usize,
        ) -> BoxFuture<'a, Result<Page, StoreError>> {
            Box::pin(async { Ok(Page::default()) })
        }

        fn sweep(&self, _: usize) -> BoxFuture<'_, Result<u64, StoreError>> {
            Box::pin(async { Ok(0) })
        }
    }

    fn event(id: &str, bytes: usize) -> NewEvent {
        NewEvent {
            namespace: "/".into(),
            room: "r".into(),
            id: id.into(),
            event: "e".into(),
            args: Bytes::from(vec![0; bytes]),
            from: None,
            count: 1,
            ttl: Duration::from_secs(1),
        }
    }

    fn start() -> (Arc<Queue>, Arc<Fickle>) {
        let (queue, store) = (Arc::new(Queue::default()), Arc::new(Fickle::default()));
        let (writer, to) = (queue.clone(), store.clone());
        tokio::spawn(async move { writer.write(&*to).await });
        (queue, store)
    }

    #[tokio::test]
    async fn everything_is_written_in_order() {
        let (queue, store) = start();
        for n in 0..1000 {
            queue.push(event(&n.to_string(), 10_000));
        }
        assert!(within("written", queue.written()).await);
        let expected: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
        assert_eq!(*store.written.lock(), expected);
        assert_eq!(queue.counts(), QueueCounts { kept: 1000, dropped: 0, waiting: 0 });
        assert_eq!(queue.waiting.lock().bytes, 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_store_that_is_away_and_nothing_is_lost() {
        let (queue, store) = start();
        store.is_away.store(true, Ordering::Relaxed);
        queue.push(event("1", 0));
        assert!(!within("an answer", queue.written()).await);
        queue.push(event("2", 0));
        assert!(!within("an answer", queue.written()).await);
        store.is_away.store(false, Ordering::Relaxed);
        until("it is written", async || queue.written().await).await;
        assert_eq!(*store.written.lock(), ["1", "2"]);
    }

    #[tokio::test]
    async fn what_is_refused_holds_up_nothing() {
        let (queue, store) = start();
        for id in ["1", "bad", "2"] {
            queue.push(event(id, 0));
        }
        assert!(within("written", queue.written()).await);
        assert_eq!(*store.written.lock(), ["1", "2"]);
        assert_eq!(queue.counts(), QueueCounts { kept: 2, dropped: 1, waiting: 0 });
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let queue = Queue::default();
        queue.push(event("1", MAX_BYTES));
        for n in 0..=MAX_EVENTS {
            queue.push(event(&n.to_string(), 0));
        }
        assert_eq!(queue.counts(), QueueCounts { kept: 0, dropped: 2, waiting: MAX_EVENTS });
    }
}
