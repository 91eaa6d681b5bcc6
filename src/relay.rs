//! What other nodes say, applied to the sockets of this one.
//!
//! Everything here was written by somebody else: a message that makes no sense costs a counter and
//! a line in the log, never more.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use rmpv::Value as Tree;
use socketioxide_core::{
    Value,
    adapter::{BroadcastFlags, BroadcastOptions},
};

use tokio::sync::{Mutex, Semaphore};

use crate::{
    adapter::{Adapter, Adapters, Delivered},
    cluster::{
        message::{Answer, Envelope, Event, Flags, Message, RequestId, Selection},
        peers::{Peers, nodes::NODES},
        wire,
    },
    context::Context,
    gateway::ServerSideHandlers,
    missed::Missed,
    packet::ReadError,
    payload::{Payload, PayloadError, to_packet},
    traces::Span,
};

/// How long acknowledgements for another node are collected if it does not say.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Applies what others say.
pub(crate) struct Relay {
    adapters: Arc<Adapters>,
    peers: Arc<Peers>,
    context: Arc<Context>,
    missed: Arc<Missed>,
    server_side: matchit::Router<ServerSideHandlers>,
    /// Places for questions about sockets, and whose turn it is.
    describing: Arc<Semaphore>,
    turn: Arc<Mutex<()>>,
}

/// What a message has done.
enum Effect {
    Applied,
    /// A broadcast that no socket here was meant by.
    MatchedNobody,
    Malformed,
    None,
}

/// What emitters that are no server call themselves in the classic format.
const EMITTER: &str = "emitter";

/// Questions about sockets that wait for their answer.
const MAX_DESCRIBING: usize = 64;

impl Relay {
    pub(crate) fn new(
        adapters: Arc<Adapters>,
        peers: Arc<Peers>,
        context: Arc<Context>,
        missed: Arc<Missed>,
        server_side: matchit::Router<ServerSideHandlers>,
    ) -> Self {
        let describing = Arc::new(Semaphore::new(MAX_DESCRIBING));
        Self { adapters, peers, context, missed, server_side, describing, turn: Arc::default() }
    }

    pub(crate) fn missed(&self) -> &Arc<Missed> {
        &self.missed
    }

    /// Takes one frame. Never blocks.
    pub(crate) fn receive(&self, channel: &str, frame: &Bytes) {
        let wire = self.peers.wire();
        let counts = self.peers.counts();
        let (mut known, mut unwanted, mut wrong) = (false, false, None);
        // `/a` with the room `b` and `/a#b` have the same channel: the frame says which is meant.
        for adapter in wire.namespaces(channel).filter_map(|name| self.adapters.get(name)) {
            known = true;
            let refused = Cell::new(false);
            let wants = |room: &str| {
                let wanted = adapter.hears_of(room);
                refused.set(!wanted);
                wanted
            };
            match wire.decode(adapter.namespace(), channel, frame, &wants) {
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
                // What is not for this node at all, its own echo among it, is not counted.
                Ok(None) => unwanted |= refused.get(),
                Err(error) => wrong = wrong.or(Some((adapter.namespace().clone(), error))),
            }
        }
        match wrong {
            None if unwanted => _ = counts.filtered.fetch_add(1, Ordering::Relaxed),
            None if known => {}
            None => self.receive_elsewhere(channel, frame),
            Some((namespace, error)) => {
                let malformed = counts.malformed.fetch_add(1, Ordering::Relaxed) + 1;
                // The first, and then ever fewer: nobody fills the log from outside.
                if malformed.is_power_of_two() {
                    tracing::warn!(
                        namespace = namespace.as_str(),
                        malformed,
                        bytes = frame.len(),
                        %error,
                        "a message of another node makes no sense"
                    );
                }
            }
        }
    }

