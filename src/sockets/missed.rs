//! Whoever may have missed a message of another node is cut off at the transport: its client knows then,
//! and comes back.
//!
//! The broker tells when a gap began. What others said meanwhile may not have been heard here: they are
//! asked to which rooms that was, and who was in them is cut. What this node said may not have reached
//! the others: they are told to which rooms, and do the same. If it cannot be found out everybody is
//! cut.

mod inquiry;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rand::seq::SliceRandom as _;
use rmpv::Value as Tree;
use socketioxide_core::Sid;
use tokio::sync::Notify;

use self::inquiry::{Gap, PATIENCE, Verdict};
use crate::{
    cluster::{
        broker::lapses::Lapse,
        marks::Places,
        message::RequestId,
        peers::{
            Peers,
            nodes::{Company, Said, Word},
        },
    },
    edge::KillReason,
    link::state::Link,
    sockets::{adapter::Adapters, node::Context},
};

/// The pause between two tries to find something out.
const PAUSE: Duration = Duration::from_millis(500);

/// How long is waited for nodes that are told something to confirm it.
const TELLING: Duration = Duration::from_secs(2);

/// What was said right before a gap began may belong to it.
const MARGIN: Duration = Duration::from_millis(250);

/// How many clients are cut at once, and how often. They come back to somewhere.
const AT_ONCE: usize = 50;
const EVERY: Duration = Duration::from_millis(50);

/// Looks after the gaps between this node and the others.
pub(crate) struct Missed {
    adapters: Arc<Adapters>,
    peers: Arc<Peers>,
    context: Arc<Context>,
    /// Nobody is cut here. Others are helped all the same.
    is_ignored: bool,
    told: Mutex<Option<Told>>,
    wake: Notify,
    /// Held by who cuts, so that many gaps cut no faster than one.
    pace: Arc<tokio::sync::Mutex<()>>,
}

/// Other nodes have said something that may not have come here.
struct Told {
    places: Places,
    until: Instant,
}

/// What this node said to nobody, perhaps.
struct Unsaid {
    since: Instant,
    until: Instant,
    began: Option<Instant>,
    told: HashSet<String>,
}

impl Missed {
    pub(crate) fn new(
        adapters: Arc<Adapters>,
        peers: Arc<Peers>,
        context: Arc<Context>,
        is_ignored: bool,
    ) -> Arc<Self> {
        let (told, wake, pace) = (Mutex::default(), Notify::new(), Arc::default());
        Arc::new(Self { adapters, peers, context, is_ignored, told, wake, pace })
    }

    /// Takes what another node says about gaps. Never blocks.
    pub(crate) fn hear(&self, from: Option<&str>, request: RequestId, event: &[Tree]) {
        // Who speaks another version is not answered, and takes this node for one that is silent.
        let answer = match Word::of_event(event) {
            None => return,
            Some(Word::WhatWasSaid(age)) => {
                let places = self.said_within(age.saturating_add(MARGIN));
                Said { places, strangers: self.peers.strangers_were_there() }.to_answer()
            }
            Some(Word::Unsaid(places, age)) => {
                // A gap from before this machine ran was missed by nobody.
                if let Some(until) = Instant::now().checked_sub(age) {
                    self.told_of(places, until);
                }
                true.into()
            }
        };
        self.peers.answer_node(from, request, answer);
    }

    /// Where something was said that was sent within this time.
    fn said_within(&self, age: Duration) -> Places {
        let now = Instant::now();
        let sent = now.checked_sub(age);
        // What was published before may have waited for a link.
        let published = sent.map(|sent| self.peers.broker().lapses().published_before(sent));
        let age = published.map_or(Duration::MAX, |published| now.duration_since(published));
        self.peers.marks().within(age)
    }

    fn told_of(&self, places: Places, until: Instant) {
        let mut told = self.told.lock();
        match &mut *told {
            Some(told) => {
                told.places.extend(&places);
                told.until = told.until.max(until);
            }
            none => *none = Some(Told { places, until }),
        }
        drop(told);
        self.wake.notify_one();
    }

