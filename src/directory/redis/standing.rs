//! How this node stands with Redis: whether an answer can be believed, and what is wrong.

use std::time::{Duration, Instant};

/// What this node holds may be unlisted for so long before the node is said to be behind: a repair
/// takes a few round trips.
const BEHIND: Duration = Duration::from_secs(5);

/// What the worker knows, for everybody who asks.
#[derive(Default)]
pub(super) struct Standing {
    /// The name of the data in Redis; another one after a loss. None: not heard yet.
    epoch: Option<Vec<u8>>,
    /// Until then the other nodes list their sockets again.
    settles_at: Option<Instant>,
    /// Why Redis does not do what it is asked to.
    outage: Option<String>,
    /// Buckets of which Redis may not have what this node holds, one bit each, and since when there
    /// are some.
    behind: u64,
    behind_since: Option<Instant>,
}

impl Standing {
    /// A beat was answered. After a loss of data the other nodes need that long to list theirs.
    pub(super) fn heard(&mut self, epoch: &[u8], now: Instant, others: Duration) {
        self.outage = None;
        let before = self.epoch.replace(epoch.to_vec());
        if before.is_some_and(|before| before != epoch) {
            self.settles_at = Some(now + others);
        }
    }

    /// Redis does not do what it is asked to.
    pub(super) fn failed(&mut self, why: String) {
        self.outage = Some(why);
    }

    /// Of these buckets Redis may not have what this node holds.
    pub(super) fn is_behind(&mut self, buckets: u64, now: Instant) {
        self.behind = buckets;
        self.behind_since = (buckets != 0).then(|| self.behind_since.unwrap_or(now));
    }

    /// Whether Redis may not have what this node holds of a bucket.
    pub(super) fn lacks(&self, bucket: usize) -> bool {
        self.behind & (1 << bucket) != 0
    }

    /// Whether what Redis lists is what all nodes hold. `epoch` is the name of its data at the time of
    /// the answer.
    pub(super) fn believes_all(&self, epoch: &[u8], now: Instant) -> bool {
        self.believes(epoch, now) && self.behind == 0
    }

    /// Whether Redis lists what the other nodes hold.
    pub(super) fn believes(&self, epoch: &[u8], now: Instant) -> bool {
        self.outage.is_none()
            && self.epoch.as_deref() == Some(epoch)
            && self.settles_at.is_none_or(|settled| settled <= now)
    }

    /// Why Redis does not do what it is asked to; none: it does.
    pub(super) fn outage(&self) -> Option<&str> {
        self.outage.as_deref()
    }

    /// Whether everybody who is connected here is listed, a moment ago at the latest.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        self.outage.is_none()
            && self.behind_since.is_none_or(|since| now.duration_since(since) <= BEHIND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_believed_while_the_data_is_what_this_node_wrote_into() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        let others = Duration::from_secs(5);
        assert!(!standing.believes(b"a", now), "nothing was heard yet");
        standing.heard(b"a", now, others);
        assert!(standing.believes(b"a", now));
        assert!(!standing.believes(b"", now), "all is lost");
        assert!(!standing.believes(b"b", now), "lost, and begun anew by another node");
        standing.heard(b"b", now, others);
        assert!(!standing.believes(b"b", now), "the others list theirs again");
        assert!(standing.believes(b"b", now + others));
        standing.failed("no".into());
        assert!(!standing.believes(b"b", now + others));
    }

    #[test]
    fn what_is_not_listed_is_not_believed_and_not_complete_if_it_lasts() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        standing.heard(b"a", now, BEHIND);
        standing.is_behind(1 << 3, now);
        standing.is_behind(1 << 3 | 1 << 63, now + BEHIND);
        assert!(standing.is_complete(now + BEHIND));
        assert!(!standing.is_complete(now + BEHIND * 2));
        assert!(standing.lacks(3) && !standing.lacks(4));
        assert!(standing.believes(b"a", now) && !standing.believes_all(b"a", now));
        standing.is_behind(0, now + BEHIND * 2);
        assert!(standing.is_complete(now + BEHIND * 2));
        standing.failed("no".into());
        assert!(!standing.is_complete(now));
    }
}
