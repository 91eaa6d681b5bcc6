//! The entries that wait to be added to a stream: bounded, in order, and each there once.
//!
//! An entry that was sent and not answered is kept until it is known whether Redis has it. What is
//! dropped, and why, is counted as it is for frames.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::super::{
    super::{Disconnected, lapses::Lapses},
    outgoing::{FrameCounts, Pending},
};
use crate::cluster::log::{EntryId, NewEntry, Returned};

/// Most entries that wait with a link, and their bytes. A link that lags behind by more is as good
/// as down.
const MAX_ENTRIES: usize = 65_536;
const MAX_BYTES: usize = 64 << 20;
/// Most entries that are sent together.
const BATCH_ENTRIES: usize = 1024;
const BATCH_BYTES: usize = 1 << 20;

/// An entry that waits, or is on its way.
pub(super) struct Item {
    /// The number of the entry among those of this run of the node in this stream.
    pub(super) number: u64,
    pub(super) entry: NewEntry,
    pub(super) since: Instant,
}

/// What Redis said to an entry.
pub(super) enum Answer {
    Taken(EntryId),
    /// It is not there, and a second attempt is allowed.
    NotNow,
    Refused,
}

pub(super) struct Queue {
    pending: Pending,
    /// Whether own entries are to come back.
    ordered: bool,
    lapses: Arc<Lapses>,
    state: Mutex<State>,
    wake: Notify,
    /// Signals that entries have left, or are lost.
    progress: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    open: bool,
    /// No entry comes in, and waiting ones go out.
    sealed: bool,
    linked: bool,
    was_linked: bool,
    waiting: VecDeque<Item>,
    bytes: usize,
    /// Sent and not answered, in the order of their numbers.
    flying: Vec<Item>,
    /// Those who wait for an own entry to come back, by its number.
    away: VecDeque<(u64, Instant, Returned)>,
    pushed: u64,
    settled: u64,
    lost: u64,
    counts: FrameCounts,
    /// The last own entry that Redis took.
    last_taken: Option<EntryId>,
    lost_since: Option<Instant>,
    /// Called once the state is unlocked.
    given_up: Vec<Returned>,
}

/// Why an entry is lost.
#[derive(Clone, Copy)]
enum Lost {
    Down,
    Full,
    Unsure,
}

impl Queue {
    pub(super) fn new(pending: Pending, ordered: bool, lapses: Arc<Lapses>) -> Self {
        let (state, wake) = Default::default();
        Self { pending, ordered, lapses, state, wake, progress: watch::Sender::new(()) }
    }

    pub(super) fn push(&self, entry: NewEntry, returned: Option<Returned>) {
        let (mut state, now) = (self.state.lock(), Instant::now());
        let number = state.pushed;
        state.pushed += 1;
        let unordered = match returned {
            Some(returned) if self.ordered => {
                state.away.push_back((number, now, returned));
                None
            }
            other => other,
        };
        let item = Item { number, entry, since: now };
        let size = item.entry.size();
        if !state.open || state.sealed || (!state.linked && size > self.pending.max) {
            state.lose(&item, Lost::Down);
        } else if state.linked
            && (state.waiting.len() >= MAX_ENTRIES
                || (state.bytes + size > MAX_BYTES && !state.waiting.is_empty()))
        {
            state.lose(&item, Lost::Full);
        } else {
            state.bytes += size;
            state.waiting.push_back(item);
            if state.linked {
                self.wake.notify_one();
            } else {
                state.trim(self.pending);
            }
        }
        self.changed(state);
        if let Some(returned) = unordered {
            returned(None);
        }
    }

    /// Entries are kept from now on.
    pub(super) fn begin(&self) {
        self.state.lock().open = true;
    }

    /// Takes no more entries. Waiting ones go out.
    pub(super) fn seal(&self) {
        self.state.lock().sealed = true;
        self.wake.notify_one();
    }