    /// Cuts who may have missed what other nodes say was not heard, until the node stops.
    pub(crate) async fn look_after_what_is_told(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            let told = self.told.lock().take();
            if let Some(Told { places, until }) = told {
                self.cut(Some(places), until, "another node could not reach this one").await;
            }
        }
    }

    /// Makes good for the gaps of this node, until it stops.
    pub(crate) async fn look_after_gaps(self: Arc<Self>) {
        let lapses = self.peers.broker().lapses();
        let (mut unheard, mut unsaid) = (None, None);
        loop {
            if unheard.is_none() && unsaid.is_none() {
                let lapse = lapses.next().await;
                self.note(lapse, &mut unheard, &mut unsaid);
            }
            let mut link = self.peers.broker().link();
            if link.wait_for(|link| *link == Link::Up).await.is_err() {
                return;
            }
            if let Some(more) = lapses.next().now_or_never() {
                self.note(more, &mut unheard, &mut unsaid);
            }
            let since = unheard.as_ref().map_or_else(Instant::now, |gap: &Gap| gap.since);
            let company = self.peers.company(since).await.ok();
            tokio::join!(
                async {
                    if let Some(gap) = &mut unheard
                        && self.inquire(gap, company.as_ref()).await
                    {
                        unheard = None;
                    }
                },
                async {
                    if let Some(lost) = &mut unsaid
                        && self.tell(lost, company.as_ref()).await
                    {
                        unsaid = None;
                    }
                }
            );
            match unheard.is_some() || unsaid.is_some() {
                true => tokio::time::sleep(PAUSE).await,
                false => tracing::debug!("nobody has missed anything that is not known by now"),
            }
        }
    }

    fn note(&self, lapse: Lapse, unheard: &mut Option<Gap>, unsaid: &mut Option<Unsaid>) {
        let until = Instant::now();
        if let Some(since) = lapse.unheard.filter(|_| !self.is_ignored) {
            match unheard {
                Some(gap) => gap.extend(since, until),
                none => *none = Some(Gap::new(since, until)),
            }
        }
        if let Some(since) = lapse.unsaid {
            let since = unsaid.as_ref().map_or(since, |before| before.since.min(since));
            *unsaid = Some(Unsaid { since, until, began: None, told: HashSet::new() });
        }
    }

    /// Finds out more about a gap, and cuts. True: that was all.
    async fn inquire(&self, gap: &mut Gap, company: Option<&Company>) -> bool {
        let now = Instant::now();
        if gap.verdict(company, now) == Verdict::Open
            && let Some(company) = company
        {
            let before = gap.places.clone();
            let (nodes, word, wait) = gap.question(company, now);
            gap.answered(self.peers.ask_nodes(nodes, &word, wait).await);
            let places = gap.places.clone().without(&before);
            self.cut(Some(places), gap.until, "messages of other nodes were not heard").await;
        }
        match gap.verdict(company, Instant::now()) {
            // Meanwhile the link may have been lost once more, and then there is one more gap.
            Verdict::Open => false,
            Verdict::Closed => true,
            Verdict::Everybody(because) => {
                self.cut(None, gap.until, because).await;
                true
            }
        }
    }

    /// Tells the other nodes what may not have reached them. True: all know it, or never will.
    async fn tell(&self, lost: &mut Unsaid, company: Option<&Company>) -> bool {
        let now = Instant::now();
        let is_late = now.duration_since(*lost.began.get_or_insert(now)) >= PATIENCE;
        let Some(company) = company else { return is_late };
        let places = self.peers.marks().within(now.duration_since(lost.since) + MARGIN);
        let nodes: HashSet<_> = company.nodes.difference(&lost.told).cloned().collect();
        if places.is_empty() || nodes.is_empty() {
            return true;
        }
        let word = Word::Unsaid(places, now.duration_since(lost.until));
        lost.told.extend(self.peers.ask_nodes(nodes, &word, TELLING).await.into_keys());
        // Who does not listen has a gap of its own, and will ask.
        is_late || company.nodes.is_subset(&lost.told)
    }

    /// Cuts those who were here before `until` and get what is said to `places`, or everybody: in
    /// random order, a few at a time.
    async fn cut(&self, places: Option<Places>, until: Instant, because: &str) {
        if self.is_ignored || places.as_ref().is_some_and(Places::is_empty) {
            return;
        }
        let adapters = self.adapters.all();
        // Perhaps very many, and each with many rooms.
        let found = tokio::task::spawn_blocking(move || {
            let concerned = adapters.iter().map(|one| one.concerned(until, places.as_ref()));
            let found: HashSet<Sid> = concerned.flatten().collect();
            let mut found: Vec<_> = found.into_iter().collect();
            found.shuffle(&mut rand::rng());
            found
        });
        let Ok(found) = found.await else {
            return tracing::error!("it cannot be found out which clients have missed something");
        };
        if found.is_empty() {
            return;
        }
        tracing::warn!(
            clients = found.len(),
            because,
            "clients may have missed messages of other nodes; they are cut off, so that they come back"
        );
        let (context, pace) = (self.context.clone(), self.pace.clone());
        let cutting = async move {
            for some in found.chunks(AT_ONCE) {
                let _turn = pace.lock().await;
                for sid in some {
                    context.transports().kill(*sid, KillReason::Missed);
                }
                tokio::time::sleep(EVERY).await;
            }
        };
        let stop = self.context.stop.clone();
        self.context.tasks.spawn(async move { stop.run_until_cancelled(cutting).await });
    }
}
