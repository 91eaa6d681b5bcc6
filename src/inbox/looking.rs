//! What a node does from time to time: it renews its lease, tries again what the store has not
//! answered, looks for messages that it was not told of, and cleans up.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::{Inbox, Shared};
use crate::store::{StoreError, inbox::LEASE};

/// The time between two renewals.
const RENEWAL: Duration = Duration::from_secs(LEASE.as_secs() / 3);

/// After a renewal that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked for messages of which this node was not told. The first look of a cluster's
/// node comes as late.
const LOOK: Duration = Duration::from_secs(5);

/// Users in one question.
const TOGETHER: usize = 500;

/// How often it is cleaned up, and how much is kept is looked at. Nodes do it at different times.
const SWEEP: Duration = Duration::from_secs(20);

/// Rows that are removed in one step.
const ROWS: usize = 500;

/// How long the last questions to the store may take when the node leaves.
const FAREWELL: Duration = Duration::from_secs(3);

impl Inbox {
    pub(super) fn look_after(&self) {
        let shared = &self.0;
        let spawn = |task: fn(Arc<Shared>) -> crate::future::BoxFuture<'static, ()>| {
            let (stop, task) = (shared.node.stop.clone(), task(shared.clone()));
            shared.node.tasks.spawn(async move { stop.run_until_cancelled(task).await });
        };
        spawn(|shared| Box::pin(async move { shared.keep_lease().await }));
        spawn(|shared| Box::pin(async move { shared.look_for_messages().await }));
        spawn(|shared| Box::pin(async move { shared.clean_up().await }));
        spawn(|shared| Box::pin(async move { shared.acks.write(shared.store.clone()).await }));
    }

    /// The last sockets have left: what is still known is written down, and the other nodes may
    /// deliver.
    pub(crate) async fn leave(&self) {
        let shared = &self.0;
        let leaving = async {
            shared.acks.flush(&*shared.store).await?;
            for (node, stream) in shared.store.retire(&shared.holder).await? {
                shared.is_free(&node, stream);
            }
            Ok::<_, StoreError>(())
        };
        match timeout(FAREWELL, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the inbox was not handed over; other nodes take over when its leases end");
            }
            Err(_) => tracing::warn!(
                "the inbox was not handed over: the store does not answer; other nodes take over when its leases end"
            ),
        }
    }
}

impl Shared {
    pub(super) async fn renew(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        self.store.renew(&self.holder).await?;
        self.lease.renewed(asked);
        Ok(())
    }

    async fn keep_lease(self: Arc<Self>) {
        let mut is_away = false;
        loop {
            let had_lease = self.lease.is_valid();
            let renewed = self.renew().await;
            self.meters.is_up.store(renewed.is_ok(), Relaxed);
            // Once for all streams, and not at each try.
            let was_away = std::mem::replace(&mut is_away, renewed.is_err());
            if let Err(error) = renewed {
                if !was_away {
                    tracing::warn!(%error, "the inbox waits for the store");
                }
                sleep(PAUSE).await;
                continue;
            }
            if was_away {
                tracing::info!("the store of the inbox is back");
            }
            self.look_again(!had_lease);
            sleep(RENEWAL).await;
        }
    }

    /// The store answers: what has waited for it goes on.
    fn look_again(self: &Arc<Self>, lease_ran_out: bool) {
        for stream in self.all_streams() {
            if stream.goes_on() || stream.may_be_free() || (lease_ran_out && stream.looks_again()) {
                self.pump(&stream);
            }
        }
    }

    fn all_streams(&self) -> Vec<Arc<super::Stream>> {
        self.streams.iter().flat_map(|streams| streams.clone()).collect()
    }

    async fn look_for_messages(self: Arc<Self>) {
        // Without other nodes this one hears of everything.
        while self.neighbours.is_some() {
            sleep(LOOK).await;
            let held: Vec<_> =
                self.all_streams().into_iter().filter(|stream| stream.is_held()).collect();
            for streams in held.chunks(TOGETHER) {
                let users = streams.iter().map(|stream| stream.key.user.clone()).collect();
                let Ok(last) = self.store.last(users).await else { break };
                for (stream, last) in streams.iter().zip(last) {
                    if stream.has_up_to(last) {
                        self.pump(stream);
                    }
                }
            }
        }
    }

    async fn clean_up(self: Arc<Self>) {
        loop {
            let pause = SWEEP.mul_f64(rand::random_range(0.5..1.5));
            sleep(pause).await;
            while let Ok(swept) = self.store.sweep(ROWS).await {
                self.meters.expired.add(swept.expired);
                if !swept.more {
                    break;
                }
                tokio::task::yield_now().await;
            }
            if let Ok(depth) = self.store.depth().await {
                self.meters.set_depth(depth);
            }
        }
    }
}