    /// Drops what could not be sent.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.open = false;
        state.give_up_flying();
        while state.drop_first() {}
        let away = std::mem::take(&mut state.away);
        state.given_up.extend(away.into_iter().map(|(_, _, returned)| returned));
        self.changed(state);
    }

    /// There is a link, or it is lost.
    pub(super) fn linked(&self, linked: bool) {
        let mut state = self.state.lock();
        state.was_linked |= linked;
        if !linked {
            state.linked = false;
        }
        state.trim(self.pending);
        state.linked = linked;
        self.wake.notify_one();
        self.changed(state);
    }

    /// Drops what has waited for too long, and gives back what has been away for too long. Returns
    /// when to call again.
    pub(super) fn expire(&self) -> Duration {
        let mut state = self.state.lock();
        state.trim(self.pending);
        let now = Instant::now();
        while let Some((_, since, _)) = state.away.front()
            && now.duration_since(*since) > self.pending.age
            && let Some((_, _, returned)) = state.away.pop_front()
        {
            state.given_up.push(returned);
        }
        let waiting = state.waiting.front().map(|item| item.since).filter(|_| !state.linked);
        let oldest = waiting.into_iter().chain(state.away.front().map(|away| away.1)).min();
        self.changed(state);
        let rest = oldest.map_or(self.pending.age, |since| {
            (since + self.pending.age).saturating_duration_since(now)
        });
        rest + Duration::from_millis(1)
    }

    /// Whether there is nothing to do any more.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state.lock();
        (state.sealed || !state.open) && state.waiting.is_empty() && state.flying.is_empty()
    }

    /// Waits for entries on a link and takes a batch of them; false when it is sealed and empty.
    /// The batch is on its way from then on, see [`flying`](Self::flying).
    pub(super) async fn take(&self) -> bool {
        loop {
            {
                let mut state = self.state.lock();
                if state.linked && state.take() {
                    return true;
                }
                if (state.sealed || !state.open) && state.waiting.is_empty() {
                    return false;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Looks at the entries on their way.
    pub(super) fn flying<T>(&self, look: impl FnOnce(&[Item]) -> T) -> T {
        look(&self.state.lock().flying)
    }

    /// Redis has answered: an answer for each entry on its way.
    pub(super) fn answered(&self, answers: Vec<Answer>) {
        let mut state = self.state.lock();
        let flying = std::mem::take(&mut state.flying);
        let last = answers.iter().rposition(|answer| matches!(answer, Answer::Taken(_)));
        // From the last to the first, for returned entries go to the front.
        for ((place, item), answer) in flying.into_iter().enumerate().zip(answers).rev() {
            match answer {
                Answer::Taken(at) => {
                    state.last_taken = state.last_taken.max(Some(at));
                    state.took(&item);
                }
                Answer::NotNow if last.is_some_and(|last| last > place) => {
                    // It would come behind later ones.
                    state.lose(&item, Lost::Down);
                }
                Answer::NotNow => state.put_back(item),
                Answer::Refused => state.lose(&item, Lost::Unsure),
            }
        }
        state.trim(self.pending);
        self.changed(state);
    }

    /// The connection was lost, and this is known now: Redis has taken the entries on their way up
    /// to `last`, and none behind it.
    pub(super) fn settle(&self, last: Option<u64>) {
        let mut state = self.state.lock();
        for item in std::mem::take(&mut state.flying).into_iter().rev() {
            if last.is_some_and(|last| item.number <= last) {
                state.took(&item);
            } else {
                state.put_back(item);
            }
        }
        state.trim(self.pending);
        self.changed(state);
    }

    /// Nobody knows whether Redis has the entries on their way, so they are not sent again.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        state.give_up_flying();
        self.changed(state);
    }

    /// Whether anybody waits for an own entry to come back.
    pub(super) fn is_awaited(&self) -> bool {
        !self.state.lock().away.is_empty()
    }

    pub(super) fn has_flying(&self) -> bool {
        !self.state.lock().flying.is_empty()
    }

    /// The place of the last own entry that Redis took.
    pub(super) fn last_taken(&self) -> Option<EntryId> {
        self.state.lock().last_taken
    }

    /// An own entry has come back from the stream. Returns who waits for it. Those before it were
    /// not added, or were not seen.
    pub(super) fn came_back(&self, number: u64) -> Option<Returned> {
        let mut state = self.state.lock();
        let mut own = None;
        while let Some((away, _, _)) = state.away.front()
            && *away <= number
            && let Some((away, _, returned)) = state.away.pop_front()
        {
            if away == number {
                own = Some(returned);
            } else {
                state.given_up.push(returned);
            }
        }
        self.changed(state);
        own
    }

    /// The published and the lost entries so far.
    pub(super) fn mark(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.pushed, state.lost)
    }

    /// Ends when every entry since a mark has been taken.
    ///
    /// # Errors
    /// If one was lost.
    pub(super) async fn taken(&self, (pushed, lost): (u64, u64)) -> Result<(), Disconnected> {
        let mut progress = self.progress.subscribe();
        let until = self.state.lock().pushed;
        if until > pushed {
            // It cannot fail: the sender is in `self`.
            let _ = progress.wait_for(|()| self.state.lock().settled >= until).await;
            if self.state.lock().lost != lost {
                return Err(Disconnected);
            }
        }
        Ok(())
    }

    pub(super) fn counts(&self) -> FrameCounts {
        self.state.lock().counts
    }

    /// The numbers of waiting entries and bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.waiting.len(), state.bytes)
    }

    /// Wakes those that wait, reports a loss, and gives back what was given up.
    fn changed(&self, mut state: MutexGuard<'_, State>) {
        let lost = state.lost_since.take();
        let given_up = std::mem::take(&mut state.given_up);
        drop(state);
        self.progress.send_replace(());
        if let Some(since) = lost {
            self.lapses.unsaid(since);
        }
        given_up.into_iter().for_each(|returned| returned(None));
    }
}

