//! The adapter as socketioxide calls it: operations of its own types, reached through `raw`.

use std::{
    convert::Infallible,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use socketioxide::adapter::Emitter;
use socketioxide_core::adapter::{
    BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, Room, RoomParam,
    SocketEmitter, errors::BroadcastError,
};
use socketioxide_core::packet::{Packet, PacketData};

use super::{Adapter, State, interest::Interest, recovering::Recovering, rooms::RawUse};
use crate::cluster::{message::Flags, peers::Peers};

impl DefinedAdapter for Adapter {}

impl CoreAdapter<Emitter> for Adapter {
    type Error = Infallible;
    type State = State;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(state: &State, local: CoreLocalAdapter<Emitter>) -> Self {
        let interest = |peers: &Arc<Peers>| {
            (!peers.hears_all()).then(|| Interest::new(local.path(), peers.clone()))
        };
        let is_real = *state.farewell != **local.path();
        let peers = state.peers.clone().filter(|_| is_real);
        let hidden = state.hidden.as_deref() == Some(local.path().as_str());
        let has_gateway = state.paths.has(local.path());
        let recovery = state.node.recovery().filter(|_| is_real && has_gateway && !hidden);
        let is_ordered = peers.as_ref().is_some_and(|peers| peers.is_ordered());
        let new = |recovery| Recovering::new(recovery, local.path(), is_ordered);
        let recovering = recovery.map(new);
        Self {
            node: state.node.clone(),
            adapters: if is_real { Arc::downgrade(&state.adapters) } else { Weak::new() },
            members: RwLock::default(),
            interest: peers.as_ref().and_then(interest),
            peers,
            hidden,
            has_gateway,
            is_of_pattern: state.paths.is_of_pattern(local.path()),
            stage: Mutex::default(),
            retired: AtomicBool::new(false),
            entering: AtomicUsize::new(0),
            lingers: AtomicBool::new(false),
            raw: RawUse::default(),
            recovering,
            local,
        }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) -> Self::InitRes {
        match self.adapters.upgrade() {
            Some(adapters) => adapters.list(&self, on_success),
            None => on_success(),
        }
        // Done last, for a node that is counted has to answer.
        if !self.is_of_pattern {
            self.open();
        }
    }

    async fn broadcast(
        &self,
        packet: Packet,
        options: BroadcastOptions,
    ) -> Result<(), BroadcastError> {
        if let PacketData::Event(value, None) | PacketData::BinaryEvent(value, None) = &packet.inner
            && self.comes_back(&options)
            && let Some(this) = self.itself()
        {
            this.submit(value, options, None, None);
            return Ok(());
        }
        let under_way = self.under_way();
        let numbered = self.peers.as_ref().filter(|_| under_way.is_some());
        let number = numbered.map(|peers| peers.next_number());
        if let PacketData::Event(value, _) | PacketData::BinaryEvent(value, _) = &packet.inner {
            let others = self.peers.as_ref().zip(self.elsewhere(&options));
            if let Some((peers, to)) = others {
                let flags = Flags { number, ..Flags::of(&options, None) };
                peers.broadcast(self.namespace(), value, &to, flags);
            }
        }
        match (&self.recovering, packet.inner) {
            (
                Some(recovering),
                PacketData::Event(value, None) | PacketData::BinaryEvent(value, None),
            ) => {
                let id = numbered.zip(number).map(|(peers, number)| peers.event_id(number));
                self.deliver_logged(recovering, value, options, id);
            }
            (_, inner) => {
                self.deliver(Packet { inner, ns: packet.ns }, options);
            }
        }
        Ok(())
    }

    // socketioxide's stream names the answering socket, and other nodes do not tell it. So this
    // asks the sockets of this node, and `Emitter::emit_with_ack` asks the whole cluster.
    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        options: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Infallible> {
        Ok(self.local.broadcast_with_ack(packet, options, timeout).0)
    }

    async fn add_sockets(
        &self,
        options: BroadcastOptions,
        rooms: impl RoomParam,
    ) -> Result<(), Infallible> {
        let rooms: Vec<Room> = rooms.into_room_iter().collect();
        match self.itself() {
            Some(this) => this.join_all(options, rooms),
            None => self.join_here(&options, &rooms, None),
        }
        Ok(())
    }

    async fn del_sockets(
        &self,
        options: BroadcastOptions,
        rooms: impl RoomParam,
    ) -> Result<(), Infallible> {
        let rooms: Vec<Room> = rooms.into_room_iter().collect();
        match self.itself() {
            Some(this) => this.leave_all(options, rooms),
            None => self.leave_here(&options, &rooms, None),
        }
        Ok(())
    }

    async fn disconnect_socket(&self, options: BroadcastOptions) -> Result<(), BroadcastError> {
        match self.itself() {
            Some(this) => this.disconnect_all(options, false),
            None => self.disconnect_here(&options, false, None),
        };
        Ok(())
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        self.raw.handed_out();
        &self.local
    }
}
