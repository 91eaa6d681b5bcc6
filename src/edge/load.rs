//! The memory that waits on this node because of one client: events for its handlers, and packets
//! that it has not taken.
//!
//! A [`Load`] only counts, and says when it is too much. Then the client is not read from, its
//! handlers pause, or it is cut. A [`Budget`] has the bounds, and the sum for the node.
//!
//! The sum is of memory: a packet for many clients exists once, so each of them has a share of it.
//! A client's own bound is of the bytes that it has to take.

mod sending;
mod state;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{reasons::KillReason, size::Size};
pub(crate) use sending::Sent;
use state::{Bounds, State};

/// The step in which a client's part enters the node's sum, in bytes. So small packets touch
/// nothing that the connections share.
const STEP: usize = 64 * 1024;

/// The bounds of waiting memory, and the amount on this node.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Packets that may wait for one client.
    packets: AtomicUsize,
    /// Bytes that may wait for one client.
    bytes: AtomicUsize,
    /// Bytes that may wait on this node. 0 means no limit.
    node: AtomicUsize,
    /// The sum of all clients, in [`STEP`]s.
    steps: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { packets: 8192.into(), bytes: 64_000_000.into(), node: 0.into(), steps: 0.into() }
    }
}

impl Budget {
    /// Sets new bounds: packets and bytes for each client, bytes for the node.
    pub(crate) fn set(&self, packets: usize, bytes: usize, node: usize) {
        self.packets.store(packets, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.node.store(node, Ordering::Relaxed);
    }

    /// Sets a new bound for the node, in bytes.
    pub(crate) fn set_node(&self, bytes: usize) {
        self.node.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that wait on this node, roughly.
    pub(crate) fn waiting(&self) -> usize {
        self.steps.load(Ordering::Relaxed).saturating_mul(STEP)
    }

    /// The node's bound, if more waits than it allows.
    pub(super) fn limit_if_exceeded(&self) -> Option<usize> {
        let limit = self.node.load(Ordering::Relaxed);
        (limit > 0 && self.waiting() > limit).then_some(limit)
    }

    fn bounds(&self) -> Bounds {
        let packets = self.packets.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        Bounds { packets, bytes }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Budget::default().bounds()
    }
}

/// The room for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is room for it.
    Enough,
    /// Too much waits for this client.
    Full,
    /// There is room for it, but too much waits on this node.
    NodeFull,
}

/// One client's counters, and what waits for it. Its transport holds them, and so does everything that sends to it or
/// works for it, so they hold neither.
#[derive(Debug)]
pub(crate) struct Load {
    state: Mutex<State>,
    budget: OnceLock<Arc<Budget>>,
    /// Too much waits for the client.
    out_full: AtomicBool,
    /// Too much waits for its handlers.
    in_full: AtomicBool,
    /// The client polls, and no poll waits.
    away: AtomicBool,
    /// The number of the [`KillReason`] for which the client was cut: nothing is worth waiting for.
    /// 0: it was not.
    cut_for: AtomicU8,
    /// Frames may be appended past the engine.
    is_direct: AtomicBool,
    /// Frames wait past the engine, or its frames have to be looked at for a marker.
    has_outgoing: AtomicBool,
    /// The reading side of the stream is at work, and looks for waiting frames before it sleeps.
    is_reader_awake: AtomicBool,
    /// The reading side of its stream.
    pub(super) reader: AtomicWaker,
    /// Notified when a pause ends.
    relieved: Notify,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            budget: OnceLock::new(),
            out_full: false.into(),
            in_full: false.into(),
            away: false.into(),
            cut_for: 0.into(),
            is_direct: false.into(),
            has_outgoing: false.into(),
            is_reader_awake: false.into(),
            reader: AtomicWaker::new(),
            relieved: Notify::new(),
        }
    }
}

impl Load {
    /// Counts in this node's sum from now on. Called once, when the transport is made.
    pub(super) fn count_for(&self, budget: &Arc<Budget>) {
        let _ = self.budget.set(Arc::clone(budget));
    }

    /// Counts a packet of `size` that is about to be queued for this client and for `targets`
    /// clients in all. A packet that does not fit is not counted.
    pub(crate) fn submit(&self, size: Size, targets: usize) -> Room {
        let fits = self.change(|state, bounds| {
            if !state.has_room(size, bounds) {
                return false;
            }
            state.waits(size, size.bytes / targets.max(1));
            true
        });
        match fits {
            false => Room::Full,
            true if self.is_node_full() => Room::NodeFull,
            true => Room::Enough,
        }
    }

    /// Whether too much waits on this node.
    fn is_node_full(&self) -> bool {
        self.budget.get().is_some_and(|budget| budget.limit_if_exceeded().is_some())
    }

    /// This much has been written to the client, or taken by its poll.
    pub(super) fn taken(&self, size: Size) {
        if size.packets > 0 || size.bytes > 0 {
            self.change(|state, _| state.taken(size));
        }
    }

    /// Nothing waits for the client. Any remaining count was never queued, or was counted in
    /// another form.
    pub(super) fn all_taken(&self) {
        if self.is_waited_for() {
            self.change(|state, _| {
                if state.outgoing.is_empty() {
                    state.taken(Size { packets: usize::MAX, bytes: usize::MAX });
                }
            });
        }
    }