impl State {
    fn take(&mut self) -> bool {
        let mut bytes = 0;
        let fits = |item: &&Item| {
            bytes += item.entry.size();
            bytes <= BATCH_BYTES
        };
        // one goes out whatever its size
        let count = self.waiting.iter().take(BATCH_ENTRIES).take_while(fits).count().max(1);
        let count = count.min(self.waiting.len());
        self.flying.extend(self.waiting.drain(..count));
        self.bytes -= self.flying.iter().map(|item| item.entry.size()).sum::<usize>();
        count > 0
    }

    fn took(&mut self, _: &Item) {
        self.counts.published += 1;
        self.settled += 1;
    }

    fn put_back(&mut self, item: Item) {
        self.bytes += item.entry.size();
        self.waiting.push_front(item);
    }

    fn give_up_flying(&mut self) {
        for item in std::mem::take(&mut self.flying) {
            self.lose(&item, Lost::Unsure);
        }
    }

    fn lose(&mut self, item: &Item, why: Lost) {
        match why {
            Lost::Down => self.counts.dropped_down += 1,
            Lost::Full => self.counts.dropped_full += 1,
            Lost::Unsure => self.counts.unsure += 1,
        }
        self.settled += 1;
        self.lost += 1;
        if self.was_linked {
            let since = self.lost_since.get_or_insert(item.since);
            *since = item.since.min(*since);
        }
        if let Ok(place) = self.away.binary_search_by_key(&item.number, |away| away.0)
            && let Some((_, _, returned)) = self.away.remove(place)
        {
            self.given_up.push(returned);
        }
    }

    /// Without a link, drops what is too old or too much.
    fn trim(&mut self, pending: Pending) {
        let now = Instant::now();
        while !self.linked
            && self.waiting.front().is_some_and(|first| {
                self.bytes > pending.max
                    || self.waiting.len() > MAX_ENTRIES
                    || now.duration_since(first.since) > pending.age
            })
            && self.drop_first()
        {}
    }

    fn drop_first(&mut self) -> bool {
        let Some(item) = self.waiting.pop_front() else { return false };
        self.bytes -= item.entry.size();
        self.lose(&item, Lost::Down);
        true
    }
}
