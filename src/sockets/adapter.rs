//! The sockets of one namespace: delivery to those of this node, and messages to other nodes about
//! theirs.
//!
//! It delivers through socketioxide's local adapter, and cuts off a socket whose queue is full.
//! Messages that concern sockets of other nodes are passed on to them. Messages of other nodes come
//! in through `relay`.

mod by_engine;
mod concerned;
mod core;
mod delivery;
mod here;
mod hold;
mod holding;
mod ids;
mod interest;
mod members;
mod membership;
mod namespaces;
mod paths;
mod reach;
mod recovering;
mod rooms;
mod selection;
mod shown;
mod stage;
mod turns;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

pub(crate) use delivery::Delivered;
pub(crate) use ids::transport_of;
use interest::Interest;
use members::Members;
pub(crate) use namespaces::{Adapters, Entering};
use parking_lot::{Mutex, RwLock};
pub(crate) use paths::Paths;
use recovering::Recovering;
pub(crate) use recovering::{Claim, Lent, NewSession, RecoveryCounts, Return, Stays};
use rooms::RawUse;
use socketioxide::{adapter::Emitter, socket::Socket as RawSocket};
use socketioxide_core::{
    Sid, Str,
    adapter::{BroadcastFlags, BroadcastOptions, CoreLocalAdapter, Room},
    packet::Packet,
};
use stage::Stage;

use crate::{
    auth::Identity,
    cluster::{
        message::{Description, Message, Selection},
        peers::Peers,
    },
    edge::KillReason,
    id::SocketId,
    payload::{Payload, PayloadError},
    recovery::EventId,
    sockets::{node::Node, record::SocketRecord},
};

/// Time for the disconnect packet to travel, a polling client's next request included, before the
/// connection below it is cut.
const GOODBYE: Duration = Duration::from_millis(500);

/// Longest wait of a disconnect for events that were sent before it, and have not come back from
/// Redis yet.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a client without sockets may keep its connection after its last one was disconnected.
/// The official client closes it at once.
const LINGER: Duration = Duration::from_secs(5);

/// Describes a socket for other nodes.
pub(crate) trait Describe: Send + Sync {
    /// The socket as `fetchSockets` of Node.js shows it, without its rooms.
    fn describe(&self) -> Description;

    /// Whose socket it is.
    fn identity(&self) -> Identity;

    /// The socket as it can be written down, without its rooms.
    fn record(&self) -> SocketRecord;
}

/// The parts of each adapter.
#[doc(hidden)]
pub struct State {
    pub(crate) node: Arc<Node>,
    pub(crate) adapters: Arc<Adapters>,
    /// `None` for a node that stands alone.
    pub(crate) peers: Option<Arc<Peers>>,
    /// A namespace for operators, whose sockets are not shown, counted or watched.
    pub(crate) hidden: Option<Box<str>>,
    /// A namespace that exists for the engine alone, see [`farewell`](crate::sockets::farewell).
    pub(crate) farewell: Box<str>,
    pub(crate) paths: Arc<Paths>,
}

/// The adapter of one namespace. Users of the library meet it only as the type parameter of
/// socketioxide's own types, through [`Socket::raw`](crate::Socket::raw).
///
/// ```
/// use socketioxide::extract::SocketRef;
/// use switchboard::{Gateway, Socket, sockets::adapter::Adapter};
///
/// fn protocol(socket: &SocketRef<Adapter>) -> String {
///     format!("{:?}", socket.protocol())
/// }
///
/// let gateway = Gateway::new("/")
///     .on("protocol", async |socket: Socket| socket.raw().as_ref().map(protocol));
/// ```
pub struct Adapter {
    local: CoreLocalAdapter<Emitter>,
    node: Arc<Node>,
    adapters: Weak<Adapters>,
    members: RwLock<Members>,
    peers: Option<Arc<Peers>>,
    /// Also `None` if one pattern covers every room.
    interest: Option<Interest>,
    hidden: bool,
    has_gateway: bool,
    is_of_pattern: bool,
    stage: Mutex<Stage>,
    retired: AtomicBool,
    /// The number of sockets that ask to enter.
    entering: AtomicUsize,
    /// The namespace is empty, and a task waits for it to stay so.
    lingers: AtomicBool,
    raw: RawUse,
    /// `None`: sockets of this namespace do not recover.
    recovering: Option<Recovering>,
}

