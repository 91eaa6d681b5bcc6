//! A socket's place in its namespace: what its events and its end come to, and how it is undone.

use std::sync::Arc;

use socketioxide::{
    SocketIo,
    handler::{DisconnectHandler, MessageHandler},
    socket::{DisconnectReason, Socket as RawSocket},
};
use socketioxide_core::Value;

use super::{Entrance, Parts};
use crate::{
    gateway::queue::Queue,
    payload::Payload,
    sockets::{adapter::Adapter, socket::Socket, watch::What},
    telemetry::meters::reason_name,
};

/// Undoes the entrance into a namespace, once; later calls change nothing. Without a reason the
/// socket was not in its namespace yet.
fn leave(socket: &Socket, parts: &Parts, reason: Option<DisconnectReason>) {
    let adapter = socket.adapter();
    let rooms = adapter.rooms_of(socket.sid());
    if !socket.mark_closed(rooms) {
        return;
    }
    let rooms = socket.rooms();
    let is_kept = adapter.recovers() && reason.map_or(socket.recovered(), may_return);
    let record = is_kept.then(|| socket.record());
    adapter.exit(socket.sid(), socket.weak_raw(), &rooms, record);
    if let Some(watch) = adapter.watch() {
        let id = socket.id();
        if let Some(reason) = reason.map(reason_name) {
            watch.tell(adapter.namespace(), What::Disconnected { id, reason });
        }
        for room in rooms {
            watch.tell(adapter.namespace(), What::Left { id, room });
        }
    }
    if let Some(inbox) = &parts.gateway.inbox {
        inbox.left(socket);
    }
    if let Some(user) = socket.user() {
        parts.around.directory.leave(&user, socket.namespace(), socket.id());
    }
}

/// Whether the client may come back to its session after a disconnect for this reason, as in
/// Node.js: nobody has ended it on purpose, and the client has made no mistake.
fn may_return(reason: DisconnectReason) -> bool {
    match reason {
        DisconnectReason::TransportClose
        | DisconnectReason::TransportError
        | DisconnectReason::MultipleHttpPollingError
        | DisconnectReason::HeartbeatTimeout
        | DisconnectReason::ClosingServer => true,
        DisconnectReason::PacketParsingError
        | DisconnectReason::ClientNSDisconnect
        | DisconnectReason::ServerNSDisconnect => false,
    }
}

/// A socket's place in its namespace. The socket itself holds it, so that it cannot outlive the
/// socket.
pub(super) struct Membership {
    pub(super) socket: Socket,
    pub(super) entrance: Entrance,
    pub(super) io: SocketIo<Adapter>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        leave(&self.socket, &self.entrance.0, None);
        self.socket.adapter().left_by_one(&self.io);
        let key = (self.socket.sid(), self.socket.namespace().into());
        let mut waiting = self.entrance.0.waiting.lock();
        if waiting.get(&key).is_some_and(|queue| queue.socket() == &self.socket) {
            waiting.remove(&key);
            // The socket was gone before it could be told, and socketioxide has removed it.
            self.socket.adapter().explain_hand_out();
        }
    }
}

/// Called by socketioxide for each event of the socket, on the transport's read task.
pub(super) struct Receive {
    pub(super) queue: Arc<Queue>,
    pub(super) _membership: Membership,
}

impl MessageHandler<Adapter, ()> for Receive {
    fn call(&self, _: Arc<RawSocket<Adapter>>, value: Value, ack_id: Option<i64>) {
        self.queue.push(Payload::received(value), ack_id);
    }
}

/// Called by socketioxide when the socket has left.
pub(super) struct Leave {
    pub(super) queue: Arc<Queue>,
    pub(super) entrance: Entrance,
    pub(super) io: SocketIo<Adapter>,
}

impl DisconnectHandler<Adapter, ()> for Leave {
    fn call_with_defer(
        &self,
        raw: Arc<RawSocket<Adapter>>,
        reason: DisconnectReason,
        remove: fn(Arc<RawSocket<Adapter>>),
    ) {
        let socket = self.queue.socket();
        tracing::debug!(
            socket.id = %socket.id(),
            namespace = socket.namespace(),
            user.id = socket.user().as_deref(),
            client.address = socket.peer_addr().map(tracing::field::display),
            reason = reason_name(reason),
            "socket disconnected"
        );
        let node = &self.entrance.0.around.node;
        if !socket.adapter().is_hidden() {
            node.meters().disconnected(reason);
        }
        if reason == DisconnectReason::HeartbeatTimeout {
            node.transports().timed_out(socket.sid());
        }
        leave(socket, &self.entrance.0, Some(reason));
        let ended = self.queue.ended(reason, raw.req_parts());
        // At once and not after the handlers: nothing is sent to a socket that has left.
        remove(raw);
        socket.adapter().explain_hand_out();
        socket.adapter().left_by_one(&self.io);
        self.queue.disconnected(ended);
    }
}
