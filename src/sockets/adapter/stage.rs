//! The life of one namespace: whether others know of it, and its end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use socketioxide::{SocketIo, socket::Socket as RawSocket};
use socketioxide_core::{Sid, adapter::Room};

use super::Adapter;
use crate::{
    edge::KillReason,
    fault::{Code, Fault},
};

/// How long an empty namespace of a pattern stays.
pub(super) const LINGERING: Duration = Duration::from_secs(1);

/// A room that exists only while we check whether a socket and an adapter belong together.
const PROBE: Room = Room::Borrowed("\0probe");

/// Whether others know of a namespace.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// No socket has entered yet.
    #[default]
    New,
    Open,
    /// The namespace does not exist any more, or another one has its name.
    Retired,
}

impl Adapter {
    /// Whether a socket has entered, or none needs to.
    pub(super) fn is_open(&self) -> bool {
        *self.stage.lock() == Stage::Open
    }

    /// Whether it is no longer the adapter of its namespace.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Cuts the connection of a socket whose namespace is gone. The client comes back by itself,
    /// which it would not do after a refusal.
    pub(crate) fn just_removed(&self, sid: Sid) -> Fault {
        self.node.transports().kill(sid, KillReason::Removed);
        Fault::new(Code::Unavailable, "the namespace has just been removed")
    }

    /// Cuts the connection of a socket whose session was ended while it came back. The client
    /// connects anew by itself.
    pub(crate) fn has_just_ended(&self, sid: Sid) -> Fault {
        self.node.transports().kill(sid, KillReason::Removed);
        Fault::new(Code::Unavailable, "the session has just been ended")
    }

    /// The adapter that has replaced this one, if there is one.
    pub(crate) fn successor(&self) -> Option<Arc<Self>> {
        self.adapters.upgrade()?.get(self.namespace())
    }

    fn has_sockets(&self) -> bool {
        self.entering.load(Ordering::Acquire) + self.len() > 0
    }

    /// Whether nobody is here, and nobody may come back.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_sockets() && !self.has_kept()
    }

    /// The other nodes count this one from now on.
    pub(super) fn open(&self) {
        let mut stage = self.stage.lock();
        if *stage == Stage::New {
            *stage = Stage::Open;
            if let Some(peers) = &self.peers {
                peers.serve(self.namespace());
            }
        }
    }

    /// The namespace is gone. Its sockets are cut off, to come back to the present one.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        let was = std::mem::replace(&mut *self.stage.lock(), Stage::Retired);
        if let Some(interest) = &self.interest {
            interest.close();
        }
        if let (Stage::Open, Some(peers)) = (was, &self.peers) {
            peers.unserve(self.namespace());
        }
        // Not under the lock, for a leaving socket takes it.
        let sockets = self.members.read().sockets();
        for socket in sockets {
            self.node.transports().kill(socket.id, KillReason::Removed);
            // The end of the connection does not find the socket in a removed namespace. The packet
            // that this sends finds no way to the client.
            let _ = socket.disconnect();
        }
    }

    /// Whether the socket is in the namespace of this adapter. socketioxide does not tell, but a
    /// socket's rooms are those of its own adapter.
    pub(super) fn is_adapter_of(&self, socket: &RawSocket<Self>) -> bool {
        self.local.add_all(socket.id, PROBE);
        let belongs = socket.rooms().contains(&PROBE);
        if belongs {
            self.explain_hand_out();
        }
        self.local.del(socket.id, PROBE);
        belongs
    }

    /// A socket has left, or was refused. After the last one the namespace is removed.
    pub(crate) fn vacated(self: &Arc<Self>, io: &SocketIo<Self>, lingering: Duration) {
        if !self.is_of_pattern || self.has_sockets() {
            return;
        }
        let Some(adapters) = self.adapters.upgrade() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return adapters.remove_if_empty(self, io);
        };
        if lingering.is_zero() {
            return adapters.remove_if_empty(self, io);
        }
        // One task for each namespace, however many sockets leave meanwhile.
        if self.lingers.swap(true, Ordering::AcqRel) {
            return;
        }
        let (adapter, io, adapters) = (self.clone(), io.clone(), Arc::downgrade(&adapters));
        runtime.spawn(async move {
            tokio::time::sleep(lingering).await;
            // As long as clients may come back to it.
            while !adapter.has_sockets() && adapter.has_kept() {
                let end = adapter.next_kept_end().unwrap_or_else(Instant::now);
                tokio::time::sleep_until((end + lingering).into()).await;
                adapter.look_after_recovery(Instant::now());
            }
            // Before the check, so that a socket that leaves right after it starts another task.
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
