//! The frames that wait to be published: bounded, in order, one queue for each lane.
//!
//! Without a link frames wait for a while and up to a size. Of too many, the oldest are dropped:
//! the rest is complete from some moment on, and that moment is told. A frame that was sent and not
//! answered may have arrived. It is never sent again.

mod flight;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

pub(super) use self::flight::{Fate, Flight};
use super::{
    super::{Disconnected, Mark, lapses::Lapses},
    routes::Routes,
};

/// Most frames that wait on a linked lane. A link that lags behind by more is as good as down.
const MAX_FRAMES: usize = 65_536;
const MAX_BYTES: usize = 64 << 20;
/// Most frames in a batch: enough to fill the connection, and few enough to be answered in time
/// over 5 Mbit/s, too.
const BATCH_FRAMES: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;
const BIG: usize = 256 << 10;
/// How many of the frames that were too big are known by their numbers.
const TOO_BIG: usize = 256;

/// A frame that waits.
pub(super) struct Frame {
    pub(super) channel: Box<str>,
    pub(super) payload: Bytes,
    pub(super) since: Instant,
    /// The lane on which it was published. That lane accounts for it.
    home: usize,
    /// Its number among those that were published there, from 1.
    number: u64,
}

impl Frame {
    /// Whether it may be too big for Redis. Any sane limit is above this.
    pub(super) fn is_big(&self) -> bool {
        self.payload.len() >= BIG
    }

    fn size(&self) -> usize {
        self.channel.len() + self.payload.len()
    }
}

/// The bounds of the frames kept for a link that is down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) max: usize,
    pub(crate) age: Duration,
}

impl Default for Pending {
    /// As `redis.pending_max` and `redis.pending_age`.
    fn default() -> Self {
        Self { max: 16 << 20, age: Duration::from_secs(10) }
    }
}

pub(super) struct Outgoing {
    pending: Pending,
    lapses: Arc<Lapses>,
    state: Mutex<State>,
    /// Signals that frames have left, or landed.
    progress: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    gate: Gate,
    routes: Routes,
    queues: Vec<Queue>,
    counts: FrameCounts,
    /// There was a link before, so others may rely on hearing this node.
    was_linked: bool,
    /// The publishing time of the oldest lost frame that the others have to be told of.
    lost_since: Option<Instant>,
    /// The last frames that were too big: their lanes and numbers.
    too_big: VecDeque<(usize, u64)>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    linked: bool,
    /// Nothing leaves the queue.
    held: bool,
    /// Nothing leaves the queue before this time.
    not_before: Option<Instant>,
    /// The number of frames on their way.
    flying: usize,
    /// Goes up when slots leave this lane.
    generation: u64,
    /// The number of frames published here; of these, the numbers that left and that were lost.
    pushed: u64,
    settled: u64,
    lost: u64,
    wake: Arc<Notify>,
}

#[derive(Default, PartialEq, Eq)]
enum Gate {
    /// Not started, or ended: no frame is kept.
    #[default]
    Closed,
    Open,
    /// No frame comes in, and waiting ones go out.
    Sealed,
}

/// The fates of frames since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FrameCounts {
    pub(super) published: u64,
    pub(super) unsure: u64,
    pub(super) dropped_down: u64,
    pub(super) dropped_full: u64,
}

impl FrameCounts {
    /// The sums of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            published: self.published + other.published,
            unsure: self.unsure + other.unsure,
            dropped_down: self.dropped_down + other.dropped_down,
            dropped_full: self.dropped_full + other.dropped_full,
        }
    }
}

/// Why a frame was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// There was no link for too long, or too much waited.
    Down,
    /// The link lags behind.
    Full,
    /// The frame was sent and not answered, or was refused.
    Unsure,
}

impl Outgoing {
    /// With one lane.
    pub(super) fn new(pending: Pending, lapses: Arc<Lapses>) -> Self {
        let state = State { queues: vec![Queue::default()], ..State::default() };
        Self { pending, lapses, state: Mutex::new(state), progress: watch::Sender::new(()) }
    }

