//! No socket outlives its token: a notice comes before the token expires, and the disconnect after.
//!
//! One task serves all sockets of the node, because a timer for each would cost every idle
//! connection memory. [`Deadlines`] decides and knows no clock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;

use super::{Socket, WeakSocket};
use crate::sockets::node::Node;

/// The time of the notice before the expiry.
const NOTICE: Duration = Duration::from_secs(60);

/// How long after the expiry the client may still bring a new token.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Notice,
    End,
}

/// A deadline. The number tells apart deadlines at the same moment.
pub(super) type Due = (Instant, u64);

/// The deadlines: one for each token, with its next step.
#[derive(Debug)]
struct Deadlines<T> {
    due: BTreeMap<Due, (Step, T)>,
    count: u64,
}

impl<T> Deadlines<T> {
    fn new() -> Self {
        Self { due: BTreeMap::new(), count: 0 }
    }

    /// Adds a deadline. `None` if the token lives for longer than an `Instant` can express: it
    /// never ends.
    fn add(&mut self, who: T, step: Step, left: Duration, now: Instant) -> Option<Due> {
        let after = match step {
            Step::Notice => left.saturating_sub(NOTICE),
            Step::End => left.checked_add(GRACE)?,
        };
        self.count += 1;
        let due = (now.checked_add(after)?, self.count);
        self.due.insert(due, (step, who));
        Some(due)
    }

    fn remove(&mut self, due: &Due) {
        self.due.remove(due);
    }

    fn take_due(&mut self, now: Instant) -> Vec<(Step, T)> {
        let later = self.due.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.due, later).into_values().collect()
    }

    fn next(&self) -> Option<Instant> {
        self.due.keys().next().map(|(at, _)| *at)
    }
}

/// Watches the tokens of the node's sockets.
#[derive(Clone)]
pub(crate) struct Expiry(Arc<Inner>);

struct Inner {
    deadlines: Mutex<Deadlines<WeakSocket>>,
    changed: Notify,
    node: Weak<Node>,
}

impl Expiry {
    /// Starts watching. Ends with the node.
    pub(crate) fn start(node: &Arc<Node>) -> Self {
        let deadlines = Mutex::new(Deadlines::new());
        let node_of = Arc::downgrade(node);
        let expiry = Self(Arc::new(Inner { deadlines, changed: Notify::new(), node: node_of }));
        let watching = expiry.clone();
        let stop = node.stop.clone();
        node.tasks.spawn(async move {
            stop.run_until_cancelled(watching.watch()).await;
        });
        expiry
    }

    /// Watches this socket's token, if it expires, in place of its former one.
    pub(super) fn watch_token_of(&self, socket: &Socket) {
        self.set(socket, Step::Notice);
    }

    /// The socket has left.
    pub(super) fn forget(&self, socket: &Socket) {
        if let Some(due) = socket.0.deadline.lock().take() {
            self.change(|deadlines| deadlines.remove(&due));
        }
    }

    fn set(&self, socket: &Socket, step: Step) {
        let mut deadline = socket.0.deadline.lock();
        let before = deadline.take();
        let left = time_left(socket).filter(|_| socket.is_connected());
        if before.is_none() && left.is_none() {
            return; // no deadline before and after: nobody has to be woken
        }
        let due = self.change(|deadlines| {
            before.iter().for_each(|due| deadlines.remove(due));
            deadlines.add(socket.downgrade(), step, left?, Instant::now())
        });
        *deadline = due.map(Box::new);
        self.0.changed.notify_one();
    }

    fn change<R>(&self, change: impl FnOnce(&mut Deadlines<WeakSocket>) -> R) -> R {
        let mut deadlines = self.0.deadlines.lock();
        let changed = change(&mut deadlines);
        if let Some(node) = self.0.node.upgrade() {
            node.meters().token_deadlines.store(deadlines.due.len(), Ordering::Relaxed);
        }
        changed
    }

    async fn watch(&self) {
        loop {
            let next = self.0.deadlines.lock().next();
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.0.changed.notified() => continue,
            }
            let due = self.change(|deadlines| deadlines.take_due(Instant::now()));
            for (step, socket) in due {
                let Some(socket) = socket.upgrade() else { continue };
                // Waits once more if the end has not come yet: the two clocks differ a little.
                let left = time_left(&socket).unwrap_or_default();
                if step == Step::Notice || !left.is_zero() {
                    self.set(&socket, Step::End);
                }
                act(step, &socket);
            }
        }
    }
}

/// Acts by the socket's present token, which may have been replaced since the deadline was set.
fn act(step: Step, socket: &Socket) {
    let Some(left) = time_left(socket) else { return };
    match step {
        // One second more, because the two clocks compared here differ a little.
        Step::Notice if left <= NOTICE + Duration::from_secs(1) => {
            let notice = json!({ "seconds": left.as_secs_f64().round() as u64 });
            if let Err(error) = socket.emit("auth:expiring", &notice) {
                tracing::error!(%error, "cannot announce that a token expires");
            }
        }
        Step::End if left.is_zero() => {
            tracing::debug!(socket.id = %socket.id(), "socket has outlived its token");
            socket.disconnect(false);
        }
        Step::Notice | Step::End => {}
    }
}

fn time_left(socket: &Socket) -> Option<Duration> {
    let at = socket.expires_at()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: Duration = Duration::from_secs(1);

    #[test]
    fn a_notice_a_minute_before_and_the_end_five_seconds_after() {
        let (mut deadlines, now) = (Deadlines::new(), Instant::now());
        deadlines.add("ada", Step::Notice, 100 * SECONDS, now);
        assert_eq!(deadlines.next(), Some(now + 40 * SECONDS));
        assert_eq!(deadlines.take_due(now + 39 * SECONDS), []);
        assert_eq!(deadlines.take_due(now + 40 * SECONDS), [(Step::Notice, "ada")]);
        deadlines.add("ada", Step::End, 60 * SECONDS, now + 40 * SECONDS);
        assert_eq!(deadlines.take_due(now + 104 * SECONDS), []);
        assert_eq!(deadlines.take_due(now + 105 * SECONDS), [(Step::End, "ada")]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn with_less_than_a_minute_left_the_notice_comes_at_once() {
        let (mut deadlines, now) = (Deadlines::new(), Instant::now());
        deadlines.add("ada", Step::Notice, 8 * SECONDS, now);
        assert_eq!(deadlines.take_due(now), [(Step::Notice, "ada")]);
    }

    #[test]
    fn sockets_with_the_same_deadline_do_not_replace_each_other() {
        let (mut deadlines, now) = (Deadlines::new(), Instant::now());
        let ada = deadlines.add("ada", Step::End, Duration::ZERO, now).expect("soon");
        deadlines.add("bob", Step::End, Duration::ZERO, now);
        deadlines.add("eve", Step::End, Duration::ZERO, now);
        deadlines.remove(&ada);
        assert_eq!(deadlines.take_due(now + GRACE), [(Step::End, "bob"), (Step::End, "eve")]);
    }

    #[test]
    fn a_token_that_is_good_forever_is_no_deadline() {
        let (mut deadlines, now) = (Deadlines::new(), Instant::now());
        for left in [Duration::from_secs(u64::MAX / 2), Duration::MAX] {
            for step in [Step::Notice, Step::End] {
                assert_eq!(deadlines.add("ada", step, left, now), None);
            }
        }
        assert_eq!(deadlines.next(), None);
    }
}
