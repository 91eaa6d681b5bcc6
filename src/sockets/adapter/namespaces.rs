//! The namespaces of this node, and how those of a pattern (`/chat/{room}`) come and go.
//!
//! socketioxide makes such a namespace for the first CONNECT to it, from any client. Other nodes
//! and operators hear of it when a socket enters. It is removed after it has been empty for a
//! while; otherwise each reload of a page would cost Redis its subscriptions.
//!
//! A CONNECT may be on its way into a namespace that is being removed, or that another thread has
//! just made a second time. Its socket would be in a namespace that no packet finds.
//! [`Adapters::enter`] notices the first case, and [`Adapter::retire`] makes good the second. Both
//! cut the connection, so that the client comes back to the present namespace.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use socketioxide::{SocketIo, handler::FromConnectParts, socket::Socket as RawSocket};
use socketioxide_core::{Sid, Str, adapter::Room};

use super::{Adapter, ids::transport_of, interest, recovering::RecoveryCounts, stage::LINGERING};
use crate::{
    cluster::{
        message::{Message, Selection},
        peers::Peers,
    },
    edge::Hop,
    fault::{Code, Fault},
    id::SocketId,
    recovery::Pid,
    sockets::{
        node::Node,
        roaming::{self, Release, Released, Shared},
    },
};

/// The time between two looks at what recovery keeps.
const RECOVERY_PERIOD: Duration = Duration::from_secs(1);

/// The adapters of all namespaces of this node.
#[derive(Default)]
pub(crate) struct Adapters {
    by_namespace: RwLock<HashMap<Str, Arc<Adapter>>>,
    /// The number of namespaces of patterns.
    of_patterns: AtomicUsize,
    peers: OnceLock<Arc<Peers>>,
    marks: OnceLock<MarkSink>,
}

/// Told of each mark of another node.
type MarkSink = Box<dyn Fn(u64) + Send + Sync>;

impl Adapters {
    pub(crate) fn get(&self, namespace: &str) -> Option<Arc<Adapter>> {
        self.by_namespace.read().get(namespace).cloned()
    }

    /// Sets the way to the other nodes. Without it this node is alone.
    pub(crate) fn set_peers(&self, peers: Option<Arc<Peers>>) {
        if let Some(peers) = peers {
            // Called once, when the server is built.
            let _ = self.peers.set(peers);
        }
    }

    /// Tells marks of other nodes from now on. Called once, when the server is built.
    pub(crate) fn tell_marks(&self, sink: impl Fn(u64) + Send + Sync + 'static) {
        let _ = self.marks.set(Box::new(sink));
    }

    /// A mark of another node has come.
    pub(crate) fn heard_mark(&self, mark: u64) {
        if let Some(tell) = self.marks.get() {
            tell(mark);
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

    /// The namespaces that a socket has entered, and those that always exist.
    pub(crate) fn all(&self) -> Vec<Arc<Adapter>> {
        self.by_namespace.read().values().filter(|adapter| adapter.is_open()).cloned().collect()
    }

    /// Whether this connection has a socket in any namespace.
    pub(super) fn know(&self, sid: Sid) -> bool {
        self.by_namespace.read().values().any(|adapter| adapter.members.read().has(sid))
    }

    /// The number of namespaces, including those that a socket is asking to enter. A hidden one is
    /// not counted.
    pub(crate) fn len(&self) -> usize {
        self.by_namespace.read().values().filter(|adapter| !adapter.hidden).count()
    }

    /// The number of sockets; a client in two namespaces counts twice. Those of a hidden namespace
    /// do not count.
    pub(crate) fn socket_count(&self) -> usize {
        let adapters = self.by_namespace.read();
        adapters.values().filter(|adapter| !adapter.hidden).map(|adapter| adapter.len()).sum()
    }

    /// Stops listening to rooms that became empty, and listens to rooms that were joined past our
    /// API, until the node stops.
    pub(crate) async fn look_after_interest(self: Arc<Self>, node: Arc<Node>) {
        let mut tick = tokio::time::interval(interest::PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while node.stop.run_until_cancelled(tick.tick()).await.is_some() {
            for adapter in self.all() {
                adapter.look_after_interest();
            }
        }
    }

    /// Ends sessions whose time is over, and forgets old events, until the node stops.
    pub(crate) async fn look_after_recovery(self: Arc<Self>, node: Arc<Node>) {
        let mut tick = tokio::time::interval(RECOVERY_PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while node.stop.run_until_cancelled(tick.tick()).await.is_some() {
            let adapters: Vec<_> = self.by_namespace.read().values().cloned().collect();
            for adapter in adapters {
                adapter.look_after_recovery(Instant::now());
            }
        }
    }

    /// The recovery's numbers of all namespaces.
    pub(crate) fn recovery_counts(&self) -> RecoveryCounts {
        let adapters: Vec<_> = self.by_namespace.read().values().cloned().collect();
        let counts = adapters.iter().map(|adapter| adapter.recovery_counts());
        counts.fold(RecoveryCounts::default(), |sum, it| RecoveryCounts {
            entries: sum.entries + it.entries,
            bytes: sum.bytes + it.bytes,
            kept: sum.kept + it.kept,
            age: sum.age.max(it.age),
        })
    }

    /// Lets sessions go when other nodes ask for them, from now on.
    pub(crate) fn release_for(self: &Arc<Self>, hop: &Hop) {
        let adapters = Arc::downgrade(self);
        hop.answer_with(roaming::RELEASE, move |question: Release| {
            let adapters = adapters.clone();
            async move {
                let (namespace, pid) = question.session()?;
                let adapter = adapters.upgrade().and_then(|adapters| adapters.get(&namespace));
                match adapter {
                    // On a task of its own, so that it ends whatever becomes of the question.
                    Some(adapter) => tokio::spawn(adapter.release(pid)).await.ok(),
                    None => Some(Released::Nothing),
                }
            }
        });
    }

    /// A session of this node as it is now, with its turn.
    pub(crate) fn shared(&self, namespace: &str, pid: &Pid) -> Option<(Shared, u64)> {
        self.get(namespace)?.shared(pid)
    }

    /// Another node has this session now.
    pub(crate) fn have_lost(&self, namespace: &str, pid: &Pid) {
        if let Some(adapter) = self.get(namespace) {
            adapter.has_lost(pid);
        }
    }

    /// Lists an adapter and calls `listed` in the same step, so that we and socketioxide always
    /// have the same one.
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

    /// A socket asks to enter. Its namespace stays at least for as long as the result lives.
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
        let limit = adapter.node.limits().max_namespaces;
        let is_new = !adapter.is_open();
        if limit > 0 && is_new && self.of_patterns.load(Ordering::Relaxed) > limit {
            entering.leave_nothing();
            let message = format!("this node has {limit} namespaces, which is as many as it may");
            return Err(Fault::new(Code::Unavailable, message));
        }
        Ok(entering)
    }

    /// Removes a namespace of a pattern if no socket is in it or asks to enter.
    pub(super) fn remove_if_empty(&self, adapter: &Arc<Adapter>, io: &SocketIo<Adapter>) {
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

/// A socket that asks to enter a namespace.
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

    /// Removes a namespace at once that was made for this socket.
    pub(crate) fn leave_nothing(&mut self) {
        self.at_once = true;
    }

    /// The server to tell when the socket leaves again.
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