    pub(super) fn push(&self, channel: &str, payload: Bytes) {
        let mut state = self.state.lock();
        let home = state.routes.lane(channel);
        let number = state.queues[home].pushed + 1;
        let frame = Frame { channel: channel.into(), payload, since: Instant::now(), home, number };
        if let Some(wake) = state.push(frame, self.pending) {
            drop(state);
            wake.notify_one();
        } else {
            self.changed(state);
        }
    }

    /// Frames are kept from now on, and sent where there is a link.
    pub(super) fn begin(&self) {
        self.state.lock().gate = Gate::Open;
    }

    /// Takes no more frames. Waiting ones go out.
    pub(super) fn seal(&self) {
        let mut state = self.state.lock();
        if state.gate == Gate::Open {
            state.gate = Gate::Sealed;
        }
        state.queues.iter().for_each(|queue| queue.wake.notify_one());
    }

    /// Drops the frames that could not be sent.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.gate = Gate::Closed;
        for lane in 0..state.queues.len() {
            while state.drop_first(lane) {}
        }
        self.changed(state);
    }

    /// Adds a lane. Lanes are never removed.
    pub(super) fn add_lane(&self) {
        self.state.lock().queues.push(Queue::default());
    }

    /// The lane has a link, or has lost it.
    pub(super) fn linked(&self, lane: usize, linked: bool) {
        let mut state = self.state.lock();
        state.was_linked |= linked;
        if !linked {
            state.queues[lane].linked = false;
        }
        state.trim(self.pending);
        state.queues[lane].linked = linked;
        state.queues[lane].wake.notify_one();
        self.changed(state);
    }

    /// Sends nothing on the lane for this time.
    pub(super) fn hold_back(&self, lane: usize, time: Duration) {
        let mut state = self.state.lock();
        state.queues[lane].not_before = Some(Instant::now() + time);
    }

    /// Drops frames that have waited for too long.
    pub(super) fn expire(&self) {
        let mut state = self.state.lock();
        state.trim(self.pending);
        self.changed(state);
    }

    /// Whether the lane has nothing to do any more.
    pub(super) fn is_over(&self, lane: usize) -> bool {
        let state = self.state.lock();
        state.gate != Gate::Open && state.queues[lane].frames.is_empty()
    }

    /// Waits for frames on a linked lane and returns up to a batch of them; `None` when it is
    /// sealed and empty. For one caller a lane. Dropping the future loses nothing.
    pub(super) async fn batch(&self, lane: usize) -> Option<Flight<'_>> {
        loop {
            let (wake, not_before) = {
                let mut state = self.state.lock();
                if let Some((frames, generation)) = state.take(lane) {
                    return Some(Flight::new(self, lane, generation, frames));
                }
                let queue = &state.queues[lane];
                if state.gate != Gate::Open && queue.frames.is_empty() {
                    return None;
                }
                (queue.wake.clone(), queue.not_before)
            };
            match not_before {
                None => wake.notified().await,
                Some(time) => tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep_until(time.into()) => {}
                },
            }
        }
    }

    /// Holds the lanes that would lose channels by these routes, and waits until their frames on
    /// the way have landed, or until `patience` is over. [`reroute`](Self::reroute) ends it.
    pub(super) async fn hold(&self, losing: &[usize], patience: Duration) {
        let mut progress = self.progress.subscribe();
        for &lane in losing {
            self.state.lock().queues[lane].held = true;
        }
        let landed = progress.wait_for(|()| {
            let state = self.state.lock();
            losing.iter().all(|&lane| state.queues[lane].flying == 0)
        });
        let _ = tokio::time::timeout(patience, landed).await;
    }

    /// Moves channels and their waiting frames to these lanes.
    pub(super) fn reroute(&self, routes: Routes) {
        let mut state = self.state.lock();
        state.routes = routes;
        let mut moving: Vec<Vec<Frame>> = Vec::new();
        moving.resize_with(state.queues.len(), Vec::new);
        let State { routes, queues, .. } = &mut *state;
        for (lane, queue) in queues.iter_mut().enumerate() {
            // Frames on their way may be about channels that another lane takes over now.
            queue.generation += u64::from(queue.held);
            queue.held = false;
            if queue.frames.iter().all(|frame| routes.lane(&frame.channel) == lane) {
                continue;
            }
            for frame in std::mem::take(&mut queue.frames) {
                match routes.lane(&frame.channel) {
                    own if own == lane => queue.frames.push_back(frame),
                    other => moving[other].push(frame),
                }
            }
            queue.bytes = queue.frames.iter().map(Frame::size).sum();
        }
        for (queue, frames) in queues.iter_mut().zip(moving) {
            if !frames.is_empty() {
                queue.bytes += frames.iter().map(Frame::size).sum::<usize>();
                queue.frames.extend(frames);
                // the sort is stable and times never go back, so the order within a channel stays
                queue.frames.make_contiguous().sort_by_key(|frame| frame.since);
            }
            queue.wake.notify_one();
        }
        state.trim(self.pending);
        self.changed(state);
    }

    /// The present moment, for [`taken`](Self::taken).
    pub(super) fn mark(&self) -> Mark {
        let state = self.state.lock();
        let lanes = state.queues.iter().map(|queue| (queue.pushed, queue.lost)).collect();
        Mark { lanes, ..Mark::default() }
    }

    /// Ends when every frame published since on these lanes has left. Lanes without such frames are
    /// not waited for.
    ///
    /// # Errors
    /// If a frame was lost.
    pub(super) async fn taken(&self, since: &Mark) -> Result<(), Disconnected> {
        let until = self.mark();
        let mut progress = self.progress.subscribe();
        let before = |lane: usize| since.lanes.get(lane).copied().unwrap_or_default();
        let concerned = |lane: usize, pushed: u64| pushed > before(lane).0;
        let left = progress.wait_for(|()| {
            let state = self.state.lock();
            let mut lanes = until.lanes.iter().zip(&state.queues).enumerate();
            lanes.all(|(lane, ((pushed, _), queue))| {
                !concerned(lane, *pushed) || queue.settled >= *pushed
            })
        });
        // The wait cannot fail: the sender is in `self`.
        let _ = left.await;
        let state = self.state.lock();
        let mut lanes = until.lanes.iter().zip(&state.queues).enumerate();
        let whole = lanes.all(|(lane, ((pushed, _), queue))| {
            !concerned(lane, *pushed) || queue.lost == before(lane).1
        });
        whole.then_some(()).ok_or(Disconnected)
    }

    /// Whether a frame that was published between these moments was too big.
    pub(super) fn is_too_big(&self, since: &Mark, until: &Mark) -> bool {
        let pushed = |mark: &Mark, lane: usize| mark.lanes.get(lane).map_or(0, |lane| lane.0);
        let is_between = |(lane, number): &(usize, u64)| {
            (pushed(since, *lane) + 1..=pushed(until, *lane)).contains(number)
        };
        self.state.lock().too_big.iter().any(is_between)
    }

    pub(super) fn counts(&self) -> FrameCounts {
        self.state.lock().counts
    }

    /// The numbers of waiting frames and bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        let frames = state.queues.iter().map(|queue| queue.frames.len()).sum();
        (frames, state.queues.iter().map(|queue| queue.bytes).sum())
    }

    /// Wakes those that wait, and reports a loss.
    fn changed(&self, mut state: MutexGuard<'_, State>) {
        let lost = state.lost_since.take();
        drop(state);
        // Who subscribes from now on looks at the state afterwards.
        if self.progress.receiver_count() > 0 {
            self.progress.send_replace(());
        }
        if let Some(since) = lost {
            self.lapses.unsaid(since);
        }
    }
}

