//! Questions to all nodes, and the census that says whose answers are to be waited for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::Peers;
use crate::{
    cluster::{
        broker::{Channel, Disconnected, Topic},
        members,
        message::{Answer, Message, RequestId},
        questions::{Answered, Census, Question, Waiting},
    },
    id::NodeId,
};

/// The namespace that every Node.js server has.
pub(super) const FIRST: &str = "/";

/// The time between two checks of a question whether the nodes that it waits for are still there.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The answers to a question.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) answers: Vec<Answer>,
    /// Nodes of ours that did not answer in time.
    pub(crate) missing: Vec<NodeId>,
    /// The number of other nodes that did not answer.
    pub(crate) missing_foreign: usize,
}

impl Peers {
    pub(super) fn can_ask(&self) -> bool {
        self.is_up() && self.trouble().is_none()
    }

    /// Hears answers about a namespace while the returned value lives. `None` if the namespace is
    /// served here and heard anyway. A node serves a namespace from its first socket in it on.
    pub(crate) async fn hear_answers(&self, namespace: &str) -> Option<Hearing<'_>> {
        if self.served.read().contains_key(namespace) {
            return None;
        }
        let hearing = Hearing { peers: self, topics: self.codec.answer_topics(namespace) };
        hearing.topics.iter().for_each(|topic| self.broker.listen(topic.clone()));
        // Waits no longer than an answer may take. After that the answer is not heard, and counts
        // as missing.
        let _ = tokio::time::timeout(self.timeout, self.broker.settled(&hearing.topics)).await;
        Some(hearing)
    }

    /// Looks at the list of nodes from time to time, so that every node is known before it is taken
    /// for dead. There are early looks after the start, and after the first sight of a stranger.
    pub(crate) async fn keep_members(self: Arc<Self>) {
        let (mut looks, mut seen_before) = (0, false);
        loop {
            let is_new = looks < members::FIRST_LOOKS || seen_before;
            tokio::time::sleep(if is_new { members::SOON } else { members::LOOK }).await;
            if !self.is_up() {
                continue;
            }
            looks = (looks + 1).min(members::FIRST_LOOKS);
            let Ok((Census { foreign, .. }, _)) = self.census(FIRST).await else { continue };
            // A single sight may be a node of ours that has just come and is not listed yet.
            let is_sure = foreign > 0 && seen_before;
            if is_sure {
                self.strangers.noticed();
            }
            seen_before = foreign > 0 && !is_sure;
        }
    }

    /// The nodes that serve a namespace beside this one, with their names.
    pub(super) async fn census(
        &self,
        namespace: &str,
    ) -> Result<(Census, HashMap<String, NodeId>), Disconnected> {
        let mut names = (self.roster)().await?;
        let gone = self.members.update(&names, std::time::Instant::now());
        names.remove(&self.node);
        let ids: Vec<&String> = names.keys().chain(&gone).collect();
        let mut channels: Vec<Channel> = vec![self.codec.counted(namespace)];
        channels.extend(ids.iter().map(|id| self.codec.own_channel(namespace, id)));
        let listeners = self.broker.listeners(channels);
        let listeners = tokio::time::timeout(self.timeout, listeners).await;
        let listeners = listeners.map_err(|_| Disconnected)??;
        let (total, listeners) = listeners.split_first().unwrap_or((&0, &[]));
        let listens = ids.into_iter().zip(listeners).filter(|(_, count)| **count > 0);
        let ours: Vec<&String> = listens.map(|(id, _)| id).collect();
        // A node that is taken for dead may still be counted. It is none of the other kinds.
        let itself = usize::from(self.served.read().contains_key(namespace));
        let foreign = total.saturating_sub(ours.len() + itself);
        let living = ours.into_iter().filter(|id| names.contains_key(*id));
        let named: HashSet<String> = living.cloned().collect();
        Ok((Census { named, foreign }, names))
    }

    /// How many nodes of other kinds serve the namespace.
    ///
    /// # Errors
    /// If the link is down.
    pub(crate) async fn foreign(&self, namespace: &str) -> Result<usize, Disconnected> {
        if !self.can_ask() {
            return Err(Disconnected);
        }
        Ok(self.census(namespace).await?.0.foreign)
    }

    /// How many nodes serve the namespace, whatever their kind.
    ///
    /// # Errors
    /// If Redis does not answer.
    pub(crate) async fn serving(&self, namespace: &str) -> Result<usize, Disconnected> {
        let listeners = self.broker.listeners(vec![self.codec.counted(namespace)]).await?;
        Ok(listeners.into_iter().sum())
    }

    /// Asks every node that serves the namespace and waits until all have answered, or time is up.
    ///
    /// # Errors
    /// If the present nodes are not known, or the question did not reach them.
    pub(crate) async fn ask(
        &self,
        namespace: &str,
        question: impl FnOnce(RequestId) -> Message,
    ) -> Result<Answers, Disconnected> {
        if !self.can_ask() {
            return Err(Disconnected);
        }
        let _hearing = self.hear_answers(namespace).await;
        let (census, names) = self.census(namespace).await?;
        let mut answers = Answers::default();
        let foreign = census.foreign;
        let mut waiting = Waiting::new(census);
        if waiting.is_over() {
            return Ok(answers);
        }
        let mut open = self.questions.open();
        self.say(namespace, &question(open.id.clone()));
        let deadline = Instant::now() + self.timeout;
        while !waiting.is_over() {
            match self.next(&mut open, deadline).await {
                Next::Answer((from, answer)) => {
                    // A further nameless answer cannot be told from a repeated one.
                    let is_wanted = from.is_some() || waiting.foreign() > 0;
                    if is_wanted && waiting.answered(from.as_deref()) {
                        answers.answers.push(answer);
                    }
                }
                Next::LookAgain => {
                    if let Ok((census, _)) = self.census(namespace).await {
                        waiting.still_there(&census, foreign);
                    }
                }
                Next::TimeIsUp => break,
            }
        }
        answers.missing = named(&waiting, &names);
        answers.missing_foreign = waiting.foreign();
        Ok(answers)
    }

    pub(super) async fn next(&self, open: &mut Question, deadline: Instant) -> Next {
        let look_again = Instant::now() + LOOK_AGAIN;
        match tokio::time::timeout_at(deadline.min(look_again), open.answers.recv()).await {
            Ok(Some(answered)) => Next::Answer(answered),
            // The registry holds the sender for as long as the question is open.
            Ok(None) => Next::TimeIsUp,
            Err(_) if Instant::now() >= deadline => Next::TimeIsUp,
            Err(_) => Next::LookAgain,
        }
    }
}

/// Hears answers about a namespace that this node does not serve.
pub(crate) struct Hearing<'a> {
    peers: &'a Peers,
    topics: Vec<Topic>,
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        self.topics.iter().for_each(|topic| self.peers.broker.unlisten(topic));
    }
}

pub(super) enum Next {
    Answer(Answered),
    LookAgain,
    TimeIsUp,
}

pub(super) fn named(waiting: &Waiting, names: &HashMap<String, NodeId>) -> Vec<NodeId> {
    let name = |id: String| names.get(&id).cloned().unwrap_or_else(|| NodeId::named(&id));
    waiting.missing().into_iter().map(name).collect()
}
