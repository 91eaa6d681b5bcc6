//! The frames that wait for one client past the engine: how they come in, and how its stream takes
//! them.

use std::sync::atomic::Ordering;

use super::Load;
use crate::edge::outgoing::{Chunk, Fence, Frame, Way};

/// The fate of a frame for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is on its way.
    Appended,
    /// It is on its way, but too much waits on this node.
    NodeFull,
    /// Too much waits for this client.
    Full,
    /// The client is not ready for a volatile frame.
    Busy,
    /// The packet has to go through the engine. The frame is not counted.
    ThroughEngine,
    /// The connection has ended.
    Gone,
}

impl Load {
    /// Appends a frame for this client and for `targets` clients in all, past the engine. What may
    /// still be in the engine's queue stays before it: `mark` puts the marker of a fence there, and
    /// returns whether it could.
    pub(crate) fn send(
        &self,
        frame: &Frame,
        targets: usize,
        is_volatile: bool,
        mark: impl FnOnce(Fence) -> bool,
    ) -> Sent {
        let size = frame.size();
        let share = if frame.is_copied() { size.bytes } else { size.bytes / targets.max(1) };
        let mut has_come = false;
        let sent = self.change(|state, bounds| {
            match state.outgoing.way {
                Way::Engine => return Sent::ThroughEngine,
                Way::Closed => return Sent::Gone,
                Way::Direct | Way::Behind => {}
            }
            if is_volatile && state.packets > 0 {
                return Sent::Busy;
            }
            if !state.has_room(size, bounds) || state.packets >= bounds.packets {
                return Sent::Full;
            }
            // Before the marker: the engine's task may take it at once, and looks for markers only if
            // something waits here.
            let had_outgoing = self.has_outgoing.swap(true, Ordering::SeqCst);
            if state.outgoing.way == Way::Behind {
                let fence = state.outgoing.fence();
                if !mark(fence) {
                    state.outgoing.passed(fence);
                    self.has_outgoing.store(!state.outgoing.is_empty(), Ordering::SeqCst);
                    return Sent::ThroughEngine;
                }
                state.outgoing.way = Way::Direct;
            }
            state.waits(size, share);
            state.outgoing.append(frame);
            has_come = !had_outgoing;
            Sent::Appended
        });
        if has_come && !self.is_reader_awake.load(Ordering::SeqCst) {
            self.reader.wake();
        }
        match sent {
            Sent::Appended if self.is_node_full() => Sent::NodeFull,
            sent => sent,
        }
    }

    /// Whether frames can be appended past the engine. Once this is so it stays.
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        self.is_direct.load(Ordering::Acquire)
    }

    /// Runs `queue`, which puts packets into the engine's queue. Later frames stay behind these.
    pub(crate) fn through_engine<T>(&self, queue: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        let queued = queue();
        if state.outgoing.way == Way::Direct {
            state.outgoing.way = Way::Behind;
        }
        queued
    }

    /// Frames that are appended from now on wait until the fence is [`passed`](Self::passed).
    /// `None` if none are appended yet.
    pub(in crate::edge) fn fence(&self) -> Option<Fence> {
        let mut state = self.state.lock();
        let is_open = matches!(state.outgoing.way, Way::Direct | Way::Behind);
        is_open.then(|| {
            self.has_outgoing.store(true, Ordering::SeqCst);
            state.outgoing.fence()
        })
    }

    /// The engine's frames before this place have been taken from it.
    pub(in crate::edge) fn passed(&self, fence: Fence) {
        let mut state = self.state.lock();
        state.outgoing.passed(fence);
        self.has_outgoing.store(!state.outgoing.is_empty(), Ordering::SeqCst);
    }

    /// Whether frames wait past the engine, or a fence is not passed.
    #[inline]
    pub(in crate::edge) fn has_outgoing(&self) -> bool {
        self.has_outgoing.load(Ordering::SeqCst)
    }

    /// Whether the engine's frames have to be looked at for a marker.
    pub(in crate::edge) fn is_fenced(&self) -> bool {
        self.has_outgoing() && self.state.lock().outgoing.is_fenced()
    }

    /// What is written to the client next, if no fence is before it.
    pub(in crate::edge) fn take_outgoing(&self) -> Option<Chunk> {
        let mut state = self.state.lock();
        let chunk = state.outgoing.take();
        if state.outgoing.is_empty() {
            self.has_outgoing.store(false, Ordering::SeqCst);
        }
        chunk
    }

    /// The stream takes frames past the engine from now on. If the client polled before, packets
    /// may be in the engine's queue.
    pub(in crate::edge) fn open_outgoing(&self, has_polled: bool) {
        let way = if has_polled { Way::Behind } else { Way::Direct };
        self.state.lock().outgoing.way = way;
        self.is_direct.store(true, Ordering::Release);
    }

    /// The stream has ended.
    pub(in crate::edge) fn close_outgoing(&self) {
        self.change(|state, _| state.outgoing.close());
        self.has_outgoing.store(false, Ordering::SeqCst);
    }

    /// The reading side is about to sleep, or to work: then it looks for waiting frames itself. Returns
    /// whether it was at work.
    #[inline]
    pub(in crate::edge) fn reader_is_awake(&self, is_awake: bool) -> bool {
        self.is_reader_awake.swap(is_awake, Ordering::SeqCst)
    }
}