impl State {
    /// Queues a frame. Returns whom to wake; `None` if this frame or another was lost.
    fn push(&mut self, frame: Frame, pending: Pending) -> Option<Arc<Notify>> {
        let lane = frame.home;
        let lanes = self.queues.len();
        let queue = &mut self.queues[lane];
        queue.pushed += 1;
        if self.gate != Gate::Open {
            self.lose(&frame, Lost::Down);
            return None;
        }
        if queue.linked {
            let full = queue.frames.len() >= MAX_FRAMES
                || (queue.bytes + frame.size() > MAX_BYTES / lanes && !queue.frames.is_empty());
            if full {
                self.lose(&frame, Lost::Full);
                return None;
            }
        } else if frame.size() > pending.max {
            // it would push out all others, in vain
            self.lose(&frame, Lost::Down);
            return None;
        }
        let queue = &mut self.queues[lane];
        queue.bytes += frame.size();
        queue.frames.push_back(frame);
        if queue.linked {
            return Some(queue.wake.clone());
        }
        self.trim(pending);
        None
    }

    /// Drops frames that are too old or too many, on lanes without a link.
    fn trim(&mut self, pending: Pending) {
        if self.queues.iter().all(|queue| queue.linked) {
            return;
        }
        let now = Instant::now();
        for lane in 0..self.queues.len() {
            while !self.queues[lane].linked
                && self.queues[lane]
                    .frames
                    .front()
                    .is_some_and(|frame| now.duration_since(frame.since) > pending.age)
                && self.drop_first(lane)
            {}
        }
        loop {
            let down = || self.queues.iter().enumerate().filter(|(_, queue)| !queue.linked);
            let bytes: usize = down().map(|(_, queue)| queue.bytes).sum();
            let frames: usize = down().map(|(_, queue)| queue.frames.len()).sum();
            if bytes <= pending.max && frames <= MAX_FRAMES {
                return;
            }
            let fronts =
                down().filter_map(|(lane, queue)| Some((queue.frames.front()?.since, lane)));
            let Some((_, oldest)) = fronts.min() else { return };
            self.drop_first(oldest);
        }
    }

