//! What may have been lost on the way between nodes, told once to whoever makes good for it.
//!
//! A link that is renewed leaves two kinds of gaps: frames of others that were not heard here, and
//! frames of this node that the others may not have. Either is known by the time at which it began.

use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The gaps that nobody has looked after yet. Many gaps become one that begins with the first, so
/// it stays small however long nobody looks.
#[derive(Debug, Default)]
pub(crate) struct Lapses {
    open: Mutex<Lapse>,
    wake: Notify,
}

/// From when on frames may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lapse {
    /// What others published since then may not have been heard here.
    pub(crate) unheard: Option<Instant>,
    /// What this node published since then may not have reached the others.
    pub(crate) unsaid: Option<Instant>,
}

impl Lapses {
    /// What others published since then may not have been heard here. Said when everything is
    /// listened to again, so that what comes afterwards is heard.
    pub(crate) fn unheard(&self, since: Instant) {
        self.add(Lapse { unheard: Some(since), unsaid: None });
    }

    /// What this node published since then may not have reached the others.
    pub(crate) fn unsaid(&self, since: Instant) {
        self.add(Lapse { unheard: None, unsaid: Some(since) });
    }

    /// Puts back what could not be made good for.
    pub(crate) fn add(&self, lapse: Lapse) {
        let mut open = self.open.lock();
        *open = Lapse {
            unheard: earlier(open.unheard, lapse.unheard),
            unsaid: earlier(open.unsaid, lapse.unsaid),
        };
        drop(open);
        self.wake.notify_one();
    }

    /// What is to be made good for, once there is something.
    pub(crate) async fn next(&self) -> Lapse {
        loop {
            let lapse = std::mem::take(&mut *self.open.lock());
            if lapse != Lapse::default() {
                return lapse;
            }
            self.wake.notified().await;
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn gaps_are_told_once_from_the_first_on_and_each_kind_for_itself() {
        let lapses = Lapses::default();
        let first = Instant::now();
        let second = first + Duration::from_secs(1);
        lapses.unheard(second);
        lapses.unheard(first);
        lapses.unsaid(second);
        let lapse = Lapse { unheard: Some(first), unsaid: Some(second) };
        assert_eq!(lapses.next().await, lapse);
        assert_eq!(lapses.next().now_or_never(), None);
        lapses.add(lapse);
        assert_eq!(lapses.next().await, lapse);
    }
}
