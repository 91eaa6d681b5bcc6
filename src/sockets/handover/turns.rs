//! One session is fetched by one task at a time, however many connections its client has opened.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::recovery::Pid;

#[derive(Default)]
pub(super) struct Turns {
    taken: Mutex<HashSet<Pid>>,
    freed: Notify,
}

/// Nobody else fetches this session while it lives.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    pid: Pid,
}

impl Turns {
    /// Waits for the turn to fetch a session.
    pub(super) async fn wait(&self, pid: &Pid) -> Turn<'_> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look, so that an end right after it is not missed.
            freed.as_mut().enable();
            if self.taken.lock().insert(pid.clone()) {
                return Turn { turns: self, pid: pid.clone() };
            }
            freed.await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken.lock().remove(&self.pid);
        self.turns.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_after_the_other() {
        let (turns, pid) = (Turns::default(), Pid::random());
        let first = turns.wait(&pid).await;
        let _other = turns.wait(&Pid::random()).await;
        let mut second = std::pin::pin!(turns.wait(&pid));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let second = second.now_or_never().expect("its turn");
        assert!(turns.wait(&pid).now_or_never().is_none());
        drop(second);
    }
}
