//! Writes down what devices have acknowledged: all that came within a moment, or while the last write
//! was under way, goes in one.

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep};

use crate::store::{InboxStore, StoreError, inbox::StreamKey};

/// Streams in one write.
const TOGETHER: usize = 256;

/// How long a write waits for more. On a disk a write costs as much as keeping a message, and what was
/// not written when a node is killed comes again, as it always may.
const MOMENT: Duration = Duration::from_millis(20);

/// After a write that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What is still to be written.
#[derive(Default)]
pub(super) struct Acks {
    unwritten: Mutex<HashMap<StreamKey, u64>>,
    more: Notify,
}

impl Acks {
    /// A device has a stream up to this number. There is one entry for each stream, so what waits is
    /// bounded by their number.
    pub(super) fn add(&self, stream: &StreamKey, seq: u64) {
        let mut unwritten = self.unwritten.lock();
        match unwritten.get_mut(stream) {
            Some(up_to) => *up_to = seq.max(*up_to),
            None => _ = unwritten.insert(stream.clone(), seq),
        }
        drop(unwritten);
        self.more.notify_one();
    }

    /// Writes what there is, for as long as it is polled.
    pub(super) async fn write(&self, store: Arc<dyn InboxStore>) {
        loop {
            self.more.notified().await;
            sleep(MOMENT).await;
            while let Err(error) = self.flush(&*store).await {
                tracing::debug!(%error, "acknowledgements wait for the store");
                sleep(PAUSE).await;
            }
        }
    }

    /// Writes what there is now.
    ///
    /// # Errors
    /// Nothing is lost then: it is written later.
    pub(super) async fn flush(&self, store: &dyn InboxStore) -> Result<(), StoreError> {
        loop {
            let mut all: Vec<_> = mem::take(&mut *self.unwritten.lock()).into_iter().collect();
            if all.is_empty() {
                return Ok(());
            }
            while !all.is_empty() {
                let rest = all.split_off(all.len().min(TOGETHER));
                let failed = store.acknowledge(all.clone()).await;
                if let Err(error) = failed {
                    all.iter().chain(&rest).for_each(|(stream, seq)| self.add(stream, *seq));
                    return Err(error);
                }
                all = rest;
            }
        }
    }
}
