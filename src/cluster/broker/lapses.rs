//! Possible losses between nodes, told once to the task that makes good for them.
//!
//! A renewed link leaves two kinds of gaps: frames of others that were not heard here, and frames
//! of this node that the others may lack. Each is known by the time at which it began.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The gaps that are not handled yet. Many gaps become one that begins with the first, so this
/// stays small for as long as nobody asks.
#[derive(Debug, Default)]
pub(crate) struct Lapses {
    open: Mutex<Lapse>,
    wake: Notify,
    /// The last time at which something was possibly missing.
    latest: Mutex<Option<Instant>>,
    /// The times between which frames waited to be sent, in the order of the ends.
    delays: Mutex<VecDeque<(Instant, Instant)>>,
}

/// The delay from which a frame counts as late and is remembered. Times that follow each other
/// closely become one.
const LATE: Duration = Duration::from_millis(100);
const DELAYS: usize = 32;

/// The time from which frames may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lapse {
    /// Frames that others published since then may not have been heard here.
    pub(crate) unheard: Option<Instant>,
    /// Frames that this node published since then may not have reached the others.
    pub(crate) unsaid: Option<Instant>,
}

impl Lapses {
    /// Frames that others published since then may not have been heard here. Called once everything
    /// is listened to again, so that later frames are heard.
    pub(crate) fn unheard(&self, since: Instant) {
        self.add(Lapse { unheard: Some(since), unsaid: None });
    }

    /// Frames that this node published since then may not have reached the others.
    pub(crate) fn unsaid(&self, since: Instant) {
        self.add(Lapse { unheard: None, unsaid: Some(since) });
    }

    /// Frames published then have been sent only now.
    pub(crate) fn sent(&self, published: Instant, now: Instant) {
        if now.duration_since(published) < LATE {
            return;
        }
        let mut delays = self.delays.lock();
        let mut delay = (published, now);
        while let Some(last) = delays.pop_back_if(|last| last.1 >= delay.0) {
            delay.0 = delay.0.min(last.0);
        }
        delays.push_back(delay);
        if delays.len() > DELAYS
            && let Some(oldest) = delays.pop_front()
            && let Some(next) = delays.front_mut()
        {
            next.0 = oldest.0;
        }
    }

    /// The publishing time of the oldest frame that may have been sent after `time`.
    pub(crate) fn published_before(&self, time: Instant) -> Instant {
        let delays = self.delays.lock();
        let after = delays.iter().filter(|(_, sent)| *sent >= time);
        after.map(|(published, _)| *published).fold(time, Instant::min)
    }

    /// Something is possibly missing here that has not been made good.
    pub(crate) fn is_open(&self) {
        *self.latest.lock() = Some(Instant::now());
    }

    /// Whether something was possibly missing within this time.
    pub(crate) fn lately(&self, within: Duration) -> bool {
        self.latest.lock().is_some_and(|latest| latest.elapsed() < within)
    }

    /// Puts back a lapse that could not be made good.
    pub(crate) fn add(&self, lapse: Lapse) {
        self.is_open();
        let mut open = self.open.lock();
        *open = Lapse {
            unheard: earlier(open.unheard, lapse.unheard),
            unsaid: earlier(open.unsaid, lapse.unsaid),
        };
        drop(open);
        self.wake.notify_one();
    }

    /// Waits for a lapse and returns it.
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

    #[test]
    fn what_was_sent_late_may_have_been_published_long_before() {
        let lapses = Lapses::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        lapses.sent(at(10), at(10) + LATE / 2);
        assert_eq!(lapses.published_before(at(5)), at(5));
        lapses.sent(at(10), at(13));
        lapses.sent(at(12), at(15));
        lapses.sent(at(20), at(21));
        // sent as at 13, so published as at 10
        assert_eq!(lapses.published_before(at(13)), at(10));
        assert_eq!(lapses.published_before(at(15)), at(10));
        assert_eq!(lapses.published_before(at(16)), at(16));
        assert_eq!(lapses.published_before(at(21)), at(20));
        assert_eq!(lapses.published_before(at(22)), at(22));
    }

    #[test]
    fn of_many_delays_none_is_overlooked() {
        let lapses = Lapses::default();
        let start = Instant::now();
        let at = |second: usize| start + Duration::from_secs(second as u64);
        for number in 0..3 * DELAYS {
            lapses.sent(at(10 * number), at(10 * number + 5));
        }
        assert!(lapses.delays.lock().len() <= DELAYS);
        for number in 0..3 * DELAYS {
            assert!(lapses.published_before(at(10 * number + 4)) <= at(10 * number), "{number}");
        }
        let last = 10 * (3 * DELAYS - 1);
        assert_eq!(lapses.published_before(at(last)), at(last), "the last ones are exact");
    }
}
