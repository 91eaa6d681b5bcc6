//! A program's broker, as the node uses it.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    BrokerCounts, Carrier, Channel, Disconnected, Inbound, Mark, Topic,
    lapses::Lapses,
    seam::{Broker, LinkToBroker, Receiver},
};
use crate::{
    cluster::log::{NewEntry, Returned},
    future::BoxFuture,
    link::{Link, LinkError, backoff::Backoff},
    rate::LastLine,
};

/// A broker that the program has brought.
pub(crate) struct Brought<B>(Arc<Inner<B>>);

struct Inner<B> {
    broker: B,
    state: Arc<LinkToBroker>,
    receiver: OnceLock<Receiver>,
    /// How often each channel is listened to. The broker is told under this lock, in order.
    channels: Mutex<HashMap<Channel, usize>>,
    started: AtomicBool,
    stop: CancellationToken,
    published: AtomicU64,
    too_late: AtomicU64,
    too_big: AtomicU64,
    told: LastLine,
}

impl<B: Broker> Brought<B> {
    pub(crate) fn new(broker: B) -> Self {
        Self(Arc::new(Inner {
            broker,
            state: Arc::default(),
            receiver: OnceLock::new(),
            channels: Mutex::default(),
            started: AtomicBool::new(false),
            stop: CancellationToken::new(),
            published: AtomicU64::new(0),
            too_late: AtomicU64::new(0),
            too_big: AtomicU64::new(0),
            told: LastLine::default(),
        }))
    }
}

impl<B: Broker> Inner<B> {
    async fn start(&self, inbound: Inbound) -> Result<(), LinkError> {
        let receiver =
            self.receiver.get_or_init(|| Receiver::new(inbound, self.state.clone())).clone();
        match self.broker.start(receiver).await {
            Ok(()) => {
                self.state.has_started();
                Ok(())
            }
            Err(error) => {
                self.state.cannot_start(error.to_string());
                Err(LinkError::Broker(error))
            }
        }
    }

    async fn start_at_last(&self, inbound: Inbound) {
        let mut backoff = Backoff::default();
        loop {
            tokio::time::sleep(backoff.next()).await;
            if self.start(inbound.clone()).await.is_ok() {
                return tracing::info!("linked to the other nodes");
            }
        }
    }

    fn tell_of_too_big(&self, bytes: usize, largest: usize) {
        if self.told.is_due(tokio::time::Instant::now()) {
            tracing::error!(
                bytes,
                largest,
                "a message is too large for the broker, and is dropped"
            );
        }
    }

    fn lost(&self) -> u64 {
        let dropped = [&self.state.unsent, &self.too_late, &self.too_big];
        dropped.iter().map(|frames| frames.load(Ordering::Relaxed)).sum()
    }
}

