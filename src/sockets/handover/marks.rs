//! Marks among the messages of other nodes: what was published before a mark has been heard when
//! the mark is.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Marks that are remembered, for the question that waits for one may come later.
const REMEMBERED: usize = 8192;

/// The marks that have come lately.
#[derive(Debug, Default)]
pub(super) struct Marks {
    come: Mutex<VecDeque<u64>>,
    more: Notify,
}

impl Marks {
    pub(super) fn heard(&self, mark: u64) {
        {
            let mut come = self.come.lock();
            if come.len() == REMEMBERED {
                come.pop_front();
            }
            come.push_back(mark);
        }
        self.more.notify_waiters();
    }

    /// Waits for a mark. `false`: it does not come in time.
    pub(super) async fn come(&self, mark: u64, patience: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let mut more = std::pin::pin!(self.more.notified());
            // Before the look, so that one that comes right after it is not missed.
            more.as_mut().enable();
            if self.come.lock().contains(&mark) {
                return true;
            }
            if tokio::time::timeout_at(deadline, more).await.is_err() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mark_may_come_before_and_after_somebody_waits_for_it() {
        let marks = std::sync::Arc::new(Marks::default());
        marks.heard(1);
        assert!(marks.come(1, Duration::ZERO).await);
        let waiting = tokio::spawn({
            let marks = marks.clone();
            async move { marks.come(2, Duration::from_secs(20)).await }
        });
        tokio::task::yield_now().await;
        marks.heard(2);
        assert!(waiting.await.expect("ended"));
        assert!(!marks.come(3, Duration::ZERO).await);
        (0..REMEMBERED as u64 * 2).for_each(|mark| marks.heard(mark + 10));
        assert_eq!(marks.come.lock().len(), REMEMBERED);
    }
}
