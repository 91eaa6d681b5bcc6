//! Answers in memory, for one node, or for the nodes of one process.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{Answer, Digested, KNOWN_FOR, Known, Unknown};

/// Most keys that are known at a time.
const MAX_KEYS: usize = 1_000_000;

/// Most memory of them, in bytes.
const MAX_BYTES: usize = 256 << 20;

/// About what a key costs besides its answer.
const KEY_BYTES: usize = 256;

/// The known keys. Clones are the same table.
#[derive(Clone, Default)]
pub(crate) struct Table(Arc<Mutex<Keys>>);

#[derive(Default)]
struct Keys {
    known: HashMap<Digested, Entry>,
    /// In the order in which they become free.
    order: VecDeque<(Instant, Digested)>,
    bytes: usize,
}

struct Entry {
    request: Digested,
    /// When it becomes free. It tells the entry from another one of the same key.
    until: Instant,
    answer: watch::Receiver<Option<Answer>>,
}

impl Entry {
    fn bytes(&self) -> usize {
        KEY_BYTES + self.answer.borrow().as_ref().map_or(0, bytes_of)
    }
}

fn bytes_of(answer: &Answer) -> usize {
    answer.body.as_ref().map_or(0, bytes::Bytes::len)
}

impl Keys {
    fn forget(&mut self, key: &Digested, until: Instant) {
        if self.known.get(key).is_some_and(|entry| entry.until == until)
            && let Some(entry) = self.known.remove(key)
        {
            self.bytes -= entry.bytes();
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((until, key)) = self.order.front().copied()
            && until <= now
        {
            self.order.pop_front();
            self.forget(&key, until);
        }
    }
}

/// A key in the table, of this request.
pub(crate) struct Claimed {
    table: Table,
    key: Digested,
    until: Instant,
    tell: watch::Sender<Option<Answer>>,
}

impl Table {
    pub(super) async fn claim(
        &self,
        key: Digested,
        request: Digested,
        patience: Duration,
    ) -> Result<Known, Unknown> {
        let mut answer = {
            let now = Instant::now();
            let mut keys = self.0.lock();
            keys.forget_old(now);
            let Some(entry) = keys.known.get(&key) else {
                // The order also holds keys that were freed before their time.
                if keys.order.len() >= MAX_KEYS || keys.bytes + KEY_BYTES > MAX_BYTES {
                    return Err(Unknown::Full);
                }
                let (until, (tell, answer)) = (now + KNOWN_FOR, watch::channel(None));
                keys.known.insert(key, Entry { request, until, answer });
                keys.order.push_back((until, key));
                keys.bytes += KEY_BYTES;
                let claimed = Claimed { table: self.clone(), key, until, tell };
                return Ok(Known::First(super::Claimed::Here(claimed)));
            };
            if entry.request != request {
                return Ok(Known::OfAnother);
            }
            entry.answer.clone()
        };
        match timeout(patience, answer.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().map(Known::Before).ok_or(Unknown::NoAnswer),
            _ => Err(Unknown::NoAnswer),
        }
    }
}

impl Claimed {
    pub(super) fn answered(self, answer: Answer) {
        let mut keys = self.table.0.lock();
        let bytes = bytes_of(&answer);
        // Without room for the answer it is one that nobody knows.
        if keys.known.get(&self.key).is_some_and(|entry| entry.until == self.until)
            && keys.bytes + bytes <= MAX_BYTES
        {
            keys.bytes += bytes;
            self.tell.send_replace(Some(answer));
        }
    }

    pub(super) fn refused(self) {
        self.table.0.lock().forget(&self.key, self.until);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    async fn claim(table: &Table, key: u32) -> Result<Known, Unknown> {
        let key = super::super::digest(&key.to_be_bytes());
        table.claim(key, [0; 32], Duration::ZERO).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_free_after_five_minutes() {
        let table = Table::default();
        let Ok(Known::First(claimed)) = claim(&table, 1).await else { panic!("free") };
        let super::super::Claimed::Here(claimed) = claimed else { panic!("here") };
        claimed.answered(Answer::new(202, Bytes::from_static(b"{}")));
        tokio::time::advance(KNOWN_FOR - Duration::from_millis(1)).await;
        assert!(matches!(claim(&table, 1).await, Ok(Known::Before(_))));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(matches!(claim(&table, 1).await, Ok(Known::First(_))));
        assert_eq!(table.0.lock().bytes, KEY_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_refuses_and_forgets_nothing_that_is_young() {
        let table = Table::default();
        table.0.lock().bytes = MAX_BYTES - KEY_BYTES;
        assert!(matches!(claim(&table, 1).await, Ok(Known::First(_))));
        assert!(matches!(claim(&table, 2).await, Err(Unknown::Full)));
        assert!(matches!(claim(&table, 1).await, Err(Unknown::NoAnswer)), "still known");
        tokio::time::advance(KNOWN_FOR).await;
        assert!(matches!(claim(&table, 2).await, Ok(Known::First(_))));
    }
}
