//! The order of what this node does in a namespace whose log is in Redis.
//!
//! An event waits until it comes back from Redis with its place. What a program does after it, such
//! as taking the socket out of the room, waits behind it, so that everything happens in the order of
//! the calls.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::recovery::Position;

/// What is done in its turn, with the place in the log, if there is one.
pub(super) type Act = Box<dyn FnOnce(Option<Position>) + Send>;

#[derive(Default)]
pub(super) struct Turns {
    queue: Mutex<Queue>,
    /// Held while acts are done, one after the other.
    doing: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    /// The number of the first turn.
    first: u64,
    turns: VecDeque<Turn>,
}

struct Turn {
    /// `None` while it is done.
    act: Option<Act>,
    /// `None` until it has come back.
    back: Option<Option<Position>>,
}

impl Turns {
    /// Takes the next turn, for something that comes back from Redis. Returns its number.
    pub(super) fn take(&self, act: Act) -> u64 {
        let mut queue = self.queue.lock();
        queue.turns.push_back(Turn { act: Some(act), back: None });
        queue.first + queue.turns.len() as u64 - 1
    }

    /// Does this behind everything that waits, or at once if nothing does.
    pub(super) fn then(&self, act: impl FnOnce() + Send + 'static) {
        {
            let mut queue = self.queue.lock();
            if !queue.turns.is_empty() {
                let act: Act = Box::new(|_| act());
                return queue.turns.push_back(Turn { act: Some(act), back: Some(None) });
            }
        }
        act();
    }

    /// Ends when everything is done that waits now. `None` if nothing does.
    pub(super) fn all_before(&self) -> Option<oneshot::Receiver<()>> {
        let mut queue = self.queue.lock();
        if queue.turns.is_empty() {
            return None;
        }
        let (reached, all_before) = oneshot::channel();
        let act: Act = Box::new(move |_| _ = reached.send(()));
        queue.turns.push_back(Turn { act: Some(act), back: Some(None) });
        Some(all_before)
    }

    /// This turn has come back. With a place it is done at once, for the log has to be in order;
    /// without one on a task, for the caller may hold anything.
    pub(super) fn came_back(self: &Arc<Self>, number: u64, at: Option<Position>) {
        {
            let mut queue = self.queue.lock();
            let place = number.checked_sub(queue.first).and_then(|n| usize::try_from(n).ok());
            let Some(turn) = place.and_then(|place| queue.turns.get_mut(place)) else { return };
            turn.back = Some(at);
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if at.is_none() => {
                let turns = self.clone();
                runtime.spawn(async move { turns.go_on() });
            }
            _ => self.go_on(),
        }
    }

    /// Does what has come back, up to the first that has not.
    fn go_on(&self) {
        let _doing = self.doing.lock();
        loop {
            let (act, at) = {
                let mut queue = self.queue.lock();
                let Some(Turn { act, back: Some(at) }) = queue.turns.front_mut() else { return };
                (act.take(), *at)
            };
            // It keeps its turn meanwhile, so that nothing overtakes it.
            let _ends = Ends(self);
            act.into_iter().for_each(|act| act(at));
        }
    }
}

/// The first turn ends, whatever happens in it.
struct Ends<'a>(&'a Turns);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.turns.pop_front();
        queue.first += 1;
        if queue.turns.is_empty() {
            queue.turns.shrink_to(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Done = Arc<Mutex<Vec<(&'static str, Option<Position>)>>>;

    fn act(done: &Done, name: &'static str) -> Act {
        let done = done.clone();
        Box::new(move |at| done.lock().push((name, at)))
    }

    #[test]
    fn everything_is_done_in_the_order_of_the_calls() {
        let (turns, done) = (Arc::new(Turns::default()), Done::default());
        let at = |number| Some(Position::numbered(number));
        let then = |name| {
            let done = done.clone();
            turns.then(move || done.lock().push((name, None)));
        };
        then("at once");
        let (one, two) = (turns.take(act(&done, "one")), turns.take(act(&done, "two")));
        then("leave");
        let mut before_three = turns.all_before().expect("something waits");
        let three = turns.take(act(&done, "three"));
        turns.came_back(two, None);
        assert_eq!(done.lock().len(), 1, "the first is not back");
        assert!(before_three.try_recv().is_err());
        turns.came_back(one, at(7));
        assert_eq!(before_three.try_recv(), Ok(()));
        turns.came_back(three, at(9));
        turns.came_back(three, at(9));
        let expected =
            [("at once", None), ("one", at(7)), ("two", None), ("leave", None), ("three", at(9))];
        assert_eq!(*done.lock(), expected);
        assert!(turns.all_before().is_none());
    }

    #[test]
    fn one_that_fails_does_not_stop_the_others() {
        let (turns, done) = (Arc::new(Turns::default()), Done::default());
        let one = turns.take(Box::new(|_| panic!("it fails")));
        let two = turns.take(act(&done, "two"));
        turns.came_back(two, Some(Position::numbered(2)));
        let failed = std::panic::AssertUnwindSafe(|| turns.came_back(one, None));
        assert!(std::panic::catch_unwind(failed).is_err());
        turns.came_back(turns.take(act(&done, "three")), None);
        assert_eq!(done.lock().len(), 2);
    }
}
