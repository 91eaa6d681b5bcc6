//! This node's standing with Redis: whether an answer can be believed, and the current trouble.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use super::entry::BUCKETS;

/// How long sockets may be unlisted before the node counts as behind. A repair takes a few round
/// trips.
const BEHIND: Duration = Duration::from_secs(5);

/// The nodes as they stand in Redis, and the epoch of its data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Roster {
    pub(super) epoch: Vec<u8>,
    /// Incarnations that live, or whose lease ended unnoticed.
    pub(super) living: Vec<Vec<u8>>,
}

impl Roster {
    /// Reads the fields of the hash. `None` if the epoch is lost, and with it everything.
    pub(super) fn read(fields: Vec<Vec<u8>>) -> Option<Self> {
        let (epochs, living): (Vec<_>, Vec<_>) =
            fields.into_iter().partition(|field| field.first() == Some(&0));
        let epoch = epochs.into_iter().next()?.split_off(1);
        Some(Self { epoch, living })
    }
}

/// The name of a run of a node, without the mark of its later names.
fn run_of(incarnation: &[u8]) -> &[u8] {
    let Some(at) = incarnation.iter().rposition(|&byte| byte == b'~') else { return incarnation };
    let is_number =
        at + 1 < incarnation.len() && incarnation[at + 1..].iter().all(u8::is_ascii_digit);
    if is_number { &incarnation[..at] } else { incarnation }
}

/// The worker's knowledge, for every reader.
#[derive(Default)]
pub(super) struct Standing {
    /// The epoch of the data in Redis; a new one after a loss. `None`: not heard yet.
    epoch: Option<Vec<u8>>,
    /// The runs of nodes that lived at the last beat.
    lived: HashSet<Vec<u8>>,
    /// Runs that lived when the data was lost and have not written since, each with the end of the
    /// wait for it.
    awaited: HashMap<Vec<u8>, Instant>,
    /// Why Redis does not work.
    outage: Option<String>,
    /// Why Redis cannot be told about these buckets, though the rest works. In a Redis Cluster each
    /// bucket may be on another server.
    faults: BTreeMap<usize, String>,
    /// Buckets that Redis may not have as this node does, one bit each, and the time since there
    /// are any.
    behind: u64,
    behind_since: Option<Instant>,
}

