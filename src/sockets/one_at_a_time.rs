//! One task at a time works on a session, however many connections its client has opened.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::recovery::Pid;

/// The sessions on which somebody works.
#[derive(Default)]
pub(crate) struct OneAtATime {
    taken: Mutex<HashSet<Pid>>,
    freed: Notify,
}

/// Nobody else works on this session while it lives.
pub(crate) struct Alone<'a> {
    all: &'a OneAtATime,
    pid: Pid,
}

impl OneAtATime {
    /// Waits until nobody else works on a session.
    pub(crate) async fn wait(&self, pid: &Pid) -> Alone<'_> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look, so that an end right after it is not missed.
            freed.as_mut().enable();
            if self.taken.lock().insert(pid.clone()) {
                return Alone { all: self, pid: pid.clone() };
            }
            freed.await;
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.all.taken.lock().remove(&self.pid);
        self.all.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_after_the_other() {
        let (turns, pid) = (OneAtATime::default(), Pid::random());
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
