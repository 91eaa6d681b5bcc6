//! The other nodes, as this one deals with them: messages, questions, and the list of present
//! nodes.

pub(crate) mod acks;
pub(crate) mod nodes;
pub(crate) mod past;
mod reaching;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nodes::Strangers;
use parking_lot::RwLock;
use past::Past;
use socketioxide_core::{Value, adapter::Room};
use tokio::time::Instant;

use super::{
    broker::{Broker, Channel, Disconnected, Topic},
    codec::Codec,
    log::{EntryId, Returned},
    marks::Marks,
    members::{self, Members},
    message::{Answer, Flags, Message, RequestId, Selection},
    questions::{Answered, Census, Question, Questions, Waiting},
};
use crate::{
    future::BoxFuture, id::NodeId, link::rights::Rights, link::state::Link, recovery::EventId,
};

/// Lists the live nodes of ours: the id on the wire, and the name.
pub(crate) type Roster = Arc<
    dyn Fn() -> BoxFuture<'static, Result<HashMap<String, NodeId>, Disconnected>> + Send + Sync,
>;

/// The namespace that every Node.js server has.
const FIRST: &str = "/";

/// The time between two checks of a question whether the nodes that it waits for are still there.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Counts of messages between the nodes, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Frames that could not be read.
    pub(crate) malformed: AtomicU64,
    /// Messages that could not be written for the others.
    pub(crate) unsendable: AtomicU64,
    /// Received broadcasts that matched no local socket.
    pub(crate) filtered: AtomicU64,
    /// Messages received and applied.
    pub(crate) applied: AtomicU64,
    /// Broadcasts published.
    pub(crate) published: AtomicU64,
}

/// The way to the other nodes.
pub(crate) struct Peers {
    node: String,
    codec: Codec,
    broker: Arc<dyn Broker>,
    questions: Questions,
    roster: Roster,
    members: Members,
    strangers: Strangers,
    marks: Marks,
    /// How often each namespace is served: twice while one instance takes over from another.
    served: RwLock<HashMap<Box<str>, usize>>,
    /// One pattern for all rooms instead of a channel for each.
    hears_all: bool,
    timeout: Duration,
    /// Refused commands. `None` where everything is allowed.
    rights: Option<Arc<Rights>>,
    past: Option<Past>,
    counts: Counts,
    /// The number of the last event.
    last_number: AtomicU64,
}

