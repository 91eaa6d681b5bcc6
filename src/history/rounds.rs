//! Questions to the other nodes, for many who wait at a time. Whoever comes while one is under way
//! waits for the next one, which begins after it has come.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::AskOthers;

/// Asks again and again, as long as somebody waits.
pub(super) struct Rounds {
    ask: AskOthers,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_asking: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Rounds {
    pub(super) fn new(ask: AskOthers) -> Self {
        Self { ask, state: Arc::default() }
    }

    /// Ends when a question that began after this call has ended.
    pub(super) async fn next(&self) {
        let (told, answered) = oneshot::channel();
        let is_first = {
            let mut state = self.state.lock();
            state.waiting.push(told);
            !std::mem::replace(&mut state.is_asking, true)
        };
        if is_first {
            tokio::spawn(ask_all(self.ask.clone(), self.state.clone()));
        }
        let _ = answered.await;
    }
}

async fn ask_all(ask: AskOthers, state: Arc<Mutex<State>>) {
    loop {
        let waiting = {
            let mut state = state.lock();
            if state.waiting.is_empty() {
                state.is_asking = false;
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        ask().await;
        for one in waiting {
            // Whoever does not wait any more need not know.
            let _ = one.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use test_kit::waiting::within;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn many_share_a_question_that_begins_after_they_came() {
        let (begun, may_end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (count, gate) = (begun.clone(), may_end.clone());
        let rounds = Arc::new(Rounds::new(Arc::new(move || {
            let (count, gate) = (count.clone(), gate.clone());
            Box::pin(async move {
                count.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.expect("open").forget();
            })
        })));
        let next = || {
            let rounds = rounds.clone();
            tokio::spawn(async move { rounds.next().await })
        };
        let first = next();
        within("the first question", async {
            while begun.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let others: Vec<_> = (0..50).map(|_| next()).collect();
        within("they wait", async {
            while rounds.state.lock().waiting.len() < 50 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        may_end.add_permits(1);
        within("the first", first).await.expect("no panic");
        assert!(others.iter().all(|other| !other.is_finished()), "that one began before they came");
        may_end.add_permits(1);
        within("the others", join_all(others)).await;
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }
}
