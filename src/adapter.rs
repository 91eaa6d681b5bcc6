//! The one way out: every event and acknowledgement that leaves this node passes here.
//!
//! One adapter per namespace. It delivers to the sockets of this node through socketioxide's local
//! adapter, and cuts off a socket whose queue is full.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::RwLock;
use serde::{Serialize, Serializer};
use socketioxide::{SendError, SocketError, adapter::Emitter, socket::Socket};
use socketioxide_core::{
    Sid, Str,
    adapter::{
        BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, Room, SocketEmitter,
        errors::BroadcastError,
    },
    packet::Packet,
};

use crate::{
    context::Context,
    edge::KillReason,
    id::SocketId,
    payload::{Payload, PayloadError},
};

/// The adapters of all namespaces of this node.
#[derive(Default)]
pub(crate) struct Adapters(RwLock<HashMap<Str, Arc<Adapter>>>);

impl Adapters {
    pub(crate) fn get(&self, namespace: &str) -> Option<Arc<Adapter>> {
        self.0.read().get(namespace).cloned()
    }

    /// Disconnects a socket of this node from its namespace, if it is still there.
    pub(crate) fn disconnect(&self, namespace: &str, id: SocketId) {
        if let Some(adapter) = self.get(namespace)
            && let Some(socket) = adapter.socket(id.sid())
        {
            adapter.disconnect(socket, false);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Adapter>> {
        self.0.read().values().cloned().collect()
    }
}

/// What each adapter is made from.
#[doc(hidden)]
pub struct State {
    pub(crate) context: Arc<Context>,
    pub(crate) adapters: Arc<Adapters>,
}

/// The adapter of one namespace. Users of the library meet it only as the type parameter of
/// socketioxide's own types, through [`Session::raw`](crate::Session::raw).
pub struct Adapter {
    local: CoreLocalAdapter<Emitter>,
    context: Arc<Context>,
    adapters: Weak<Adapters>,
    sockets: RwLock<HashMap<Sid, Weak<Socket<Adapter>>>>,
}

impl Adapter {
    pub(crate) fn namespace(&self) -> &Str {
        self.local.path()
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Sends an event to the sockets that `options` select.
    pub(crate) fn emit(
        &self,
        payload: Payload,
        options: BroadcastOptions,
    ) -> Result<(), PayloadError> {
        let value = payload.into_wire(self.context.parser())?;
        self.deliver(Packet::event(self.local.path().clone(), value), options);
        Ok(())
    }

    /// Sends an acknowledgement to one socket.
    pub(crate) fn acknowledge(
        &self,
        sid: Sid,
        ack_id: i64,
        payload: Payload,
    ) -> Result<(), PayloadError> {
        let value = payload.into_wire(self.context.parser())?;
        let packet = Packet::ack(self.local.path().clone(), value, ack_id);
        self.deliver_to_one(packet, sid);
        Ok(())
    }

    /// Delivers to sockets of this node. A socket whose queue is full is cut off at the transport:
    /// a packet is never silently missing from an open connection.
    fn deliver(&self, packet: Packet, options: BroadcastOptions) {
        let targets = options.clone();
        let Err(errors) = self.local.broadcast(packet, options) else { return };
        if errors.iter().any(|error| matches!(error, SocketError::InternalChannelFull)) {
            self.cut_slow(targets);
        }
    }

    /// [`deliver`](Self::deliver) for one socket, without keeping the options for the rare failure.
    fn deliver_to_one(&self, packet: Packet, sid: Sid) {
        if self.local.broadcast(packet, BroadcastOptions::new(sid)).is_err() {
            self.cut_slow(BroadcastOptions::new(sid));
        }
    }

    /// The errors of a broadcast carry no ids, so each target is asked whether its queue is full.
    fn cut_slow(&self, options: BroadcastOptions) {
        for socket in self.sockets_of(options) {
            if is_queue_full(&socket) {
                self.context.wires().kill(socket.id, KillReason::SlowConsumer);
            }
        }
    }

    /// Disconnects a socket from the namespace; the client sees `io server disconnect`.
    pub(crate) fn disconnect(&self, socket: Arc<Socket<Self>>, close_transport: bool) {
        let sid = socket.id;
        // A full queue refuses the packet, and then the socket stays connected: cut it off instead.
        if socket.disconnect().is_err() {
            self.context.wires().kill(sid, KillReason::SlowConsumer);
        } else if close_transport {
            self.context.wires().kill(sid, KillReason::Requested);
        }
    }

    pub(crate) fn join(&self, sid: Sid, rooms: Vec<Room>) {
        self.local.add_all(sid, rooms);
    }

    pub(crate) fn leave(&self, sid: Sid, room: Room) {
        self.local.del(sid, room);
    }

    pub(crate) fn is_in(&self, sid: Sid, room: &str) -> bool {
        self.local.socket_rooms(sid).contains(room)
    }

    pub(crate) fn rooms_of(&self, sid: Sid) -> Vec<Room> {
        self.local.socket_rooms(sid).into_iter().collect()
    }

    /// Makes a socket known that is about to be let in.
    pub(crate) fn enter(&self, socket: &Arc<Socket<Self>>) {
        self.sockets.write().insert(socket.id, Arc::downgrade(socket));
    }

    /// Forgets a socket; another one that has taken its id since stays.
    pub(crate) fn exit(&self, sid: Sid, socket: &Weak<Socket<Self>>) {
        let mut sockets = self.sockets.write();
        if sockets.get(&sid).is_some_and(|known| known.ptr_eq(socket)) {
            sockets.remove(&sid);
        }
    }

    /// How many sockets are in the namespace on this node.
    pub(crate) fn len(&self) -> usize {
        self.sockets.read().len()
    }

    fn socket(&self, sid: Sid) -> Option<Arc<Socket<Self>>> {
        self.sockets.read().get(&sid).and_then(Weak::upgrade)
    }

    /// The sockets of this node that `options` select.
    pub(crate) fn sockets_of(&self, options: BroadcastOptions) -> Vec<Arc<Socket<Self>>> {
        let targets = self.local.sockets(options);
        let sockets = self.sockets.read();
        targets.iter().filter_map(|sid| sockets.get(sid).and_then(Weak::upgrade)).collect()
    }
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adapter").field("namespace", &self.local.path().as_str()).finish()
    }
}

/// Whether the socket's queue is full, without sending anything: `emit` reserves a place in the
/// queue before it serializes, and gives it back when that fails.
fn is_queue_full(socket: &Socket<Adapter>) -> bool {
    struct Unserializable;
    impl Serialize for Unserializable {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("a probe, never sent"))
        }
    }
    let probe = socket.emit("", &Unserializable);
    matches!(probe, Err(SendError::Socket(SocketError::InternalChannelFull)))
}

impl DefinedAdapter for Adapter {}

// What socketioxide's own operators do, reached through the escape hatch, comes in here.
impl CoreAdapter<Emitter> for Adapter {
    type Error = Infallible;
    type State = State;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(state: &State, local: CoreLocalAdapter<Emitter>) -> Self {
        Self {
            local,
            context: state.context.clone(),
            adapters: Arc::downgrade(&state.adapters),
            sockets: RwLock::default(),
        }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) -> Self::InitRes {
        if let Some(adapters) = self.adapters.upgrade() {
            adapters.0.write().insert(self.local.path().clone(), self.clone());
        }
        on_success();
    }

    async fn broadcast(
        &self,
        packet: Packet,
        options: BroadcastOptions,
    ) -> Result<(), BroadcastError> {
        self.deliver(packet, options);
        Ok(())
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        options: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Infallible> {
        Ok(self.local.broadcast_with_ack(packet, options, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}
