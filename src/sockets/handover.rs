//! Sessions that follow their client to another node, where the nodes have no log in common.
//!
//! A client says the secret of its session, which names the node that made it. The node that the
//! client has come to asks that one, and then all others, for the session:
//!
//! 1. *Lend.* The other node cuts the client's old connection, claims the session, and tells its
//!    rooms. This node keeps the session and listens to the rooms.
//! 2. *Mark.* This node publishes a mark for the other one, on the way of the events.
//! 3. *Move.* When the other node hears the mark, it has heard all events that this node may not
//!    have heard. It hands over what the client may have missed, forgets the session, and answers
//!    the mark. When this node hears that one, the log here has everything that may come both ways.
//!
//! This holds where one Redis puts all messages into one order. An event without a number, of a
//! Node.js node, is not known again if it comes both ways: if there was one in that moment, the
//! session stays where it is, and is asked for anew.

mod lending;
mod marks;
mod questions;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    auth::Identity,
    cluster::{
        message::Message,
        peers::{
            Peers,
            nodes::{NODES, Word},
        },
    },
    edge::Hop,
    id::NodeId,
    recovery::Pid,
    sockets::{
        adapter::{Adapter, Adapters, Return},
        node::Node,
        one_at_a_time::OneAtATime,
    },
    telemetry::meters::NotRecovered,
};
use lending::Loans;
use marks::Marks;
use questions::{Lent, Loan, Move, Moved, Take};

/// How long each question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Nodes that are asked for a session that is not where it was made.
const MOST_ASKED: usize = 16;

/// How often all nodes are asked, and the time between: a session may move from a node that is asked
/// later to one that was asked already.
const ROUNDS: usize = 2;
const PAUSE: Duration = Duration::from_millis(50);

/// How often a session is asked for that changes in the moment in which it should move.
const ATTEMPTS: usize = 3;

/// For so long after a gap between the nodes no session moves: it might get away from a node that
/// does not know yet that something is missing.
const CALM: Duration = Duration::from_secs(10);

/// Sessions that a draining node moves at one time.
const MOVED_AT_ONCE: usize = 32;

/// Nodes to which a draining node offers a session.
const OFFERS: usize = 3;

/// Moves sessions between this node and the others.
pub(crate) struct Handover {
    hop: Hop,
    adapters: Arc<Adapters>,
    peers: Arc<Peers>,
    node: Arc<Node>,
    loans: Loans,
    marks: Marks,
    fetching: OneAtATime,
}

/// How an attempt to get a session from one node ended.
enum Fetched {
    Here,
    /// That node does not have it.
    Elsewhere,
    NotYet,
    Not(NotRecovered),
}

impl Handover {
    /// Answers the other nodes from now on.
    pub(crate) fn start(
        hop: &Hop,
        adapters: &Arc<Adapters>,
        peers: &Arc<Peers>,
        node: &Arc<Node>,
    ) -> Arc<Self> {
        let handover = Arc::new(Self {
            hop: hop.clone(),
            adapters: adapters.clone(),
            peers: peers.clone(),
            node: node.clone(),
            loans: Loans::default(),
            marks: Marks::default(),
            fetching: OneAtATime::default(),
        });
        handover.answer(questions::LEND, Self::lend);
        handover.answer(questions::MOVE, Self::moves);
        handover.answer(questions::TAKE, Self::take);
        handover
    }

    fn answer<Q, A, Fut>(
        self: &Arc<Self>,
        name: &'static str,
        answerer: impl Fn(Arc<Self>, Q) -> Fut + Copy + Send + Sync + 'static,
    ) where
        Q: DeserializeOwned + Send + 'static,
        A: Serialize,
        Fut: Future<Output = Option<A>> + Send,
    {
        // Weak, because the hop is held by what holds this.
        let weak = Arc::downgrade(self);
        self.hop.answer_with(name, move |question| {
            let handover = weak.upgrade();
            async move { answerer(handover?, question).await }
        });
    }

    /// A mark has come, behind all events that its sender has sent and heard before.
    pub(crate) fn heard(&self, mark: u64) {
        self.marks.heard(mark);
    }

    /// Whether nothing is missing between the nodes, as far as this one knows.
    fn is_calm(&self) -> bool {
        self.peers.is_up() && !self.peers.broker().lapses().lately(CALM)
    }

