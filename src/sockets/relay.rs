//! Applies the messages of other nodes to the sockets of this one.
//!
//! No message here can be trusted: one that makes no sense costs a counter and a line in the log,
//! never more.
//!
//! Frames come one after the other on one task, and events have to reach the sockets in that order.
//! Slow work without a place in that order is done elsewhere: [`questions`] about many sockets are
//! answered, and long [`answers`] are read, on threads of their own.

mod answers;
mod questions;

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use rmpv::Value as Tree;
use socketioxide_core::{Value, adapter::BroadcastFlags};
use tokio::sync::{Mutex, Semaphore};

use crate::{
    cluster::{
        codec::{self, DecodeError},
        log::{Entry, EntryId},
        message::{Answer, Envelope, Event, Flags, Message, Selection},
        peers::{
            Peers,
            nodes::{NODES, is_of_ours},
        },
    },
    future::BoxFuture,
    packet::ReadError,
    payload::{Payload, PayloadError},
    recovery::EventId,
    sockets::{
        adapter::{Adapter, Adapters, Delivered},
        missed::Missed,
        node::Node,
    },
    telemetry::traces::Span,
};
use answers::{Answers, Taken};

/// Handles an event of another node. The result goes back if the other node waits for it.
pub(crate) type ServerSideHandler =
    Arc<dyn Fn(Payload) -> BoxFuture<'static, Option<Payload>> + Send + Sync>;

/// The handlers of a gateway for events between servers, by name.
pub(crate) type ServerSideHandlers = HashMap<String, ServerSideHandler>;

/// Applies the messages of others.
pub(crate) struct Relay {
    adapters: Arc<Adapters>,
    peers: Arc<Peers>,
    node: Arc<Node>,
    missed: Arc<Missed>,
    server_side: matchit::Router<ServerSideHandlers>,
    /// Permits for questions about sockets, and their order.
    describing: Arc<Semaphore>,
    turn: Arc<Mutex<()>>,
    answers: Answers,
}

/// The effect of a message.
enum Effect {
    Applied,
    /// A broadcast that matched no local socket.
    MatchedNobody,
    Malformed,
    None,
}

/// Most questions about sockets and rooms that wait for their answer.
const MAX_DESCRIBING: usize = 64;

impl Relay {
    pub(crate) fn new(
        adapters: Arc<Adapters>,
        peers: Arc<Peers>,
        node: Arc<Node>,
        missed: Arc<Missed>,
        server_side: matchit::Router<ServerSideHandlers>,
    ) -> Self {
        let describing = Arc::new(Semaphore::new(MAX_DESCRIBING));
        let (turn, answers) = Default::default();
        Self { adapters, peers, node, missed, server_side, describing, turn, answers }
    }

    pub(crate) fn missed(&self) -> &Arc<Missed> {
        &self.missed
    }

    /// Takes one frame. Never blocks.
    pub(crate) fn receive(self: &Arc<Self>, channel: &str, frame: &Bytes) {
        let codec = self.peers.codec();
        if codec.is_echo(frame) {
            return;
        }
        if !codec.carries_answers(channel) {
            return self.read(channel, frame);
        }
        // In the classic format every node hears all answers, and this node its own.
        if frame.len() > answers::LONG && !self.peers.questions().may_be_answered(frame) {
            return;
        }
        let relay = self.clone();
        let read = move |channel: &str, frame: &Bytes| relay.read(channel, frame);
        match self.answers.take(channel, frame, &self.node.tasks, read) {
            Taken::AtOnce => self.read(channel, frame),
            // The sender of a dropped answer counts as one that did not answer.
            Taken::Later | Taken::Dropped => {}
        }
    }

