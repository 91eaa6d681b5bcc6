//! What is listened to, and the changes that Redis has not been told of yet.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
};

use parking_lot::Mutex;
use redis::{RedisError, RedisResult};
use tokio::sync::watch;

use super::{super::Topic, driver::Driver};

/// How many channels one command names. A command is answered by one message for each.
const AT_ONCE: usize = 512;

pub(super) struct Topics {
    state: Mutex<State>,
    /// Counts the changes asked for.
    asked: watch::Sender<u64>,
    /// How many of them are in force.
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Each with how many want it.
    wanted: HashMap<Topic, usize>,
    /// Topics that came or went since Redis was told.
    changed: HashSet<Topic>,
    /// What Redis has confirmed.
    in_force: HashSet<Topic>,
}

impl Default for Topics {
    fn default() -> Self {
        Self { state: Mutex::default(), asked: watch::Sender::new(0), done: watch::Sender::new(0) }
    }
}

impl Topics {
    pub(super) fn listen(&self, topic: Topic) {
        let mut state = self.state.lock();
        let count = state.wanted.entry(topic.clone()).or_default();
        *count += 1;
        if *count == 1 {
            state.changed.insert(topic);
            self.asked.send_modify(|asked| *asked += 1);
        }
    }

    pub(super) fn unlisten(&self, topic: &Topic) {
        let mut state = self.state.lock();
        let Some(count) = state.wanted.get_mut(topic) else { return };
        *count -= 1;
        if *count == 0 {
            state.wanted.remove(topic);
            state.changed.insert(topic.clone());
            self.asked.send_modify(|asked| *asked += 1);
        }
    }

    /// Ends when every change before it is in force, or the link is down.
    pub(super) fn settled<'a>(
        &'a self,
        is_up: impl Fn() -> bool + Send + Sync + 'a,
    ) -> impl Future<Output = ()> + Send + 'a {
        // Read at the call and not at the first poll.
        let asked = *self.asked.borrow();
        let mut done = self.done.subscribe();
        async move {
            // Woken by `wake` as well, when the link is lost.
            let _ = done.wait_for(|done| *done >= asked || !is_up()).await;
        }
    }

    /// Lets everybody who waits look at the link again.
    pub(super) fn wake(&self) {
        self.done.send_modify(|_| {});
    }

    /// Listens to everything that is wanted, on a new connection.
    pub(super) async fn listen_again(&self, driver: &Driver) -> RedisResult<()> {
        {
            let mut state = self.state.lock();
            state.in_force.clear();
            state.changed = state.wanted.keys().cloned().collect();
        }
        self.apply(driver).await
    }

    /// Applies changes as they come until that fails.
    pub(super) async fn follow(&self, driver: &Driver) -> RedisError {
        let mut asked = self.asked.subscribe();
        loop {
            if let Err(error) = self.apply(driver).await {
                return error;
            }
            if asked.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Applies everything that was asked for before.
    async fn apply(&self, driver: &Driver) -> RedisResult<()> {
        let (asked, coming, going) = {
            let mut state = self.state.lock();
            let changed = std::mem::take(&mut state.changed);
            let (mut coming, mut going) = (Vec::new(), Vec::new());
            for topic in changed {
                match (state.wanted.contains_key(&topic), state.in_force.contains(&topic)) {
                    (true, false) => coming.push(topic),
                    (false, true) => going.push(topic),
                    _ => {}
                }
            }
            (*self.asked.borrow(), coming, going)
        };
        for topics in coming.chunks(AT_ONCE) {
            driver.listen(topics).await?;
            self.state.lock().in_force.extend(topics.iter().cloned());
        }
        // Who waits, waits for what came.
        self.done.send_replace(asked);
        for topics in going.chunks(AT_ONCE) {
            driver.unlisten(topics).await?;
            let mut state = self.state.lock();
            topics.iter().for_each(|topic| _ = state.in_force.remove(topic));
        }
        Ok(())
    }
}