impl Standing {
    /// A beat was answered. After a loss of data each node that lived has to list its sockets
    /// again. A node that does not within the lease is gone.
    pub(super) fn heard<'a>(
        &mut self,
        epoch: &[u8],
        living: impl Iterator<Item = &'a Vec<u8>>,
        now: Instant,
        lease: Duration,
    ) {
        self.outage = None;
        let living: HashSet<Vec<u8>> = living.map(|name| run_of(name).to_vec()).collect();
        let lived = std::mem::replace(&mut self.lived, living);
        let before = self.epoch.replace(epoch.to_vec());
        if before.is_some_and(|before| before != epoch) {
            self.awaited.extend(lived.into_iter().map(|run| (run, now + lease)));
        }
        self.awaited.retain(|run, until| *until > now && !self.lived.contains(run));
    }

    /// Takes an answer: nodes that came since the last beat are remembered.
    pub(super) fn saw(&mut self, roster: &Roster) {
        if self.epoch.as_ref() != Some(&roster.epoch) {
            return;
        }
        for run in roster.living.iter().map(|name| run_of(name)) {
            if !self.lived.contains(run) {
                self.lived.insert(run.to_vec());
            }
        }
    }

    /// Redis does not work.
    pub(super) fn failed(&mut self, why: String) {
        self.outage = Some(why);
    }

    /// Notes why Redis cannot be told about a bucket. `None`: it can.
    pub(super) fn bucket_is(&mut self, bucket: usize, fault: Option<String>) {
        match fault {
            Some(why) => self.faults.insert(bucket, why),
            None => self.faults.remove(&bucket),
        };
    }

    /// Notes the buckets that Redis may not have as this node does.
    pub(super) fn is_behind(&mut self, buckets: u64, now: Instant) {
        self.behind = buckets;
        self.behind_since = (buckets != 0).then(|| self.behind_since.unwrap_or(now));
    }

    /// Whether Redis may not have the bucket as this node does.
    pub(super) fn lacks(&self, bucket: usize) -> bool {
        self.behind & (1 << bucket) != 0
    }

    /// Whether the data in Redis has the known epoch and every node has written into it. `roster`
    /// is as of the answer.
    pub(super) fn believes(&self, roster: &Roster, now: Instant) -> bool {
        let is_back = |run: &Vec<u8>| roster.living.iter().any(|name| run_of(name) == run);
        self.outage.is_none()
            && self.epoch.as_ref() == Some(&roster.epoch)
            && self.awaited.iter().all(|(run, until)| *until <= now || is_back(run))
    }

    /// Why Redis does not work. `None`: it does.
    pub(super) fn trouble(&self) -> Option<String> {
        let of_some = || {
            let (count, why) = (self.faults.len(), self.faults.values().next()?);
            Some(format!("{why} (for {count} of {BUCKETS} parts of the users)"))
        };
        self.outage.clone().or_else(of_some)
    }

    /// Whether every user connected here is listed, or was a moment ago.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        self.outage.is_none()
            && self.behind_since.is_none_or(|since| now.duration_since(since) <= BEHIND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn names(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    fn roster(epoch: &str, living: &[&str]) -> Roster {
        Roster { epoch: epoch.into(), living: names(living) }
    }

    #[test]
    fn the_epoch_is_told_from_the_nodes() {
        let read = Roster::read(names(&["a.1", "\0now", "b.2"]));
        assert_eq!(read, Some(roster("now", &["a.1", "b.2"])));
        assert_eq!(Roster::read(names(&["a.1"])), None);
        for (name, run) in [("a.1", "a.1"), ("a.1~12", "a.1"), ("a~1.x", "a~1.x"), ("a~", "a~")] {
            assert_eq!(run_of(name.as_bytes()), run.as_bytes());
        }
    }

    #[test]
    fn lost_data_is_believed_again_when_every_node_has_written() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        assert!(!standing.believes(&roster("a", &[]), now), "nothing was heard yet");
        standing.heard(b"a", names(&["n1.x", "n2.y", "n3.z"]).iter(), now, LEASE);
        assert!(standing.believes(&roster("a", &["n1.x"]), now), "nodes come and go");
        assert!(!standing.believes(&roster("b", &[]), now), "lost, and begun anew by another node");
        standing.heard(b"b", names(&["n1.x~1"]).iter(), now, LEASE);
        assert!(!standing.believes(&roster("b", &["n1.x~1", "n2.y~1"]), now), "one is missing");
        assert!(standing.believes(&roster("b", &["n2.y~1", "n3.z~2"]), now));
        standing.heard(b"b", names(&["n1.x~1", "n2.y~1"]).iter(), now, LEASE);
        assert!(!standing.believes(&roster("b", &["n1.x~1", "n2.y~1"]), now + LEASE / 2));
        assert!(standing.believes(&roster("b", &["n1.x~1", "n2.y~1"]), now + LEASE), "it is gone");
        standing.failed("no".into());
        assert!(!standing.believes(&roster("b", &["n2.y~1", "n3.z~2"]), now));
    }

    #[test]
    fn what_is_not_listed_is_not_complete_if_it_lasts() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        standing.heard(b"a", std::iter::empty(), now, LEASE);
        standing.is_behind(1 << 3, now);
        standing.is_behind(1 << 3 | 1 << 63, now + BEHIND);
        assert!(standing.is_complete(now + BEHIND));
        assert!(!standing.is_complete(now + BEHIND * 2));
        assert!(standing.lacks(3) && !standing.lacks(4));
        standing.is_behind(0, now + BEHIND * 2);
        assert!(standing.is_complete(now + BEHIND * 2));
        standing.failed("no".into());
        assert!(!standing.is_complete(now));
    }
}