    /// Takes one entry of the log. Never blocks.
    pub(crate) fn receive_entry(&self, entry: &Entry) {
        let counts = self.peers.counts();
        let adapter = self.adapters.get(&entry.namespace);
        let envelope = match self.peers.codec().read_entry(entry) {
            Ok(Some(envelope)) => envelope,
            Ok(None) => return,
            // Nobody here has to care.
            Err(_) if adapter.is_none() => return,
            Err(error) => return self.malformed(&entry.namespace, entry.data.len(), &error),
        };
        match adapter {
            Some(adapter) => match self.apply(&adapter, envelope, entry.data.len()) {
                Effect::Applied => &counts.applied,
                Effect::MatchedNobody => &counts.filtered,
                Effect::Malformed => &counts.malformed,
                Effect::None => return,
            },
            None => {
                if !envelope.from.as_deref().is_some_and(is_of_ours) {
                    self.peers.heard_stranger();
                }
                return;
            }
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self, channel: &str, frame: &Bytes) {
        let codec = self.peers.codec();
        let counts = self.peers.counts();
        let (mut known, mut unwanted, mut wrong) = (false, false, None);
        // `/a` with the room `b` and `/a#b` have the same channel. The frame tells which it is.
        for adapter in codec.namespaces(channel).filter_map(|name| self.adapters.get(name)) {
            known = true;
            let refused = Cell::new(false);
            let wants = |room: &str| {
                let wanted = adapter.hears_of(room);
                refused.set(!wanted);
                wanted
            };
            match codec.decode(adapter.namespace(), channel, frame, &wants) {
                Ok(Some(envelope)) => {
                    let counter = match self.apply(&adapter, envelope, frame.len()) {
                        Effect::Applied => &counts.applied,
                        Effect::MatchedNobody => &counts.filtered,
                        Effect::Malformed => &counts.malformed,
                        Effect::None => return,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                // A frame that is not for this node at all, such as its own echo, is not counted.
                Ok(None) => unwanted |= refused.get(),
                Err(error) => wrong = wrong.or(Some((adapter.namespace().clone(), error))),
            }
        }
        match wrong {
            None if unwanted => _ = counts.filtered.fetch_add(1, Ordering::Relaxed),
            None if known => {}
            None => self.receive_elsewhere(channel, frame),
            Some((namespace, error)) => self.malformed(&namespace, frame.len(), &error),
        }
    }

    fn malformed(&self, namespace: &str, bytes: usize, error: &DecodeError) {
        let malformed = self.peers.counts().malformed.fetch_add(1, Ordering::Relaxed) + 1;
        // The first, and then ever fewer, so that nobody fills the log from outside.
        if malformed.is_power_of_two() {
            let message = "a message of another node makes no sense";
            tracing::warn!(namespace, malformed, bytes, %error, "{message}");
        }
    }

    /// Takes an answer about a namespace that has had no sockets here, and messages between nodes
    /// of ours.
    fn receive_elsewhere(&self, channel: &str, frame: &Bytes) {
        let (codec, applied) = (self.peers.codec(), &self.peers.counts().applied);
        for namespace in codec.namespaces(channel) {
            let decoded = codec.decode(namespace, channel, frame, &|_| false);
            let Ok(Some(Envelope { from, message, .. })) = decoded else { continue };
            match message {
                Message::Answer { request, answer } => {
                    if self.peers.questions().answer(&request, from, answer, frame.len()) {
                        applied.fetch_add(1, Ordering::Relaxed);
                    }
                    return;
                }
                Message::ServerSideEmit { request: Some(request), event } if namespace == NODES => {
                    applied.fetch_add(1, Ordering::Relaxed);
                    return self.missed.hear(from.as_deref(), request, &event);
                }
                _ => {}
            }
        }
    }

    /// Applies a message that came in this many `bytes`.
    fn apply(
        &self,
        adapter: &Arc<Adapter>,
        Envelope { from, message, at }: Envelope,
        bytes: usize,
    ) -> Effect {
        let asker = from.as_deref();
        if !asker.is_some_and(is_of_ours) {
            self.peers.heard_stranger();
        }
        match message {
            Message::Broadcast { event, to, flags } => {
                let _span = self.trace(adapter, || codec::event_name(&event), asker, flags);
                let id = asker.zip(flags.number).map(|(from, number)| EventId::of(from, number));
                return match self.deliver(adapter, &event, to, flags, (at, id)) {
                    Ok(Delivered { meant: 0, .. }) => Effect::MatchedNobody,
                    Ok(_) => Effect::Applied,
                    Err(_) => Effect::Malformed,
                };
            }
            Message::BroadcastWithAck { request, event, to, flags } => {
                let name = || event.first().and_then(Tree::as_str);
                let _span = self.trace(adapter, name, asker, flags);
                let asked = self.ask_clients(adapter, from.clone(), request, &event, to, flags);
                return if asked.is_ok() { Effect::Applied } else { Effect::Malformed };
            }
            Message::Join { to, rooms } => adapter.join_here(&adapter.selected(to), &rooms, at),
            Message::Leave { to, rooms } => adapter.leave_here(&adapter.selected(to), &rooms, at),
            Message::Disconnect { to, close } => {
                adapter.disconnect_here(&adapter.selected(to), close, at);
            }
            Message::FetchSockets { request, to } => {
                self.describe(adapter, from.clone(), request, |adapter| {
                    Answer::Sockets(adapter.describe_here(adapter.selected(to)))
                });
            }
            Message::AllRooms { request } => {
                self.describe(adapter, from.clone(), request, |adapter| {
                    let rooms = adapter.rooms_here(Selection::default().into());
                    Answer::Rooms(rooms.into_iter().collect())
                });
            }
            Message::SocketIds { request, rooms } => {
                self.describe(adapter, from.clone(), request, |adapter| {
                    let of = adapter.selected(Selection { rooms, except: vec![] });
                    let ids = adapter.ids_here(of);
                    Answer::SocketIds(ids.iter().map(ToString::to_string).collect())
                });
            }
            Message::JoinOne { request, socket, room } => {
                self.of_one(adapter, asker, request, &socket, |one| {
                    adapter.join_here(&one, &[room], None);
                });
            }
            Message::LeaveOne { request, socket, room } => {
                self.of_one(adapter, asker, request, &socket, |one| {
                    adapter.leave_here(&one, &[room], None);
                });
            }
            Message::DisconnectOne { request, socket, close } => {
                self.of_one(adapter, asker, request, &socket, |one| {
                    adapter.disconnect_here(&one, close, None);
                });
            }
            Message::ServerSideEmit { request, event } => {
                self.server_side(adapter, from, request, &event);
            }
            Message::Answer { request, answer } => {
                // Answers to others pass by here, too.
                if !self.peers.questions().answer(&request, from, answer, bytes) {
                    return Effect::None;
                }
            }
        }
        Effect::Applied
    }

    /// The span of a delivery, if the event's sender is traced.
    fn trace<'a>(
        &self,
        adapter: &Adapter,
        event: impl FnOnce() -> Option<&'a str>,
        from: Option<&str>,
        flags: Flags,
    ) -> Span {
        self.node.tracer().deliver(adapter.namespace(), event, from, flags.trace)
    }

    /// The event in its form for the clients of this node.
    fn packet(&self, event: Result<Value, ReadError>) -> Result<Value, PayloadError> {
        Payload::of_packet(event?, true).into_wire(self.node.parser())
    }

    fn deliver(
        &self,
        adapter: &Adapter,
        event: &Event,
        to: Selection,
        flags: Flags,
        (at, id): (Option<EntryId>, Option<EventId>),
    ) -> Result<Delivered, PayloadError> {
        let mut options = adapter.selected(to);
        if flags.volatile {
            options.add_flag(BroadcastFlags::Volatile);
        }
        let packet = self.packet(codec::event_to_packet(event))?;
        Ok(adapter.deliver_from_log(packet, options, at, id))
    }
}