pub(crate) struct NewPeers {
    /// This node's id on the wire.
    pub(crate) node: String,
    pub(crate) codec: Codec,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) roster: Roster,
    pub(crate) hears_all: bool,
    /// How long a question waits for answers.
    pub(crate) timeout: Duration,
    /// Refused commands. `None` where everything is allowed.
    pub(crate) rights: Option<Arc<Rights>>,
    /// The log as it is kept, if there is one.
    pub(crate) past: Option<Past>,
}

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
    pub(crate) fn new(new: NewPeers) -> Self {
        let NewPeers { node, codec, broker, roster, hears_all, timeout, rights, past } = new;
        Self {
            node,
            codec,
            broker,
            roster,
            members: Members::default(),
            strangers: Strangers::default(),
            marks: Marks::default(),
            served: RwLock::default(),
            hears_all,
            timeout,
            rights,
            past,
            questions: Questions::default(),
            counts: Counts::default(),
            last_number: AtomicU64::new(0),
        }
    }

    /// A number for an event of this node.
    pub(crate) fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The name among all nodes of an event of this node.
    pub(crate) fn event_id(&self, number: u64) -> EventId {
        EventId::of(&self.node, number)
    }

    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    pub(crate) fn questions(&self) -> &Questions {
        &self.questions
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether one pattern covers every room.
    pub(crate) fn hears_all(&self) -> bool {
        self.hears_all
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.broker.link().borrow() == Link::Up
    }

    /// The commands that Redis refuses to this node.
    pub(crate) fn refused(&self) -> Vec<&'static str> {
        self.rights.as_ref().map(|rights| rights.refused()).unwrap_or_default()
    }

    /// Why the others cannot be reached although the link is up. `None`: they can.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.rights.as_ref()?.trouble()
    }

    fn can_ask(&self) -> bool {
        self.is_up() && self.trouble().is_none()
    }

    /// This node serves the namespace from now on, and is counted for it.
    pub(crate) fn serve(&self, namespace: &str) {
        *self.served.write().entry(namespace.into()).or_default() += 1;
        for topic in self.codec.topics(namespace, self.hears_all) {
            self.broker.listen(topic);
        }
    }

    /// This node no longer serves the namespace.
    pub(crate) fn unserve(&self, namespace: &str) {
        // In reverse order: as long as a node is counted it must hear everything.
        for topic in self.codec.topics(namespace, self.hears_all).iter().rev() {
            self.broker.unlisten(topic);
        }
        let mut served = self.served.write();
        if let Some(count) = served.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                served.remove(namespace);
            }
        }
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

    /// Ends when the node hears of these rooms of a namespace that it serves, when the link is
    /// down, or when it takes too long. Returns whether it hears of them.
    pub(crate) async fn settled(&self, namespace: &str, rooms: &[Room]) -> bool {
        let mut topics = self.codec.topics(namespace, self.hears_all);
        let room = |room: &Room| Topic::Channel(self.codec.room_channel(namespace, room));
        topics.extend(rooms.iter().map(room));
        tokio::time::timeout(self.timeout, self.broker.settled(&topics)).await.is_ok()
            && self.is_up()
    }

    /// Listens to a room with local members. Does nothing where one pattern covers every room.
    pub(crate) fn listen(&self, namespace: &str, room: &str) {
        self.broker.listen(Topic::Channel(self.codec.room_channel(namespace, room)));
    }

    /// The room has no members here any more.
    pub(crate) fn unlisten(&self, namespace: &str, room: &str) {
        self.broker.unlisten(&Topic::Channel(self.codec.room_channel(namespace, room)));
    }

    /// Sends an event to the sockets of the other nodes.
    pub(crate) fn broadcast(&self, namespace: &str, packet: &Value, to: &Selection, flags: Flags) {
        // Nobody relies on volatile events.
        if !flags.volatile {
            self.marks.mark(namespace, to);
        }
        self.send_broadcast(namespace, packet, to, flags, None);
    }

    /// Whether own messages come back in the order of the log, see [`submit`](Self::submit).
    pub(crate) fn is_ordered(&self) -> bool {
        self.broker.is_ordered()
    }

    /// Sends an event as [`broadcast`](Self::broadcast) does, and calls `returned` when it is its
    /// turn among the messages of all nodes. Without such an order that is at once.
    pub(crate) fn submit(
        &self,
        namespace: &str,
        packet: &Value,
        to: &Selection,
        flags: Flags,
        returned: Returned,
    ) {
        self.marks.mark(namespace, to);
        self.send_broadcast(namespace, packet, to, flags, Some(returned));
    }

    /// The place up to which this node has read the log of a namespace, and delivered it.
    pub(crate) fn read_up_to(&self, namespace: &str) -> Option<EntryId> {
        self.broker.read_up_to(namespace)
    }

    fn send_broadcast(
        &self,
        namespace: &str,
        packet: &Value,
        to: &Selection,
        flags: Flags,
        mut returned: Option<Returned>,
    ) {
        let sent = match self.codec.broadcast_entry(namespace, packet, to, flags) {
            Ok(Some(entry)) => {
                self.broker.append(entry, returned.take());
                Ok(())
            }
            Ok(None) => self
                .codec
                .encode_broadcast(namespace, packet, to, flags)
                .map(|(channel, frame)| self.broker.publish(&channel, frame.into())),
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => _ = self.counts.published.fetch_add(1, Ordering::Relaxed),
            Err(error) => self.cannot_send(namespace, &error),
        }
        if let Some(returned) = returned {
            returned(None);
        }
    }

    /// Sends a message to the other nodes.
    pub(crate) fn say(&self, namespace: &str, message: &Message) {
        self.say_in_turn(namespace, message, None);
    }

    /// Sends a message as [`say`](Self::say) does, and calls `returned` as [`submit`](Self::submit)
    /// does.
    pub(crate) fn say_in_turn(
        &self,
        namespace: &str,
        message: &Message,
        mut returned: Option<Returned>,
    ) {
        if let Some(to) = message.changes() {
            self.marks.mark(namespace, to);
        }
        let sent = match self.codec.entry(namespace, message) {
            Ok(Some(entry)) => {
                self.broker.append(entry, returned.take());
                Ok(())
            }
            Ok(None) => self
                .codec
                .encode(namespace, message, None)
                .map(|(channel, frame)| self.broker.publish(&channel, frame.into())),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            self.cannot_send(namespace, &error);
        }
        if let Some(returned) = returned {
            returned(None);
        }
    }

    /// Answers the question of another node.
    pub(crate) fn answer(
        &self,
        namespace: &str,
        asker: Option<&str>,
        request: RequestId,
        answer: Answer,
    ) {
        match self.codec.encode(namespace, &Message::Answer { request, answer }, asker) {
            Ok((channel, frame)) => self.broker.publish(&channel, frame.into()),
            // A question that does not say where its answer goes is malformed. That is the asker's
            // fault, and no reason to fill our log.
            Err(_) => _ = self.counts.malformed.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn cannot_send(&self, namespace: &str, error: &dyn std::error::Error) {
        self.counts.unsendable.fetch_add(1, Ordering::Relaxed);
        tracing::error!(namespace, %error, "not sent to the other nodes");
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
    async fn census(
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

    async fn next(&self, open: &mut Question, deadline: Instant) -> Next {
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

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("node", &self.node).finish_non_exhaustive()
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

enum Next {
    Answer(Answered),
    LookAgain,
    TimeIsUp,
}

fn named(waiting: &Waiting, names: &HashMap<String, NodeId>) -> Vec<NodeId> {
    let name = |id: String| names.get(&id).cloned().unwrap_or_else(|| NodeId::named(&id));
    waiting.missing().into_iter().map(name).collect()
}
