//! Acknowledgements of clients of other nodes: asking for them, and collecting them.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Peers,
    asking::{Next, named},
};
use crate::{
    cluster::{
        message::{Answer, Message, RequestId},
        questions::{Question, Waiting},
    },
    id::NodeId,
};

impl Peers {
    /// Asks clients of the other nodes for acknowledgements. The question is out when this returns.
    pub(crate) fn ask_clients(
        self: &Arc<Self>,
        namespace: &str,
        question: impl FnOnce(RequestId) -> Message,
    ) -> Option<ClientAcks> {
        if !self.can_ask() {
            return None;
        }
        let open = self.questions.open();
        self.counts.published.fetch_add(1, Ordering::Relaxed);
        self.say(namespace, &question(open.id.clone()));
        Some(ClientAcks { peers: self.clone(), namespace: namespace.to_owned(), open })
    }
}

/// Acknowledgements of clients of other nodes that are being collected.
pub(crate) struct ClientAcks {
    peers: Arc<Peers>,
    namespace: String,
    open: Question,
}

/// The acknowledgements of clients of other nodes.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// The number of clients that were asked, as far as their nodes reported it.
    pub(crate) expected: usize,
    /// The first argument of each acknowledgement.
    pub(crate) acks: Vec<Option<rmpv::Value>>,
    /// Nodes of ours that did not report how many clients they asked.
    pub(crate) missing: Vec<NodeId>,
    pub(crate) missing_foreign: usize,
    /// Whether the present nodes are known. If not, any may be missing.
    pub(crate) counted: bool,
}

impl ClientAcks {
    /// Collects until every client that is still there has answered, or time is up. While the
    /// present nodes are not known, every answer is taken.
    pub(crate) async fn collect(mut self, timeout: Duration) -> Collected {
        let deadline = Instant::now() + timeout;
        let mut collected = Collected::default();
        let census = tokio::time::timeout_at(deadline, self.peers.census(&self.namespace)).await;
        let (census, mut names) = match census {
            Ok(Ok(counted)) => {
                collected.counted = true;
                counted
            }
            _ => Default::default(),
        };
        let mut foreign = census.foreign;
        let mut waiting = Waiting::new(census);
        // By node, because the clients of a dead node are not waited for. Nodes of other kinds have
        // no name in the classic format and share an entry.
        let mut owed: HashMap<Option<String>, i64> = HashMap::new();
        while !collected.counted || !waiting.is_over() || owed.values().any(|owed| *owed > 0) {
            match self.peers.next(&mut self.open, deadline).await {
                Next::Answer((from, Answer::ClientCount(count))) => {
                    if waiting.answered(from.as_deref()) {
                        collected.expected += count;
                        let count = i64::try_from(count).unwrap_or(i64::MAX);
                        let owed = owed.entry(from).or_default();
                        *owed = owed.saturating_add(count);
                    }
                }
                Next::Answer((from, Answer::ClientAck(value))) => {
                    *owed.entry(from).or_default() -= 1;
                    collected.acks.push(value);
                }
                Next::Answer(_) => {}
                Next::LookAgain => {
                    let census = self.peers.census(&self.namespace);
                    let census = tokio::time::timeout_at(deadline, census).await;
                    let Ok(Ok((census, now))) = census else { continue };
                    if collected.counted {
                        waiting.still_there(&census, foreign);
                        owed.retain(|node, _| {
                            node.as_ref().is_none_or(|node| {
                                !names.contains_key(node) || census.named.contains(node)
                            })
                        });
                    } else {
                        (collected.counted, foreign, names) = (true, census.foreign, now);
                        waiting.begin(census);
                    }
                }
                Next::TimeIsUp => break,
            }
        }
        collected.missing = named(&waiting, &names);
        collected.missing_foreign = waiting.foreign();
        collected
    }
}