impl Adapter {
    pub(crate) fn namespace(&self) -> &Str {
        self.local.path()
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The way to the other nodes, if there are any.
    pub(crate) fn peers(&self) -> Option<&Arc<Peers>> {
        self.peers.as_ref()
    }

    /// Sends an encoded event to sockets of this node. `id` is its name among all nodes.
    pub(crate) fn deliver_here(
        &self,
        value: socketioxide_core::Value,
        options: BroadcastOptions,
        id: Option<EventId>,
    ) -> Delivered {
        self.show_sent(&value, &options);
        let delivered = match &self.recovering {
            Some(recovering) => self.deliver_logged(recovering, value, options, id),
            None => {
                let packet = Packet::event(self.local.path().clone(), value);
                self.deliver_at(packet, options, None, id)
            }
        };
        self.count_sent(delivered);
        delivered
    }

    fn count_sent(&self, delivered: Delivered) {
        if delivered.queued > 0 && !self.hidden {
            self.node.meters().events_sent.add(delivered.queued as u64);
        }
    }

    /// Itself as the node lists it. `None` once the node has ended, or without a gateway.
    fn itself(&self) -> Option<Arc<Self>> {
        self.adapters.upgrade()?.get(self.namespace())
    }

    /// Puts the selected sockets of all nodes into rooms.
    pub(crate) fn join_all(self: &Arc<Self>, options: BroadcastOptions, rooms: Vec<Room>) {
        let said = rooms.clone();
        let say = |to| Message::Join { to, rooms: said };
        self.change(options, say, move |it, options, at| it.join_here(options, &rooms, at));
    }

    /// Takes the selected sockets of all nodes out of rooms.
    pub(crate) fn leave_all(self: &Arc<Self>, options: BroadcastOptions, rooms: Vec<Room>) {
        let said = rooms.clone();
        let say = |to| Message::Leave { to, rooms: said };
        self.change(options, say, move |it, options, at| it.leave_here(options, &rooms, at));
    }

    /// Disconnects the selected sockets of all nodes. Returns the number of those of this node.
    pub(crate) fn disconnect_all(
        self: &Arc<Self>,
        options: BroadcastOptions,
        close_transport: bool,
    ) -> usize {
        let count = self.sids_of(&options).len();
        let say = |to| Message::Disconnect { to, close: close_transport };
        self.change(options, say, move |it, options, at| {
            it.disconnect_here(options, close_transport, at);
        });
        count
    }

    /// The selection of `options` on other nodes. `None` if it can only be sockets of this node.
    pub(crate) fn elsewhere(&self, options: &BroadcastOptions) -> Option<Selection> {
        if let [room] = options.rooms.as_slice()
            && self.is_own_room_of_a_socket_here(room)
        {
            return None;
        }
        let mut others = Selection::of_others(options)?;
        if let Some(sid) = options.sid
            && options.has_flag(BroadcastFlags::Broadcast)
            && let Some(id) = self.id_of(sid)
        {
            others.except.push(Room::Owned(id.as_str().to_owned()));
        }
        Some(others)
    }

    /// Sends an acknowledgement to one socket.
    pub(crate) fn acknowledge(
        &self,
        sid: Sid,
        ack_id: i64,
        payload: Payload,
    ) -> Result<(), PayloadError> {
        let value = payload.into_wire(self.node.parser())?;
        let packet = Packet::ack(self.local.path().clone(), value, ack_id);
        self.send_to_one(packet, sid, false, None);
        Ok(())
    }

    /// Disconnects a socket from the namespace. The client sees `io server disconnect`.
    /// What this node has sent to Redis before reaches it first, unless Redis takes too long.
    pub(crate) fn disconnect(
        self: &Arc<Self>,
        socket: Arc<RawSocket<Self>>,
        close_transport: bool,
    ) {
        self.cannot_recover(socket.id);
        let Some(all_sent) = self.turns().and_then(|turns| turns.all_before()) else {
            return self.disconnect_now(socket, close_transport);
        };
        let adapter = self.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(LAST_WORDS, all_sent).await;
            adapter.disconnect_now(socket, close_transport);
        });
    }

    fn disconnect_now(&self, socket: Arc<RawSocket<Self>>, close_transport: bool) {
        let sid = socket.id;
        // A full queue refuses the packet, and the socket would stay connected. So it is cut off
        // instead.
        if socket.disconnect().is_err() {
            self.node.transports().kill(sid, KillReason::SlowConsumer);
        } else {
            // The packet is queued, and cutting a connection drops its queue. Without the packet
            // the client would come back.
            let (node, adapters) = (self.node.clone(), self.adapters.clone());
            tokio::spawn(async move {
                tokio::time::sleep(if close_transport { GOODBYE } else { LINGER }).await;
                let has_sockets = || adapters.upgrade().is_some_and(|all| all.know(sid));
                if close_transport || !has_sockets() {
                    node.transports().kill(sid, KillReason::Requested);
                }
            });
        }
    }

    /// Sends the other nodes a message about the sockets that `options` select, if any may be
    /// theirs.
    pub(crate) fn tell(&self, options: &BroadcastOptions, say: impl FnOnce(Selection) -> Message) {
        if let Some(peers) = &self.peers
            && let Some(to) = self.elsewhere(options)
        {
            peers.say(self.namespace(), &say(to));
        }
    }

    /// How many sockets are in the namespace on this node.
    pub(crate) fn len(&self) -> usize {
        self.members.read().len()
    }

    fn socket(&self, id: SocketId) -> Option<Arc<RawSocket<Self>>> {
        let members = self.members.read();
        members.get(members.sid_of(id)?)?.socket.upgrade()
    }

    /// The sockets of this node that `options` select.
    pub(crate) fn sockets_of(&self, options: &BroadcastOptions) -> Vec<Arc<RawSocket<Self>>> {
        let targets = self.sids_of(options);
        let members = self.members.read();
        let targets = targets.into_iter().filter_map(|sid| members.get(sid));
        targets.filter_map(|member| member.socket.upgrade()).collect()
    }
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adapter").field("namespace", &self.local.path().as_str()).finish()
    }
}