    /// Fetches the session of a client that has come to this node. Afterwards it is kept here.
    ///
    /// # Errors
    /// The reason why there is nothing to recover.
    pub(crate) async fn fetch(
        self: Arc<Self>,
        adapter: Arc<Adapter>,
        back: Return,
        identity: Identity,
    ) -> Result<(), NotRecovered> {
        let recovery = self.node.recovery().ok_or(NotRecovered::Unknown)?;
        let home = recovery.home_of(&back.pid).ok_or(NotRecovered::Unknown)?;
        let _turn = self.fetching.wait(&back.pid).await;
        if adapter.has_session(&back.pid) {
            // Another connection of the client has fetched it.
            return Ok(());
        }
        let loan = Loan {
            namespace: adapter.namespace().as_str().into(),
            pid: back.pid.reveal().into(),
            offset: back.offset.clone(),
            identity: Some(identity),
        };
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            match self.look(home, &adapter, &loan).await {
                Fetched::Here => return Ok(()),
                Fetched::Elsewhere => {}
                Fetched::NotYet => return Err(NotRecovered::OtherNode),
                Fetched::Not(reason) => return Err(reason),
            }
        }
        Err(NotRecovered::Unknown)
    }

    /// Looks for a session at all other nodes.
    async fn look(&self, home: &str, adapter: &Arc<Adapter>, loan: &Loan) -> Fetched {
        let own = self.node.id().as_str();
        if home != own {
            let fetched = self.fetch_from(home, adapter, loan).await;
            if !matches!(fetched, Fetched::Elsewhere) {
                return fetched;
            }
        }
        // It was there and has moved on, or that node is gone.
        let others = self.peers.nodes().await.unwrap_or_default();
        let others =
            others.into_iter().filter(|node| node.as_str() != own && node.as_str() != home);
        // One after the other: a move that has begun must not be broken off for another answer.
        for node in others.take(MOST_ASKED) {
            let fetched = self.fetch_from(node.as_str(), adapter, loan).await;
            if !matches!(fetched, Fetched::Elsewhere) {
                return fetched;
            }
        }
        Fetched::Elsewhere
    }

    async fn fetch_from(&self, node: &str, adapter: &Arc<Adapter>, loan: &Loan) -> Fetched {
        let mut fetched = Fetched::NotYet;
        for _ in 0..ATTEMPTS {
            fetched = self.try_fetch(node, adapter, loan).await;
            if !matches!(fetched, Fetched::NotYet) {
                break;
            }
        }
        fetched
    }

    async fn try_fetch(&self, node: &str, adapter: &Arc<Adapter>, loan: &Loan) -> Fetched {
        let Some(pid) = Pid::said(&loan.pid) else { return Fetched::Elsewhere };
        let lent: Lent = match self.ask(node, questions::LEND, loan).await {
            Some(Lent::No(NotRecovered::Unknown)) | None => return Fetched::Elsewhere,
            Some(lent) => lent,
        };
        let (record, rooms, number) = match lent {
            Lent::Yes { record, rooms, number } => (record, rooms, number),
            Lent::No(reason) => return Fetched::Not(reason),
        };
        let moved = match adapter.awaits(&pid, *record, &rooms).await && self.is_calm() {
            true => self.moved(node, number).await,
            false => Moved::No,
        };
        let fetched = match moved {
            Moved::Yes(inherited) => match adapter.has_come(&pid, inherited) {
                true => return Fetched::Here,
                false => Fetched::Not(NotRecovered::OtherNode),
            },
            Moved::NotYet => Fetched::NotYet,
            Moved::No => Fetched::Not(NotRecovered::OtherNode),
        };
        adapter.does_not_come(&pid);
        fetched
    }

    /// Lets a lent session come.
    async fn moved(&self, node: &str, number: u64) -> Moved {
        let mark = rand::random();
        self.say_mark(mark);
        let moved = self.ask(node, questions::MOVE, &Move { number, mark }).await;
        match moved.unwrap_or(Moved::No) {
            Moved::Yes(_) if !self.marks.come(answer_to(mark), PATIENCE).await => Moved::No,
            Moved::Yes(_) if !self.is_calm() => Moved::No,
            moved => moved,
        }
    }

    fn say_mark(&self, mark: u64) {
        let event = Word::Mark(mark).to_event();
        self.peers.say(NODES, &Message::ServerSideEmit { request: Some(mark.to_string()), event });
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        node: &str,
        name: &str,
        question: &Q,
    ) -> Option<A> {
        match self.hop.ask_for(node, name, question, PATIENCE).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::debug!(node, question = name, %error, "a node does not answer about a session");
                None
            }
        }
    }

    /// Moves the sessions that wait here to other nodes, as long as that takes no longer than
    /// `patience`. For a node that stops.
    pub(crate) async fn leave(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let own = self.node.id();
        let others: Vec<NodeId> = self.peers.nodes().await.unwrap_or_default();
        let others: Vec<NodeId> = others.into_iter().filter(|node| node != own).collect();
        if others.is_empty() {
            return;
        }
        let all: Vec<_> = self.adapters.all().iter().flat_map(pids_of).collect();
        let (others, count) = (&others, all.len());
        let moving = futures_util::stream::iter(all.into_iter().enumerate()).for_each_concurrent(
            MOVED_AT_ONCE,
            |(number, (namespace, pid))| async move {
                let pid = pid.reveal().to_owned();
                let take = Take { namespace, pid, from: own.as_str().to_owned() };
                for node in others.iter().cycle().skip(number % others.len()).take(OFFERS) {
                    if self.ask(node.as_str(), questions::TAKE, &take).await == Some(true) {
                        return;
                    }
                }
            },
        );
        let is_all = tokio::time::timeout_at(end.into(), moving).await.is_ok();
        // Clients that have come back elsewhere are still fetching theirs.
        let is_quiet = tokio::time::timeout_at(end.into(), self.loans.all_ended()).await.is_ok();
        if is_all && is_quiet {
            tracing::debug!(sessions = count, "the sessions of clients that are away have moved");
        } else {
            tracing::warn!("not all sessions of clients that are away could be moved in time");
        }
    }

    /// A node that stops asks this one to fetch a session of its own.
    async fn take(self: Arc<Self>, Take { namespace, pid, from }: Take) -> Option<bool> {
        if self.node.is_draining() {
            return Some(false);
        }
        let (adapter, known) = (self.adapters.get(&namespace)?, Pid::said(&pid)?);
        let _turn = self.fetching.wait(&known).await;
        let loan = Loan { namespace, pid, offset: None, identity: None };
        Some(matches!(self.fetch_from(&from, &adapter, &loan).await, Fetched::Here))
    }
}

fn pids_of(adapter: &Arc<Adapter>) -> impl Iterator<Item = (String, Pid)> {
    let namespace = adapter.namespace().as_str().to_owned();
    adapter.kept_pids().into_iter().map(move |pid| (namespace.clone(), pid))
}

/// The mark by which the other node answers: when it is heard, everything that the other node has
/// heard before has been heard here, too, and is in the log.
fn answer_to(mark: u64) -> u64 {
    mark.wrapping_add(1)
}
