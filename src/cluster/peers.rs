//! The other nodes, as this one deals with them: messages, questions, and the list of present
//! nodes.

pub(crate) mod acks;
mod asking;
pub(crate) mod nodes;
pub(crate) mod past;
pub(crate) mod reaching;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use asking::Answers;
use nodes::Strangers;
use parking_lot::RwLock;
use past::Past;
use socketioxide_core::{Value, adapter::Room};

use super::{
    broker::{Carrier, Disconnected, Topic},
    codec::{Codec, EncodeError, Frame},
    log::{EntryId, NewEntry, Returned},
    marks::Marks,
    members::Members,
    message::{Answer, Flags, Message, RequestId, Selection},
    questions::Questions,
};
use crate::{future::BoxFuture, id::NodeId, link::Link, recovery::EventId};

/// Lists the live nodes of ours: the id on the wire, and the name.
pub(crate) type Roster = Arc<
    dyn Fn() -> BoxFuture<'static, Result<HashMap<String, NodeId>, Disconnected>> + Send + Sync,
>;

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
    broker: Arc<dyn Carrier>,
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
    past: Option<Arc<dyn Past>>,
    counts: Counts,
    /// The number of the last event.
    last_number: AtomicU64,
}

pub(crate) struct NewPeers {
    /// This node's id on the wire.
    pub(crate) node: String,
    pub(crate) codec: Codec,
    pub(crate) broker: Arc<dyn Carrier>,
    pub(crate) roster: Roster,
    pub(crate) hears_all: bool,
    /// How long a question waits for answers.
    pub(crate) timeout: Duration,
    /// The log as it is kept, if there is one.
    pub(crate) past: Option<Arc<dyn Past>>,
}

impl Peers {
    pub(crate) fn new(new: NewPeers) -> Self {
        let NewPeers { node, codec, broker, roster, hears_all, timeout, past } = new;
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

    pub(crate) fn broker(&self) -> &Arc<dyn Carrier> {
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
        self.broker.refused()
    }

    /// Whether what is said now can reach the others.
    pub(crate) fn can_reach(&self) -> bool {
        self.is_up() && self.trouble().is_none()
    }

    /// Why the others cannot be reached although the link is up. `None`: they can.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.broker.trouble()
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
        returned: Option<Returned>,
    ) {
        let entry = self.codec.broadcast_entry(namespace, packet, to, flags);
        let frame = || self.codec.encode_broadcast(namespace, packet, to, flags);
        if self.send(namespace, entry, frame, returned) {
            self.counts.published.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds an entry to the log, or publishes a frame where the message has none. Returns whether it
    /// could be written.
    fn send(
        &self,
        namespace: &str,
        entry: Result<Option<NewEntry>, EncodeError>,
        frame: impl FnOnce() -> Result<Frame, EncodeError>,
        mut returned: Option<Returned>,
    ) -> bool {
        let sent = entry.and_then(|entry| {
            match entry {
                Some(entry) => self.broker.append(entry, returned.take()),
                None => {
                    let (channel, frame) = frame()?;
                    self.broker.publish(&channel, frame.into());
                }
            }
            Ok(())
        });
        if let Err(error) = &sent {
            self.counts.unsendable.fetch_add(1, Ordering::Relaxed);
            tracing::error!(namespace, %error, "a message cannot be written for the other nodes");
        }
        if let Some(returned) = returned {
            returned(None);
        }
        sent.is_ok()
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
        returned: Option<Returned>,
    ) {
        if let Some(to) = message.changes() {
            self.marks.mark(namespace, to);
        }
        let entry = self.codec.entry(namespace, message);
        let frame = || self.codec.encode(namespace, message, None);
        self.send(namespace, entry, frame, returned);
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
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("node", &self.node).finish_non_exhaustive()
    }
}