    /// Drops the first frame of a lane. Returns whether there was one.
    fn drop_first(&mut self, lane: usize) -> bool {
        let queue = &mut self.queues[lane];
        let Some(frame) = queue.frames.pop_front() else { return false };
        queue.bytes -= frame.size();
        self.lose(&frame, Lost::Down);
        true
    }

    fn lose(&mut self, frame: &Frame, why: Lost) {
        match why {
            Lost::Down => self.counts.dropped_down += 1,
            Lost::Full => self.counts.dropped_full += 1,
            Lost::Unsure => self.counts.unsure += 1,
        }
        let home = &mut self.queues[frame.home];
        home.settled += 1;
        home.lost += 1;
        if self.was_linked {
            let since = self.lost_since.get_or_insert(frame.since);
            *since = frame.since.min(*since);
        }
    }

    fn note_too_big(&mut self, frame: &Frame) {
        if self.too_big.len() == TOO_BIG {
            self.too_big.pop_front();
        }
        self.too_big.push_back((frame.home, frame.number));
    }

    fn take(&mut self, lane: usize) -> Option<(Vec<Frame>, u64)> {
        let queue = &mut self.queues[lane];
        if queue.not_before.is_some_and(|time| self.gate != Gate::Open || time <= Instant::now()) {
            queue.not_before = None;
        }
        let waits = queue.held || queue.not_before.is_some();
        if waits || !queue.linked || queue.frames.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let fits = |frame: &&Frame| {
            bytes += frame.size();
            bytes <= BATCH_BYTES && !frame.is_big()
        };
        // one frame goes out whatever its size; a big one goes alone
        let count = queue.frames.iter().take(BATCH_FRAMES).take_while(fits).count().max(1);
        let batch: Vec<_> = queue.frames.drain(..count).collect();
        queue.bytes -= batch.iter().map(Frame::size).sum::<usize>();
        queue.flying += batch.len();
        Some((batch, queue.generation))
    }
}
