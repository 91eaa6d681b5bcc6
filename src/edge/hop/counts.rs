//! What was sent to other nodes, by kind and outcome.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is sent to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Poll,
    Post,
    Websocket,
    /// A node's own question.
    Question,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Poll, Self::Post, Self::Websocket, Self::Question];

    /// Its name as a label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Post => "post",
            Self::Websocket => "websocket",
            Self::Question => "question",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The node has answered, whatever it said.
    Answered,
    /// The node is not known, has no address, or nobody listens there.
    Gone,
    /// The node did not answer in time.
    TimedOut,
    /// It was not asked, because it did not answer lately.
    Suspect,
    /// The connection ended before the answer.
    Broken,
    /// Something else answered.
    Foreign,
    /// Too many requests to this node are under way.
    Busy,
    /// The client left before the answer.
    Abandoned,
}

impl Outcome {
    pub(crate) const ALL: [Self; 8] = [
        Self::Answered,
        Self::Gone,
        Self::TimedOut,
        Self::Suspect,
        Self::Broken,
        Self::Foreign,
        Self::Busy,
        Self::Abandoned,
    ];

    /// Its name as a label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Gone => "gone",
            Self::TimedOut => "timed_out",
            Self::Suspect => "suspect",
            Self::Broken => "broken",
            Self::Foreign => "foreign",
            Self::Busy => "busy",
            Self::Abandoned => "abandoned",
        }
    }
}

/// The counts of a hop, as of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct HopCounts {
    pub(crate) sent: Vec<(Kind, Outcome, u64)>,
    /// Requests and questions of other nodes that were taken here.
    pub(crate) taken: u64,
    /// Requests with a seal that did not hold.
    pub(crate) forged: u64,
    /// Websockets now passed on to other nodes.
    pub(crate) tunnels: usize,
    /// Nodes that did not answer lately.
    pub(crate) suspects: usize,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    sent: [[AtomicU64; Outcome::ALL.len()]; Kind::ALL.len()],
    pub(super) taken: AtomicU64,
    pub(super) forged: AtomicU64,
}

impl Counters {
    pub(super) fn sent(&self, kind: Kind, outcome: Outcome) {
        self.sent[kind as usize][outcome as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> HopCounts {
        let of = |kind: Kind| {
            let counts = &self.sent[kind as usize];
            Outcome::ALL.map(|outcome| (kind, outcome, counts[outcome as usize].load(Relaxed)))
        };
        HopCounts {
            sent: Kind::ALL.into_iter().flat_map(of).collect(),
            taken: self.taken.load(Relaxed),
            forged: self.forged.load(Relaxed),
            ..HopCounts::default()
        }
    }
}

/// Counts something that is sent once its outcome is known; if it is dropped before, as abandoned.
pub(super) struct Counted<'a> {
    counters: &'a Counters,
    kind: Kind,
    outcome: Outcome,
}

impl<'a> Counted<'a> {
    pub(super) fn new(counters: &'a Counters, kind: Kind) -> Self {
        Self { counters, kind, outcome: Outcome::Abandoned }
    }

    pub(super) fn is(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counters.sent(self.kind, self.outcome);
    }
}
