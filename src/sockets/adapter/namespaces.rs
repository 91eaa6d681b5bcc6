//! The namespaces of this node, and how those of a pattern (`/chat/{room}`) come and go.
//!
//! socketioxide makes such a namespace for the first CONNECT to it, whoever sends it. Other nodes and
//! operators hear of it when a socket is let in; it is removed when it has been empty for a while.
//! Without the while, a page that is loaded again would cost Redis its subscriptions each time.
//!
//! A CONNECT can be on its way into a namespace that is being removed, or that another thread has just
//! made a second time. Its socket would then be in a namespace that no packet finds. [`Adapters::enter`]
//! notices the first, [`Adapter::retire`] makes good the second; both cut the connection, so that the
//! client comes back to the namespace that there is.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use socketioxide::{SocketIo, handler::FromConnectParts, socket::Socket as RawSocket};
use socketioxide_core::{Sid, Str, adapter::Room};

use super::{Adapter, ids::transport_of, interest};
use crate::{
    cluster::{
        message::{Message, Selection},
        peers::Peers,
    },
    edge::KillReason,
    fault::{Code, Fault},
    id::SocketId,
    sockets::node::Context,
};

/// How long a namespace of a pattern stays when nobody is in it any more.
const LINGERING: Duration = Duration::from_secs(1);

/// A room for the instant in which it is found out whether a socket and an adapter belong together.
const PROBE: Room = Room::Borrowed("\0probe");

/// The adapters of all namespaces of this node.
#[derive(Default)]
pub(crate) struct Adapters {
    by_namespace: RwLock<HashMap<Str, Arc<Adapter>>>,
    /// How many of them are of patterns.
    of_patterns: AtomicUsize,
    peers: OnceLock<Arc<Peers>>,
}

impl Adapters {
    pub(crate) fn get(&self, namespace: &str) -> Option<Arc<Adapter>> {
        self.by_namespace.read().get(namespace).cloned()
    }

    /// Names the way to the other nodes; without it this node is alone.
    pub(crate) fn set_peers(&self, peers: Option<Arc<Peers>>) {
        if let Some(peers) = peers {
            // Said once, when the server is built.
            let _ = self.peers.set(peers);
        }
    }

    /// Disconnects a socket from its namespace, if it is still there, on whatever node.
    pub(crate) fn disconnect(&self, namespace: &str, id: SocketId) {
        let here = self.get(namespace).and_then(|adapter| Some((adapter.socket(id)?, adapter)));
        if let Some((socket, adapter)) = here {
            adapter.disconnect(socket, false);
        } else if let Some(peers) = self.peers.get() {
            let rooms = vec![Room::Owned(id.as_str().to_owned())];
            let to = Selection { rooms, except: Vec::new() };
            peers.say(namespace, &Message::Disconnect { to, close: false });
        }
    }

