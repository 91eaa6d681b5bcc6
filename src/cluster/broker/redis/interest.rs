//! What is to be listened to, and what of it Redis has been told.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::super::Topic;

/// Topics with the number of their listeners. Changes are collected until somebody takes them.
pub(super) struct Interest {
    state: Mutex<State>,
    changed: Notify,
    confirmed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    topics: HashMap<Topic, Entry>,
    /// Those whose count went to or from zero since changes were taken.
    changed: Vec<Topic>,
    /// Goes up with each of these.
    version: u64,
}

#[derive(Default)]
struct Entry {
    count: usize,
    told: bool,
    changed: bool,
}

/// What Redis is to be told.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) listen: Vec<Topic>,
    pub(super) unlisten: Vec<Topic>,
    /// To be given to [`Interest::confirm`] when it is done.
    pub(super) version: u64,
}

impl Interest {
    pub(super) fn new() -> Self {
        let (state, changed, confirmed) = Default::default();
        Self { state, changed, confirmed: watch::Sender::new(confirmed) }
    }

    pub(super) fn listen(&self, topic: Topic) {
        self.count(topic, |count| count + 1);
    }

    pub(super) fn unlisten(&self, topic: &Topic) {
        self.count(topic.clone(), |count| count.saturating_sub(1));
    }

    fn count(&self, topic: Topic, change: impl Fn(usize) -> usize) {
        let mut state = self.state.lock();
        let State { topics, changed, version } = &mut *state;
        let entry = topics.entry(topic.clone()).or_default();
        let before = entry.count;
        entry.count = change(before);
        if (before == 0) == (entry.count == 0) {
            return;
        }
        *version += 1;
        if !std::mem::replace(&mut entry.changed, true) {
            changed.push(topic);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Everything, for a link that has been told nothing yet.
    pub(super) fn everything(&self) -> Changes {
        let mut state = self.state.lock();
        state.changed.clear();
        state.topics.retain(|_, entry| entry.count > 0);
        for entry in state.topics.values_mut() {
            (entry.told, entry.changed) = (true, false);
        }
        let listen = state.topics.keys().cloned().collect();
        Changes { listen, unlisten: Vec::new(), version: state.version }
    }

    /// What Redis has been told to listen to.
    pub(super) fn told(&self) -> Vec<Topic> {
        let state = self.state.lock();
        let told = state.topics.iter().filter(|(_, entry)| entry.told);
        told.map(|(topic, _)| topic.clone()).collect()
    }

    /// What has changed since the last time, once something has; a topic left and taken up again
    /// in between has not. Dropped after it has returned, only [`everything`](Self::everything)
    /// makes good for it.
    pub(super) async fn changes(&self) -> Changes {
        loop {
            if let Some(changes) = self.take() {
                return changes;
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Changes> {
        let mut state = self.state.lock();
        if state.changed.is_empty() {
            return None;
        }
        let mut changes = Changes { version: state.version, ..Changes::default() };
        for topic in std::mem::take(&mut state.changed) {
            let Some(entry) = state.topics.get_mut(&topic) else { continue };
            entry.changed = false;
            let wanted = entry.count > 0;
            let told = std::mem::replace(&mut entry.told, wanted);
            if !wanted {
                state.topics.remove(&topic);
            }
            match (told, wanted) {
                (false, true) => changes.listen.push(topic),
                (true, false) => changes.unlisten.push(topic),
                _ => {}
            }
        }
        Some(changes)
    }

    /// Redis has done everything up to this version.
    pub(super) fn confirm(&self, version: u64) {
        self.confirmed.send_replace(version);
    }

    /// The version that holds every call so far, and the one that is in force.
    pub(super) fn version(&self) -> (u64, watch::Receiver<u64>) {
        (self.state.lock().version, self.confirmed.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::Channel(name.into())
    }

    #[test]
    fn only_the_first_and_the_last_of_a_topic_are_changes() {
        let interest = Interest::new();
        interest.listen(topic("a"));
        interest.listen(topic("a"));
        let changes = interest.take().unwrap();
        assert_eq!((changes.listen, changes.unlisten), (vec![topic("a")], vec![]));
        interest.unlisten(&topic("a"));
        assert!(interest.take().is_none());
        interest.unlisten(&topic("a"));
        let changes = interest.take().unwrap();
        assert_eq!((changes.listen, changes.unlisten), (vec![], vec![topic("a")]));
        assert!(interest.told().is_empty());
    }

    #[test]
    fn left_and_taken_up_again_is_still_listened_to() {
        let interest = Interest::new();
        interest.listen(topic("a"));
        interest.take();
        interest.unlisten(&topic("a"));
        interest.listen(topic("a"));
        let changes = interest.take().unwrap();
        assert!(changes.listen.is_empty() && changes.unlisten.is_empty());
        assert_eq!(changes.version, interest.version().0);
        assert_eq!(interest.told(), [topic("a")]);
        // and with the changes taken in between
        interest.unlisten(&topic("a"));
        assert_eq!(interest.take().unwrap().unlisten, [topic("a")]);
        interest.listen(topic("a"));
        assert_eq!(interest.take().unwrap().listen, [topic("a")]);
    }

    #[test]
    fn a_new_link_is_told_everything_once() {
        let interest = Interest::new();
        interest.listen(topic("a"));
        interest.take();
        interest.listen(topic("b"));
        interest.listen(topic("c"));
        interest.unlisten(&topic("c"));
        let mut all = interest.everything().listen;
        all.sort_by_key(|topic| format!("{topic:?}"));
        assert_eq!(all, [topic("a"), topic("b")]);
        assert!(interest.take().is_none());
    }

    #[test]
    fn one_leave_too_many_is_forgiven() {
        let interest = Interest::new();
        interest.unlisten(&topic("a"));
        interest.listen(topic("a"));
        assert_eq!(interest.take().unwrap().listen, [topic("a")]);
    }
}
