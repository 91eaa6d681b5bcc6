//! The door: every event to sockets leaves here, in two steps.
//!
//! [`submit`] takes an event and its audience. It encodes, traces and counts the event, and the
//! audience becomes rooms, here and nowhere else. [`deliver`] publishes the event for other nodes
//! and queues it for the sockets of this one. A step that needs every event before anybody has it
//! (a log, an order, a limit) belongs between the two: the [archive](super::archive) has it there.
//!
//! Events of other nodes come in through the [relay](super::relay), which only delivers. A
//! program's use of the engine's own socket ([`Socket::raw`](crate::Socket::raw)) goes past the
//! door.

use std::{sync::Arc, time::Duration};

use futures_util::Stream;
use smallvec::SmallVec;
use socketioxide_core::{
    Sid, Value,
    adapter::{BroadcastFlags, BroadcastOptions, Room},
};

use super::{
    adapter::Adapter,
    archive::{Archive, ToKeep},
    audience::Audience,
    node::Node,
    target::Target,
};
use crate::{
    cluster::{
        message::{Flags, Selection},
        peers::Peers,
    },
    id::{SocketId, UserId},
    names::rooms::AUTHENTICATED,
    payload::{Payload, PayloadError},
    telemetry::{traceparent::TraceParent, traces::Span},
};

/// The start of an event's way.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// A namespace of this node.
    Here(&'a Arc<Adapter>),
    /// A namespace in which only other nodes can have sockets.
    Elsewhere { node: &'a Node, namespace: &'a str, peers: Option<&'a Arc<Peers>> },
}

/// The socket whose handler sends an event. Its connection is known without a lookup.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) id: SocketId,
    pub(crate) sid: Sid,
}

/// An event past the first step.
pub(crate) struct Submitted {
    /// Its name and arguments, in the form for clients.
    value: Value,
    to: BroadcastOptions,
    /// Ends when the event has been delivered.
    span: Span,
}

impl Submitted {
    /// The trace that the event belongs to, if that is sampled.
    pub(crate) fn traceparent(&self) -> Option<TraceParent> {
        self.span.traceparent()
    }

    /// The part of its audience on other nodes. `None` if there can be none.
    pub(crate) fn others(&self, start: Start<'_>) -> Option<Selection> {
        others(start, &self.to)
    }
}

/// The first step: nothing is sent yet. `None` for an empty audience.
///
/// # Errors
/// If the event cannot be encoded.
pub(crate) fn submit(
    start: Start<'_>,
    payload: Payload,
    audience: &Audience,
    sender: Option<Sender>,
) -> Result<Option<Submitted>, PayloadError> {
    if audience.is_nobody() {
        return Ok(None);
    }
    let node = start.node();
    let span = node.tracer().emit(start.namespace(), &payload, || audience.kind().name());
    let value = payload.into_wire(node.parser())?;
    if !start.is_hidden() {
        node.meters().emitted(audience.kind());
    }
    Ok(Some(Submitted { value, to: lower(start, audience, sender), span }))
}

/// The second step. Other nodes come first, so that an event is on its way to all before any client
/// can react to it.
///
/// If the log of the namespace is in Redis, sockets of this node get the event when it comes back
/// from there, in its place among those of others. `kept`: what the archive keeps of it.
fn deliver(start: Start<'_>, submitted: Submitted, kept: Option<(&dyn Archive, ToKeep)>) {
    let Submitted { value, to, span } = submitted;
    let _in_order = kept.as_ref().map(|(archive, event)| archive.in_order(&event.rooms));
    let number = start.number(kept.is_some());
    let mut id = start.peers().zip(number).map(|(peers, number)| peers.event_id(number));
    if let Some((archive, event)) = kept {
        archive.keep(*id.get_or_insert_with(|| archive.name()), event);
    }
    if let Start::Here(adapter) = start
        && adapter.comes_back(&to)
    {
        return adapter.submit(&value, to, span.traceparent(), number);
    }
    // Held to the end: between the two ways out the event must not be overlooked.
    let _under_way = start.here().and_then(|adapter| adapter.under_way());
    if let (Some(peers), Some(others)) = (start.peers(), others(start, &to)) {
        let flags = Flags { number, ..Flags::of(&to, span.traceparent()) };
        peers.broadcast(start.namespace(), &value, &others, flags);
    }
    if let Start::Here(adapter) = start {
        adapter.deliver_here(value, to, id);
    }
}

/// The second step, with acknowledgements, for the sockets of this node. Returns the stream of
/// acknowledgements, and the number of asked clients.
pub(crate) fn deliver_asking(
    start: Start<'_>,
    submitted: &Submitted,
    timeout: Duration,
) -> Option<(impl Stream<Item = Payload> + Send + use<>, usize)> {
    let Start::Here(adapter) = start else { return None };
    Some(adapter.ask_here(submitted.value.clone(), submitted.to.clone(), timeout))
}

/// The second step of a question to one socket of this node, which is answered under an id of our own.
/// A socket that has left gets nothing. Returns the span of the event, to be ended with the answer.
pub(crate) fn deliver_question(
    adapter: &Arc<Adapter>,
    submitted: Submitted,
    sid: Sid,
    id: i64,
) -> Span {
    adapter.ask_by_id(sid, submitted.value, id);
    submitted.span
}