    /// The transport of a socket of this node.
    pub(crate) fn transport(&self, namespace: &str, id: SocketId) -> Option<&'static str> {
        Some(transport_of(&*self.get(namespace)?.socket(id)?))
    }

    /// The namespaces that somebody has been let into, and those that are always there.
    pub(crate) fn all(&self) -> Vec<Arc<Adapter>> {
        self.by_namespace.read().values().filter(|adapter| adapter.is_open()).cloned().collect()
    }

    /// Whether this connection has a socket in any of them.
    pub(super) fn know(&self, sid: Sid) -> bool {
        self.by_namespace.read().values().any(|adapter| adapter.members.read().has(sid))
    }

    /// How many namespaces there are, those included that a socket is asking to be let into. A
    /// hidden one is not counted.
    pub(crate) fn len(&self) -> usize {
        self.by_namespace.read().values().filter(|adapter| !adapter.hidden).count()
    }

    /// How many sockets there are, a client in two namespaces counted twice. Those of a hidden
    /// namespace are nobody's.
    pub(crate) fn socket_count(&self) -> usize {
        let adapters = self.by_namespace.read();
        adapters.values().filter(|adapter| !adapter.hidden).map(|adapter| adapter.len()).sum()
    }

    /// Unlistens to rooms that became empty and listens to those that were joined past our API,
    /// until the node stops.
    pub(crate) async fn look_after_interest(self: Arc<Self>, context: Arc<Context>) {
        let mut tick = tokio::time::interval(interest::PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while context.stop.run_until_cancelled(tick.tick()).await.is_some() {
            for adapter in self.all() {
                adapter.look_after_interest();
            }
        }
    }

    /// Lists an adapter and calls `listed` in the same step, so that we and socketioxide always name
    /// the same one.
    pub(super) fn list(&self, adapter: &Arc<Adapter>, listed: impl FnOnce()) {
        let before = {
            let mut adapters = self.by_namespace.write();
            let before = adapters.insert(adapter.namespace().clone(), adapter.clone());
            if adapter.is_of_pattern && before.is_none() {
                self.of_patterns.fetch_add(1, Ordering::Relaxed);
            }
            listed();
            before
        };
        if let Some(before) = before {
            before.retire();
        }
    }

    /// A socket asks to be let in. Its namespace stays at least for as long as the answer lives.
    ///
    /// # Errors
    /// `unavailable` if there are too many namespaces, or this one has just been removed.
    pub(crate) fn enter(&self, socket: &Arc<RawSocket<Adapter>>) -> Result<Entering, Fault> {
        let mut entering = {
            let adapters = self.by_namespace.read();
            let adapter = adapters.get(socket.ns()).ok_or_else(Fault::internal)?;
            // Under the lock, so that it is not removed in between.
            adapter.entering.fetch_add(1, Ordering::AcqRel);
            Entering { adapter: adapter.clone(), io: io_of(socket), at_once: false }
        };
        let adapter = entering.adapter.clone();
        if !adapter.is_of_pattern {
            return Ok(entering);
        }
        if !adapter.is_adapter_of(socket) {
            return Err(adapter.just_removed(socket.id));
        }
        let limit = adapter.context.limits().max_namespaces;
        let is_new = !adapter.is_open();
        if limit > 0 && is_new && self.of_patterns.load(Ordering::Relaxed) > limit {
            entering.leave_nothing();
            let message = format!("this node has {limit} namespaces, which is as many as it may");
            return Err(Fault::new(Code::Unavailable, message));
        }
        Ok(entering)
    }

    /// Removes a namespace of a pattern if nobody is in it or asks to be let in.
    fn remove_if_empty(&self, adapter: &Arc<Adapter>, io: &SocketIo<Adapter>) {
        {
            let mut adapters = self.by_namespace.write();
            let namespace = adapter.namespace();
            let is_listed =
                adapters.get(namespace).is_some_and(|listed| Arc::ptr_eq(listed, adapter));
            if !is_listed || !adapter.is_empty() {
                return;
            }
            adapters.remove(namespace);
            self.of_patterns.fetch_sub(1, Ordering::Relaxed);
            io.delete_ns(namespace.as_str());
        }
        adapter.retire();
    }
}

/// A socket that asks to be let into a namespace.
pub(crate) struct Entering {
    adapter: Arc<Adapter>,
    io: SocketIo<Adapter>,
    /// The namespace does not linger.
    at_once: bool,
}

impl Entering {
    pub(crate) fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }

    /// A namespace that was made for it is removed at once.
    pub(crate) fn leave_nothing(&mut self) {
        self.at_once = true;
    }

    /// What has to be told when the socket leaves again.
    pub(crate) fn server(&self) -> &SocketIo<Adapter> {
        &self.io
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.adapter.entering.fetch_sub(1, Ordering::AcqRel);
        self.adapter.vacated(&self.io, if self.at_once { Duration::ZERO } else { LINGERING });
    }
}

