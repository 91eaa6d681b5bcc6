//! Cuts off clients that may have missed a message of another node, so that they notice and come
//! back.
//!
//! The broker reports the beginning of a gap. Messages of others may not have been heard here: the
//! others are asked for the rooms of these messages, and members of the rooms are cut. Messages of
//! this node may not have reached the others: they are told the rooms, and do the same. If the
//! rooms cannot be found out, all clients are cut.

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
    link::Link,
    sockets::{adapter::Adapters, node::Node},
};

/// The pause between two attempts to find out more.
const PAUSE: Duration = Duration::from_millis(500);

/// Longest wait for nodes to confirm a report.
const TELLING: Duration = Duration::from_secs(2);

/// Messages from this time before a gap may belong to it.
const MARGIN: Duration = Duration::from_millis(250);

/// How many clients are cut at once, and how often. All of them reconnect somewhere.
const AT_ONCE: usize = 50;
const EVERY: Duration = Duration::from_millis(50);

/// Handles the gaps between this node and the others.
pub(crate) struct Missed {
    adapters: Arc<Adapters>,
    peers: Arc<Peers>,
    node: Arc<Node>,
    /// No client is cut here. Other nodes are helped all the same.
    is_ignored: bool,
    told: Mutex<Option<Told>>,
    wake: Notify,
    /// Held while cutting, so that many gaps cut no faster than one.
    pace: Arc<tokio::sync::Mutex<()>>,
}

/// Another node's report of messages that may not have come here.
struct Told {
    places: Places,
    until: Instant,
}

/// Messages of this node that may have reached nobody.
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
        node: Arc<Node>,
        is_ignored: bool,
    ) -> Arc<Self> {
        let (told, wake, pace) = (Mutex::default(), Notify::new(), Arc::default());
        Arc::new(Self { adapters, peers, node, is_ignored, told, wake, pace })
    }

    /// Takes another node's message about gaps. Never blocks.
    pub(crate) fn hear(&self, from: Option<&str>, request: RequestId, event: &[Tree]) {
        // A node with another version gets no answer, and takes this node for a silent one.
        let answer = match Word::of_event(event) {
            None => return,
            Some(Word::Mark(mark)) => return self.adapters.heard_mark(mark),
            Some(Word::WhatWasSaid(age)) => {
                let places = self.said_within(age.saturating_add(MARGIN));
                Said { places, strangers: self.peers.strangers_were_there() }.to_answer()
            }
            Some(Word::Unsaid(places, age)) => {
                // Nobody here missed a gap from before this machine ran.
                if let Some(until) = Instant::now().checked_sub(age) {
                    self.told_of(places, until);
                }
                true.into()
            }
        };
        self.peers.answer_node(from, request, answer);
    }

    /// The places of messages that were sent within this time.
    fn said_within(&self, age: Duration) -> Places {
        let now = Instant::now();
        let sent = now.checked_sub(age);
        // Earlier messages may have waited for a link.
        let published = sent.map(|sent| self.peers.broker().lapses().published_before(sent));
        let age = published.map_or(Duration::MAX, |published| now.duration_since(published));
        self.peers.marks().within(age)
    }

    fn told_of(&self, places: Places, until: Instant) {
        self.peers.broker().lapses().is_open();
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

    /// Cuts clients that may have missed the messages in other nodes' reports, until the node
    /// stops.
    pub(crate) async fn look_after_what_is_told(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            let told = self.told.lock().take();
            if let Some(Told { places, until }) = told {
                self.cut(Some(places), until, "another node could not reach this one").await;
            }
        }
    }

    /// Handles the gaps of this node, until it stops.
    pub(crate) async fn look_after_gaps(self: Arc<Self>) {
        let lapses = self.peers.broker().lapses();
        let (mut unheard, mut unsaid) = (None, None);
        loop {
            if unheard.is_none() && unsaid.is_none() {
                let lapse = lapses.next().await;
                self.note(lapse, &mut unheard, &mut unsaid);
            }
            lapses.is_open();
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

    /// Finds out more about a gap, and cuts. Returns whether that was all.
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
            // Another loss of the link meanwhile would be one more gap.
            Verdict::Open => false,
            Verdict::Closed => true,
            Verdict::Everybody(because) => {
                self.cut(None, gap.until, because).await;
                true
            }
        }
    }

    /// Reports possible losses to the other nodes. Returns whether all know it, or never will.
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
        // A node that does not listen has a gap of its own, and will ask.
        is_late || company.nodes.is_subset(&lost.told)
    }

    /// Cuts clients that were here before `until` and get messages to `places`, or all clients: in
    /// random order, a few at a time.
    async fn cut(&self, places: Option<Places>, until: Instant, because: &str) {
        if self.is_ignored || places.as_ref().is_some_and(Places::is_empty) {
            return;
        }
        let adapters = self.adapters.all();
        // There may be very many, each with many rooms.
        let found = tokio::task::spawn_blocking(move || {
            adapters.iter().for_each(|one| one.kept_have_missed(places.as_ref()));
            let concerned = adapters.iter().map(|one| one.concerned(until, places.as_ref()));
            let found: HashSet<Sid> = concerned.flatten().collect();
            let mut found: Vec<_> = found.into_iter().collect();
            found.shuffle(&mut rand::rng());
            found
        });
        let Ok(found) = found.await else {
            return tracing::error!(
                "it cannot be found out which clients have missed messages of other nodes"
            );
        };
        if found.is_empty() {
            return;
        }
        tracing::warn!(
            clients = found.len(),
            because,
            "clients may have missed messages of other nodes; they are cut off, so that they come back"
        );
        let (node, pace) = (self.node.clone(), self.pace.clone());
        let cutting = async move {
            for some in found.chunks(AT_ONCE) {
                let _turn = pace.lock().await;
                for sid in some {
                    node.transports().kill(*sid, KillReason::Missed);
                }
                tokio::time::sleep(EVERY).await;
            }
        };
        let stop = self.node.stop.clone();
        self.node.tasks.spawn(async move { stop.run_until_cancelled(cutting).await });
    }
}