/// Both steps. `user`: whose socket sends it, asked for only if the event is kept.
///
/// # Errors
/// As [`submit`].
pub(crate) fn send(
    start: Start<'_>,
    payload: Payload,
    audience: &Audience,
    sender: Option<Sender>,
    user: impl FnOnce() -> Option<UserId>,
) -> Result<(), PayloadError> {
    // A namespace of a pattern may have gone and come back since the emit began.
    if let Start::Here(adapter) = start
        && adapter.is_retired()
        && let Some(successor) = adapter.successor()
    {
        return send(Start::Here(&successor), payload, audience, sender, user);
    }
    let archive = start.node().archive().map(|archive| &**archive);
    let kept = archive.and_then(|archive| {
        let event = start.to_keep(archive, &payload, audience, user)?;
        Some((archive, event))
    });
    if let Some(submitted) = submit(start, payload, audience, sender)? {
        deliver(start, submitted, kept);
    }
    Ok(())
}

/// An audience as rooms, in the terms of socketioxide and of the other nodes.
pub(crate) fn lower(
    start: Start<'_>,
    audience: &Audience,
    sender: Option<Sender>,
) -> BroadcastOptions {
    // A socket that may come back is named by its id: the log has to know it when it has left.
    let sender = sender.filter(|_| !start.recovers());
    let is_sender = |target: &Target| {
        sender.filter(|sender| matches!(target, Target::Socket(id) if *id == sender.id))
    };
    let mut to = BroadcastOptions::default();
    // Without a room and without the flag for everybody nobody is selected.
    if audience.is_nobody() {
        return to;
    }
    match (audience.targets(), audience.exceptions()) {
        // Options that name a connection and no room select this socket alone.
        (Some([one]), []) if let Some(sender) = is_sender(one) => to.sid = Some(sender.sid),
        (targets, exceptions) => {
            if let Some(targets) = targets {
                to.rooms.extend(targets.iter().map(|target| start.room_of(target)));
            } else {
                to.add_flag(BroadcastFlags::Broadcast);
            }
            for exception in exceptions {
                if let Some(sender) = is_sender(exception) {
                    // This flag leaves out the socket of the named connection.
                    to.sid = Some(sender.sid);
                    to.add_flag(BroadcastFlags::Broadcast);
                } else {
                    to.except.push(start.room_of(exception));
                }
            }
        }
    }
    if audience.is_local() {
        to.add_flag(BroadcastFlags::Local);
    }
    if audience.is_volatile() {
        to.add_flag(BroadcastFlags::Volatile);
    }
    to
}

/// The part of the audience on other nodes. `None` if there can be none.
pub(crate) fn others(start: Start<'_>, to: &BroadcastOptions) -> Option<Selection> {
    match start {
        Start::Here(adapter) => adapter.elsewhere(to),
        Start::Elsewhere { .. } => Selection::of_others(to),
    }
}

impl<'a> Start<'a> {
    pub(crate) fn node(self) -> &'a Node {
        match self {
            Self::Here(adapter) => adapter.node(),
            Self::Elsewhere { node, .. } => node,
        }
    }

    pub(crate) fn namespace(self) -> &'a str {
        match self {
            Self::Here(adapter) => adapter.namespace(),
            Self::Elsewhere { namespace, .. } => namespace,
        }
    }

    pub(crate) fn peers(self) -> Option<&'a Arc<Peers>> {
        match self {
            Self::Here(adapter) => adapter.peers(),
            Self::Elsewhere { peers, .. } => peers,
        }
    }

    fn here(self) -> Option<&'a Arc<Adapter>> {
        match self {
            Self::Here(adapter) => Some(adapter),
            Self::Elsewhere { .. } => None,
        }
    }

    fn recovers(self) -> bool {
        self.here().is_some_and(|adapter| adapter.recovers())
    }

    /// A number for an event. By it the event is known again if it comes to a client on two ways.
    fn number(self, is_kept: bool) -> Option<u64> {
        let can_move = || self.node().recovery().is_some_and(|it| it.can_move());
        self.peers().filter(|_| is_kept || can_move()).map(|peers| peers.next_number())
    }

    /// What is kept of an event to rooms.
    fn to_keep(
        self,
        archive: &dyn Archive,
        payload: &Payload,
        audience: &Audience,
        user: impl FnOnce() -> Option<UserId>,
    ) -> Option<ToKeep> {
        if audience.is_local() || audience.is_volatile() || self.is_hidden() {
            return None;
        }
        let (node, targets) = (self.node(), audience.targets()?);
        let kept = |target: &Target| match target {
            Target::Room(room) if archive.keeps(room) && !node.is_reserved(room) => {
                Some(room.clone())
            }
            _ => None,
        };
        let rooms: SmallVec<[Room; 1]> = targets.iter().filter_map(kept).collect();
        if rooms.is_empty() {
            return None;
        }
        // No event for clients fails here.
        let (event, args) = (payload.event_name()?.into_owned(), payload.to_stored().ok()?);
        Some(ToKeep { namespace: self.namespace().to_owned(), rooms, event, args, from: user() })
    }

    fn is_hidden(self) -> bool {
        matches!(self, Self::Here(adapter) if adapter.is_hidden())
    }

    fn room_of(self, target: &Target) -> Room {
        match target {
            Target::Socket(id) => Room::Owned(id.as_str().to_owned()),
            Target::User(user) => Room::Owned(self.node().user_room(user)),
            Target::Authenticated => Room::Borrowed(AUTHENTICATED),
            // Ids are rooms, too, and a version 2 client uses the id that it knows.
            Target::Room(room) => match self {
                Self::Here(adapter) => adapter.own_room_or(room.clone()),
                Self::Elsewhere { .. } => room.clone(),
            },
        }
    }
}
