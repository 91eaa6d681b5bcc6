//! The topics to listen to, and which of them Redis was told of, lane by lane.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{super::Topic, routes::Routes};

/// Topics with the number of their listeners. Changes are collected until a lane takes them.
pub(super) struct Subscriptions {
    state: Mutex<State>,
    /// Signals that changes are in force, or that a lane has lost its link.
    progress: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    routes: Routes,
    topics: HashMap<Topic, Entry>,
    lanes: Vec<LaneTopics>,
}

/// The topics of a lane, as far as Redis was told of them.
#[derive(Default)]
struct LaneTopics {
    /// Topics whose count went to or from zero since the last changes were taken, or that came from
    /// another lane.
    changed: Vec<Topic>,
    wake: Arc<Notify>,
    /// Goes up with each change.
    version: u64,
    /// The version in force.
    confirmed: u64,
    linked: bool,
    /// The time since which topics from another lane may have missed frames.
    gap: Option<Instant>,
}

#[derive(Default)]
struct Entry {
    lane: usize,
    count: usize,
    told: bool,
    changed: bool,
}

/// Changes that Redis has to be told.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) listen: Vec<Topic>,
    pub(super) unlisten: Vec<Topic>,
    /// The time since which their topics may have missed frames.
    pub(super) gap: Option<Instant>,
    pub(super) version: u64,
}

impl LaneTopics {
    fn change(&mut self, topic: Topic) {
        self.version += 1;
        self.changed.push(topic);
        self.wake.notify_one();
    }
}

impl Subscriptions {
    /// With one lane.
    pub(super) fn new() -> Self {
        let state = State { lanes: vec![LaneTopics::default()], ..State::default() };
        Self { state: Mutex::new(state), progress: watch::Sender::new(()) }
    }

    /// Adds a lane. Lanes are never removed.
    pub(super) fn add_lane(&self) {
        self.state.lock().lanes.push(LaneTopics::default());
    }

    pub(super) fn listen(&self, topic: Topic) {
        self.count(topic, |count| count + 1);
    }

    pub(super) fn unlisten(&self, topic: &Topic) {
        self.count(topic.clone(), |count| count.saturating_sub(1));
    }

    fn count(&self, topic: Topic, change: impl Fn(usize) -> usize) {
        let mut state = self.state.lock();
        let State { routes, topics, lanes } = &mut *state;
        let entry = topics
            .entry(topic.clone())
            .or_insert_with(|| Entry { lane: routes.lane(topic.name()), ..Entry::default() });
        let before = entry.count;
        entry.count = change(before);
        if (before == 0) == (entry.count == 0) {
            return;
        }
        let lane = &mut lanes[entry.lane];
        match std::mem::replace(&mut entry.changed, true) {
            true => lane.version += 1,
            false => lane.change(topic),
        }
    }

    /// All topics of the lane, for a new link.
    pub(super) fn everything(&self, lane: usize) -> Changes {
        let mut state = self.state.lock();
        let State { topics, lanes, .. } = &mut *state;
        lanes[lane].changed.clear();
        topics.retain(|_, entry| entry.lane != lane || entry.count > 0);
        let mut listen = Vec::new();
        for (topic, entry) in topics.iter_mut().filter(|(_, entry)| entry.lane == lane) {
            (entry.told, entry.changed) = (true, false);
            listen.push(topic.clone());
        }
        let (gap, version) = (lanes[lane].gap.take(), lanes[lane].version);
        Changes { listen, unlisten: Vec::new(), gap, version }
    }

    /// The topics that Redis was told to listen to on the lane.
    pub(super) fn told(&self, lane: usize) -> Vec<Topic> {
        let state = self.state.lock();
        let told = state.topics.iter().filter(|(_, entry)| entry.lane == lane && entry.told);
        told.map(|(topic, _)| topic.clone()).collect()
    }

    /// Waits for changes on the lane and returns them. A topic left and taken up again in between
    /// has not changed. Changes that were returned and dropped are lost; only
    /// [`everything`](Self::everything) makes good for that.
    pub(super) async fn changes(&self, lane: usize) -> Changes {
        loop {
            if let Some(changes) = self.take(lane) {
                return changes;
            }
            let wake = self.state.lock().lanes[lane].wake.clone();
            wake.notified().await;
        }
    }