    /// Whether packets wait for the client.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.state.lock().packets > 0
    }

    /// Whether the client would take a packet at once: nothing waits for it, and if it polls, a
    /// poll is open.
    pub(crate) fn is_ready(&self) -> bool {
        !self.away.load(Ordering::Acquire) && !self.is_waited_for()
    }

    /// Sets whether the client polls and has no open poll.
    pub(super) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
    }

    /// An event of this many bytes waits for a handler.
    pub(crate) fn queued(&self, bytes: usize) {
        self.change(|state, _| {
            state.events += 1;
            state.received += bytes;
        });
    }

    /// An event that was [`queued`](Self::queued) waits no longer.
    pub(crate) fn begun(&self, bytes: usize) {
        self.change(|state, _| {
            state.events = state.events.saturating_sub(1);
            state.received = state.received.saturating_sub(bytes);
            state.progress = state.progress.wrapping_add(1);
        });
    }

    /// An answer of this many bytes is being written to the client.
    pub(super) fn answering(&self, bytes: usize) {
        self.change(|state, _| state.answers += bytes);
    }

    /// An answer of this many bytes was written, or dropped.
    pub(super) fn answered(&self, bytes: usize) {
        self.change(|state, _| state.answers = state.answers.saturating_sub(bytes));
    }

    /// An incomplete message holds this many bytes, and held `before` until now.
    pub(super) fn holds(&self, bytes: usize, before: usize) {
        if bytes / STEP != before / STEP {
            self.change(|state, _| {
                state.partial = bytes;
            });
        }
    }

    /// Counts a caller that waits for the client's acknowledgement, until the result is dropped.
    pub(crate) fn await_answer(self: &Arc<Self>) -> AwaitedAnswer {
        self.change(|state, _| state.awaited += 1);
        AwaitedAnswer(Arc::clone(self))
    }

    /// Whether the client must not be read from now. [`reader`](Self::reader) is woken when that
    /// ends.
    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        self.out_full.load(Ordering::Acquire) || self.in_full.load(Ordering::Acquire)
    }

    /// Changes with each sign that the client's packets are taken and its events handled.
    pub(super) fn progress(&self) -> u32 {
        self.state.lock().progress
    }

    /// The node's memory that this client holds.
    pub(super) fn held(&self) -> usize {
        self.state.lock().held()
    }

    /// Whether handlers pause because too much waits for the client.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.out_full.load(Ordering::Acquire)
    }

    /// Ends when there is room for what handlers send to the client.
    pub(crate) async fn uncrowded(&self) {
        self.until(|load| !load.is_crowded()).await;
    }

    /// Ends when the client may be read from.
    pub(super) async fn unpaused(&self) {
        self.until(|load| !load.is_paused()).await;
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
        loop {
            let mut relieved = std::pin::pin!(self.relieved.notified());
            // before the check: a change right after it must not be missed
            relieved.as_mut().enable();
            if self.cut_for.load(Ordering::Acquire) != 0 || done(self) {
                return;
            }
            relieved.await;
        }
    }

    /// The client was cut: nobody waits for it any more.
    pub(super) fn abandon(&self, reason: KillReason) {
        self.cut_for.store(reason as u8, Ordering::Release);
        self.relieved.notify_waiters();
    }

    /// Why the client was cut, if it was.
    pub(crate) fn cut_for(&self) -> Option<KillReason> {
        KillReason::of(self.cut_for.load(Ordering::Acquire))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State, Bounds) -> T) -> T {
        let budget = self.budget.get();
        let bounds = budget.map_or_else(Bounds::default, |budget| budget.bounds());
        let mut state = self.state.lock();
        let changed = change(&mut state, bounds);
        let (out_full, in_full) = (state.out_full(bounds), state.in_full(bounds));
        // under the lock: of two changes the later must win
        let relieved = tell(&self.out_full, out_full);
        let relieved = tell(&self.in_full, in_full) || relieved;
        let steps = state.held() / STEP;
        let before = std::mem::replace(&mut state.steps, steps);
        drop(state);
        if let Some(budget) = budget {
            if steps > before {
                budget.steps.fetch_add(steps - before, Ordering::Relaxed);
            } else if steps < before {
                budget.steps.fetch_sub(before - steps, Ordering::Relaxed);
            }
        }
        if relieved {
            self.reader.wake();
            self.relieved.notify_waiters();
        }
        changed
    }
}

/// Sets whether something is too much. Returns `true` if it no longer is. Nearly always nothing
/// changes, and reading costs less than writing.
#[inline]
fn tell(is_full: &AtomicBool, now: bool) -> bool {
    let before = is_full.load(Ordering::Relaxed);
    if before != now {
        is_full.store(now, Ordering::Release);
    }
    before && !now
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.get() {
            budget.steps.fetch_sub(self.state.get_mut().steps, Ordering::Relaxed);
        }
    }
}

/// See [`Load::await_answer`].
#[derive(Debug)]
pub(crate) struct AwaitedAnswer(Arc<Load>);

impl Drop for AwaitedAnswer {
    fn drop(&mut self) {
        self.0.change(|state, _| state.awaited = state.awaited.saturating_sub(1));
    }
}

#[cfg(test)]
#[path = "load/tests.rs"]
mod tests;