fn io_of(socket: &Arc<RawSocket<Adapter>>) -> SocketIo<Adapter> {
    match SocketIo::from_connect_parts(socket, &None) {
        Ok(io) => io,
        Err(never) => match never {},
    }
}

/// Whether others know of a namespace.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody has been let in yet.
    #[default]
    New,
    Open,
    /// There is no such namespace any more, or another one of its name.
    Retired,
}

impl Adapter {
    /// Whether somebody has been let in, or nobody needs to.
    fn is_open(&self) -> bool {
        *self.stage.lock() == Stage::Open
    }

    /// Whether it is no longer the adapter of its namespace.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Cuts the connection of a socket whose namespace is gone: its client comes back by itself,
    /// as it would not after a refusal.
    pub(crate) fn just_removed(&self, sid: Sid) -> Fault {
        self.context.transports().kill(sid, KillReason::Requested);
        Fault::new(Code::Unavailable, "the namespace has just been removed")
    }

    /// The adapter of the same namespace that is in its place, if there is one.
    pub(crate) fn successor(&self) -> Option<Arc<Self>> {
        self.adapters.upgrade()?.get(self.namespace())
    }

    fn is_empty(&self) -> bool {
        self.entering.load(Ordering::Acquire) == 0 && self.len() == 0
    }

    /// From now on the other nodes count this one.
    pub(super) fn open(&self) {
        let mut stage = self.stage.lock();
        if *stage == Stage::New {
            *stage = Stage::Open;
            if let Some(peers) = &self.peers {
                peers.serve(self.namespace());
            }
        }
    }

    /// Its namespace is gone. Whoever is in it is cut off, to come back to the one there is.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        let was = std::mem::replace(&mut *self.stage.lock(), Stage::Retired);
        if let Some(interest) = &self.interest {
            interest.close();
        }
        if let (Stage::Open, Some(peers)) = (was, &self.peers) {
            peers.unserve(self.namespace());
        }
        // Not under the lock, which a socket that leaves takes.
        let sockets = self.members.read().sockets();
        for socket in sockets {
            self.context.transports().kill(socket.id, KillReason::Requested);
            // The end of the connection does not find it in a namespace that is gone. The packet
            // that this sends finds no way to the client.
            let _ = socket.disconnect();
        }
    }

    /// Whether the socket is in the namespace of this adapter: socketioxide does not say it, but a
    /// socket's rooms are those of its own adapter.
    fn is_adapter_of(&self, socket: &RawSocket<Self>) -> bool {
        self.local.add_all(socket.id, PROBE);
        let belongs = socket.rooms().contains(&PROBE);
        if belongs {
            self.explain_hand_out();
        }
        self.local.del(socket.id, PROBE);
        belongs
    }

    /// Somebody has left, or was not let in. The last one leaves the namespace to be removed.
    pub(crate) fn vacated(self: &Arc<Self>, io: &SocketIo<Self>, lingering: Duration) {
        if !self.is_of_pattern || !self.is_empty() {
            return;
        }
        let Some(adapters) = self.adapters.upgrade() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return adapters.remove_if_empty(self, io);
        };
        if lingering.is_zero() {
            return adapters.remove_if_empty(self, io);
        }
        // One task for each namespace, however often it is left meanwhile.
        if self.lingers.swap(true, Ordering::AcqRel) {
            return;
        }
        let (adapter, io, adapters) = (self.clone(), io.clone(), Arc::downgrade(&adapters));
        runtime.spawn(async move {
            tokio::time::sleep(lingering).await;
            // Before looking: who leaves right after it starts another task.
            adapter.lingers.store(false, Ordering::Release);
            if let Some(adapters) = adapters.upgrade() {
                adapters.remove_if_empty(&adapter, &io);
            }
        });
    }

    /// [`vacated`](Self::vacated), for a socket that was in it.
    pub(crate) fn left_by_one(self: &Arc<Self>, io: &SocketIo<Self>) {
        self.vacated(io, LINGERING);
    }
}