impl<B: Broker> Carrier for Brought<B> {
    fn name(&self) -> &'static str {
        "broker"
    }

    fn is_in_one_order(&self) -> bool {
        false
    }

    fn start(&self, inbound: Inbound, wait: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let inner = &self.0;
            if inner.started.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            match inner.start(inbound.clone()).await {
                Ok(()) => Ok(()),
                Err(error) if wait => {
                    tracing::warn!(%error, "there is no link to the other nodes yet; trying again");
                    let inner = inner.clone();
                    tokio::spawn(async move {
                        inner.stop.run_until_cancelled(inner.start_at_last(inbound)).await
                    });
                    Ok(())
                }
                Err(error) => {
                    inner.started.store(false, Ordering::Release);
                    Err(error)
                }
            }
        })
    }

    fn publish(&self, channel: &str, frame: Bytes) {
        let largest = self.0.broker.largest();
        let dropped = if self.0.stop.is_cancelled() {
            Some(&self.0.too_late)
        } else if frame.len() > largest {
            self.0.tell_of_too_big(frame.len(), largest);
            Some(&self.0.too_big)
        } else {
            None
        };
        if let Some(dropped) = dropped {
            dropped.fetch_add(1, Ordering::Relaxed);
            return self.0.state.lapses.unsaid(Instant::now());
        }
        self.0.broker.publish(channel, frame);
        self.0.published.fetch_add(1, Ordering::Relaxed);
    }

    /// There is no log: the codec of such a cluster makes no entries.
    fn append(&self, _: NewEntry, returned: Option<Returned>) {
        if let Some(returned) = returned {
            returned(None);
        }
    }

    fn mark(&self) -> Mark {
        let too_big = self.0.too_big.load(Ordering::Relaxed);
        Mark { lanes: vec![(0, self.0.lost()), (0, too_big)], ..Mark::default() }
    }

    fn is_too_big(&self, since: &Mark, until: &Mark) -> bool {
        since.lanes.get(1) != until.lanes.get(1)
    }

    fn taken(&self, since: Mark) -> BoxFuture<'_, Result<(), Disconnected>> {
        Box::pin(async move {
            self.0.broker.flush().await?;
            let whole = since.lanes.first().is_some_and(|(_, lost)| *lost == self.0.lost());
            whole.then_some(()).ok_or(Disconnected)
        })
    }

    fn listen(&self, topic: Topic) {
        let (Topic::Channel(channel) | Topic::Prefix(channel)) = topic;
        let mut channels = self.0.channels.lock();
        let count = channels.entry(channel.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.0.broker.listen(&channel);
        }
    }

    fn unlisten(&self, topic: &Topic) {
        let mut channels = self.0.channels.lock();
        let Some(count) = channels.get_mut(topic.name()) else { return };
        *count -= 1;
        if *count == 0 {
            channels.remove(topic.name());
            self.0.broker.unlisten(topic.name());
        }
    }

    fn settled(&self, _: &[Topic]) -> BoxFuture<'_, ()> {
        Box::pin(self.0.broker.settled())
    }

    fn listeners(&self, channels: Vec<Channel>) -> BoxFuture<'_, Result<Vec<usize>, Disconnected>> {
        let asked = channels.len();
        let channels = channels.iter().map(ToString::to_string).collect();
        Box::pin(async move {
            let counts = self.0.broker.listeners(channels).await?;
            (counts.len() == asked).then_some(counts).ok_or(Disconnected)
        })
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.0.state.link.subscribe()
    }

    fn lapses(&self) -> &Lapses {
        &self.0.state.lapses
    }

    fn reason(&self) -> Option<String> {
        self.0.state.reason()
    }

    fn counts(&self) -> BrokerCounts {
        BrokerCounts {
            published: self.0.published.load(Ordering::Relaxed),
            dropped_down: self.0.lost(),
            received: self.0.receiver.get().map_or(0, Receiver::received),
            reconnects: self.0.state.mended.load(Ordering::Relaxed),
            ..BrokerCounts::default()
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.stop.cancel();
            self.0.broker.stop().await;
            self.0.receiver.get().into_iter().for_each(Receiver::close);
            self.0.state.is_over();
        })
    }
}

impl<B> fmt::Debug for Brought<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brought").field("link", &*self.0.state.link.borrow()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::broker::BrokerError;

    /// Takes frames of up to 8 bytes.
    #[derive(Default)]
    struct Narrow(Mutex<Vec<Bytes>>);

    impl Broker for Narrow {
        async fn start(&self, _: Receiver) -> Result<(), BrokerError> {
            Ok(())
        }

        fn publish(&self, _: &str, frame: Bytes) {
            self.0.lock().push(frame);
        }

        fn largest(&self) -> usize {
            8
        }

        async fn flush(&self) -> Result<(), Disconnected> {
            Ok(())
        }

        fn listen(&self, _: &str) {}

        fn unlisten(&self, _: &str) {}

        async fn settled(&self) {}

        async fn listeners(&self, channels: Vec<String>) -> Result<Vec<usize>, Disconnected> {
            Ok(vec![0; channels.len()])
        }

        async fn stop(&self) {}
    }

    #[tokio::test]
    async fn what_is_too_large_for_the_broker_is_known_and_never_published() {
        let broker = Brought::new(Narrow::default());
        let mut moments = vec![broker.mark()];
        for frame in [&b"12345678"[..], b"123456789", b"1"] {
            broker.publish("a", Bytes::from_static(frame));
            moments.push(broker.mark());
        }
        let is_too_big = |at: usize| broker.is_too_big(&moments[at], &moments[at + 1]);
        assert_eq!([0, 1, 2].map(is_too_big), [false, true, false]);
        assert_eq!(*broker.0.broker.0.lock(), ["12345678", "1"]);
        assert_eq!((broker.counts().published, broker.counts().lost()), (2, 1));
        // Nobody takes it for sent, and the others are told that something may be missing.
        assert_eq!(broker.taken(moments.remove(0)).await, Err(Disconnected));
        assert_eq!(broker.taken(broker.mark()).await, Ok(()));
    }
}