    fn take(&self, number: usize) -> Option<Changes> {
        let mut state = self.state.lock();
        let State { topics, lanes, .. } = &mut *state;
        let lane = &mut lanes[number];
        if lane.changed.is_empty() {
            return None;
        }
        let (gap, version) = (lane.gap.take(), lane.version);
        let mut changes = Changes { gap, version, ..Changes::default() };
        for topic in std::mem::take(&mut lane.changed) {
            let Some(entry) = topics.get_mut(&topic) else { continue };
            if entry.lane != number {
                continue;
            }
            entry.changed = false;
            let wanted = entry.count > 0;
            let told = std::mem::replace(&mut entry.told, wanted);
            if !wanted {
                topics.remove(&topic);
            }
            match (told, wanted) {
                (false, true) => changes.listen.push(topic),
                (true, false) => changes.unlisten.push(topic),
                _ => {}
            }
        }
        Some(changes)
    }

    /// Redis has carried out all changes.
    pub(super) fn confirm(&self, lane: usize, changes: &Changes) {
        let mut state = self.state.lock();
        let lane = &mut state.lanes[lane];
        (lane.confirmed, lane.linked) = (changes.version, true);
        drop(state);
        self.progress.send_replace(());
    }

    /// Redis has not carried out all changes: these topics have to be listened to later.
    pub(super) fn again(&self, lane: usize, topics: &[Topic], gap: Option<Instant>) {
        let mut state = self.state.lock();
        let State { topics: known, lanes, .. } = &mut *state;
        for topic in topics {
            if let Some(entry) = known.get_mut(topic).filter(|entry| entry.lane == lane) {
                (entry.told, entry.changed) = (false, true);
                lanes[lane].change(topic.clone());
            }
        }
        lanes[lane].note_gap(gap);
    }

    /// The lane has lost its link.
    pub(super) fn lost(&self, lane: usize) {
        self.state.lock().lanes[lane].linked = false;
        self.progress.send_replace(());
    }

    /// Moves topics to these lanes. `watermark` is the time up to which each lane has heard
    /// everything; `None` if it never heard anything.
    pub(super) fn reroute(&self, routes: Routes, watermark: &[Option<Instant>]) {
        let mut state = self.state.lock();
        state.routes = routes;
        let State { routes, topics, lanes } = &mut *state;
        for (topic, entry) in topics.iter_mut() {
            let lane = routes.lane(topic.name());
            if lane == entry.lane {
                continue;
            }
            let before = entry.lane;
            let gap = earlier(lanes[before].gap, watermark.get(before).copied().flatten());
            *entry = Entry { lane, count: entry.count, told: false, changed: true };
            lanes[lane].note_gap(gap);
            lanes[lane].change(topic.clone());
        }
        drop(state);
        self.progress.send_replace(());
    }

    /// Ends when every earlier call about these topics is in force, or waits for a link. Other
    /// lanes are not waited for.
    pub(super) fn settled(&self, topics: &[Topic]) -> impl Future<Output = ()> + use<'_> {
        let mut progress = self.progress.subscribe();
        let wanted: Vec<(usize, u64)> = {
            let state = self.state.lock();
            let mut lanes: Vec<_> = topics.iter().map(|it| state.routes.lane(it.name())).collect();
            lanes.sort_unstable();
            lanes.dedup();
            lanes.into_iter().map(|lane| (lane, state.lanes[lane].version)).collect()
        };
        async move {
            let in_force = progress.wait_for(|()| {
                let state = self.state.lock();
                wanted.iter().all(|(lane, wanted)| {
                    let lane = &state.lanes[*lane];
                    !lane.linked || lane.confirmed >= *wanted
                })
            });
            // The wait cannot fail: the sender is in `self`.
            let _ = in_force.await;
        }
    }
}

impl LaneTopics {
    fn note_gap(&mut self, gap: Option<Instant>) {
        self.gap = earlier(self.gap, gap);
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