    /// Takes an answer to a question about a namespace that has had no sockets here, and what nodes
    /// say to each other.
    fn receive_elsewhere(&self, channel: &str, frame: &Bytes) {
        let (wire, applied) = (self.peers.wire(), &self.peers.counts().applied);
        for namespace in wire.namespaces(channel) {
            let decoded = wire.decode(namespace, channel, frame, &|_| false);
            let Ok(Some(Envelope { from, message })) = decoded else { continue };
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

    /// `bytes`: in how many it came.
    fn apply(
        &self,
        adapter: &Arc<Adapter>,
        Envelope { from, message }: Envelope,
        bytes: usize,
    ) -> Effect {
        let asker = from.as_deref();
        if matches!(asker, None | Some(EMITTER)) {
            self.peers.heard_stranger();
        }
        match message {
            Message::Broadcast { event, to, flags } => {
                let _span = self.trace(adapter, || wire::event_name(&event), asker, flags);
                return match self.deliver(adapter, &event, to, flags) {
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
            Message::Join { to, rooms } => adapter.join_here(adapter.selected(to), &rooms),
            Message::Leave { to, rooms } => adapter.leave_here(adapter.selected(to), &rooms),
            Message::Disconnect { to, close } => {
                adapter.disconnect_here(adapter.selected(to), close);
            }
            Message::FetchSockets { request, to } => {
                self.describe(adapter, from.clone(), request, to);
            }
            Message::AllRooms { request } => {
                let rooms = adapter.rooms_here(Selection::default().into());
                self.answer(adapter, asker, request, Answer::Rooms(rooms.into_iter().collect()));
            }
            Message::SocketIds { request, rooms } => {
                let ids = adapter.ids_here(adapter.selected(Selection { rooms, except: vec![] }));
                let ids = ids.iter().map(ToString::to_string).collect();
                self.answer(adapter, asker, request, Answer::SocketIds(ids));
            }
            Message::JoinOne { request, socket, room } => {
                self.of_one(adapter, asker, request, &socket, |one| {
                    adapter.join_here(one, &[room]);
                });
            }
            Message::LeaveOne { request, socket, room } => {
                self.of_one(adapter, asker, request, &socket, |one| {
                    adapter.leave_here(one, &[room]);
                });
            }
            Message::DisconnectOne { request, socket, close } => {
                self.of_one(adapter, asker, request, &socket, |one| {
                    adapter.disconnect_here(one, close);
                });
            }
            Message::ServerSideEmit { request, event } => {
                self.server_side(adapter, from, request, &event);
            }
            Message::Answer { request, answer } => {
                // Answers to others come by, too.
                if !self.peers.questions().answer(&request, from, answer, bytes) {
                    return Effect::None;
                }
            }
        }
        Effect::Applied
    }

    fn answer(&self, adapter: &Adapter, asker: Option<&str>, request: RequestId, answer: Answer) {
        self.peers.answer(adapter.namespace(), asker, request, answer);
    }

    /// Describes sockets, perhaps very many, on a thread of its own: frames that come meanwhile do
    /// not wait. One such question after the other; of too many the last ones are not answered, and
    /// who asked names this node as one that did not.
    fn describe(
        &self,
        adapter: &Arc<Adapter>,
        asker: Option<String>,
        request: RequestId,
        to: Selection,
    ) {
        let Ok(place) = self.describing.clone().try_acquire_owned() else { return };
        let (adapter, peers, turn) = (adapter.clone(), self.peers.clone(), self.turn.clone());
        self.context.tasks.spawn(async move {
            let _turn = turn.lock().await;
            let described = tokio::task::spawn_blocking(move || {
                let sockets = adapter.describe_here(adapter.selected(to));
                let answer = Answer::Sockets(sockets);
                peers.answer(adapter.namespace(), asker.as_deref(), request, answer);
            });
            if described.await.is_err() {
                tracing::error!("the sockets of this node cannot be described");
            }
            drop(place);
        });
    }

    /// Acts on one socket if it is here, and says so: the form of nodes before version 8.
    fn of_one(
        &self,
        adapter: &Adapter,
        asker: Option<&str>,
        request: RequestId,
        socket: &str,
        act: impl FnOnce(BroadcastOptions),
    ) {
        let sid = adapter.socket_known_as(socket).and_then(|id| adapter.sid_of(id));
        if let Some(sid) = sid {
            act(BroadcastOptions::new(sid));
            self.answer(adapter, asker, request, Answer::Done);
        }
    }

    /// The span of a delivery, if whoever sent the event is traced.
    fn trace<'a>(
        &self,
        adapter: &Adapter,
        event: impl FnOnce() -> Option<&'a str>,
        from: Option<&str>,
        flags: Flags,
    ) -> Span {
        self.context.tracer().deliver(adapter.namespace(), event, from, flags.trace)
    }

    /// The event as the clients of this node get it.
    fn packet(&self, event: Result<Value, ReadError>) -> Result<Value, PayloadError> {
        Payload::of_packet(event?, true).into_wire(self.context.parser())
    }

    fn deliver(
        &self,
        adapter: &Adapter,
        event: &Event,
        to: Selection,
        flags: Flags,
    ) -> Result<Delivered, PayloadError> {
        let mut options = adapter.selected(to);
        if flags.volatile {
            options.add_flag(BroadcastFlags::Volatile);
        }
        Ok(adapter.deliver_here(self.packet(wire::event_to_packet(event))?, options))
    }

    /// Asks clients of this node on behalf of another one, and hands on what each says.
    fn ask_clients(
        &self,
        adapter: &Arc<Adapter>,
        asker: Option<String>,
        request: RequestId,
        event: &[Tree],
        to: Selection,
        flags: Flags,
    ) -> Result<(), PayloadError> {
        let timeout = flags.timeout.unwrap_or(ACK_TIMEOUT).min(ACK_TIMEOUT);
        let packet = self.packet(to_packet(event))?;
        let (acks, count) = adapter.ask_here(packet, adapter.selected(to), timeout);
        let count = Answer::ClientCount(count);
        self.answer(adapter, asker.as_deref(), request.clone(), count);
        let (peers, adapter) = (self.peers.clone(), adapter.clone());
        let stop = self.context.stop.clone();
        let forward = async move {
            let mut acks = std::pin::pin!(acks);
            while let Some(ack) = acks.next().await {
                let answer = Answer::ClientAck(first_of(&ack));
                peers.answer(adapter.namespace(), asker.as_deref(), request.clone(), answer);
            }
        };
        self.context.tasks.spawn(async move { stop.run_until_cancelled(forward).await });
        Ok(())
    }

    fn server_side(
        &self,
        adapter: &Arc<Adapter>,
        asker: Option<String>,
        request: Option<RequestId>,
        event: &[Tree],
    ) {
        let Some(name) = event.first().and_then(Tree::as_str) else { return };
        let namespace = adapter.namespace().clone();
        let handlers = self.server_side.at(&namespace).ok().map(|matched| matched.value);
        let Some(handler) = handlers.and_then(|handlers| handlers.get(name)).cloned() else {
            // Node.js waits for every server, and after its timeout throws away the answers that it
            // has. So a server that does not know the event says so, in the one way there is.
            if let Some(request) = request {
                self.answer(adapter, asker.as_deref(), request, Answer::ServerSide(None));
            }
            return;
        };
        let Ok(value) = to_packet(event) else { return };
        let peers = self.peers.clone();
        self.context.tasks.spawn(async move {
            let answer = handler(Payload::of_packet(value, true)).await;
            if let Some(request) = request {
                let first = answer.as_ref().and_then(first_of);
                peers.answer(&namespace, asker.as_deref(), request, Answer::ServerSide(first));
            }
        });
    }
}

/// The first argument of an acknowledgement, which is all that travels between nodes.
fn first_of(ack: &Payload) -> Option<Tree> {
    ack.tree().ok()?.into_iter().next()
}
