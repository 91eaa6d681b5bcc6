//! No socket outlives its token: a notice before the token expires, the disconnect after.
//!
//! One task serves all sockets of the node, because a timer for each would cost every idle
//! connection memory. [`Deadlines`] decides and knows no clock.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;

use super::{Session, WeakSession};
use crate::context::Context;

/// How long before the expiry the client is told.
const NOTICE: Duration = Duration::from_secs(60);

/// How long after the expiry the client may still bring a new token.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Notice,
    End,
}

/// What is due when. The number keeps apart what is due at the same moment.
#[derive(Debug)]
struct Deadlines<T> {
    due: BTreeMap<(Instant, u64), (Step, T)>,
    count: u64,
}

impl<T: Clone> Deadlines<T> {
    fn new() -> Self {
        Self { due: BTreeMap::new(), count: 0 }
    }

    fn add(&mut self, who: &T, left: Duration, now: Instant) {
        for (step, after) in
            [(Step::Notice, left.saturating_sub(NOTICE)), (Step::End, left + GRACE)]
        {
            self.count += 1;
            // A token may be good for longer than an `Instant` can say: then it never ends here.
            if let Some(at) = now.checked_add(after) {
                self.due.insert((at, self.count), (step, who.clone()));
            }
        }
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
    deadlines: Mutex<Deadlines<WeakSession>>,
    changed: Notify,
}

impl Expiry {
    /// Starts watching; ends with the node.
    pub(crate) fn start(context: &Context) -> Self {
        let deadlines = Mutex::new(Deadlines::new());
        let expiry = Self(Arc::new(Inner { deadlines, changed: Notify::new() }));
        let watching = expiry.clone();
        let stop = context.stop.clone();
        context.tasks.spawn(async move {
            stop.run_until_cancelled(watching.watch()).await;
        });
        expiry
    }

    /// Watches this socket's token, if it expires. To be called again when it has a new one.
    pub(super) fn watch_token_of(&self, session: &Session) {
        let Some(left) = time_left(session) else { return };
        self.0.deadlines.lock().add(&session.downgrade(), left, Instant::now());
        self.0.changed.notify_one();
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
            let due = self.0.deadlines.lock().take_due(Instant::now());
            for (step, session) in due {
                if let Some(session) = session.upgrade() {
                    act(step, &session);
                }
            }
        }
    }
}

/// The session's token as of now decides: it may have been replaced since the deadline was set.
fn act(step: Step, session: &Session) {
    let Some(left) = time_left(session) else { return };
    match step {
        // A second more, because the two clocks that are compared here do not run quite alike.
        Step::Notice if left <= NOTICE + Duration::from_secs(1) => {
            let notice = json!({ "seconds": left.as_secs_f64().round() as u64 });
            if let Err(error) = session.emit("auth:expiring", &notice) {
                tracing::error!(%error, "cannot announce that a token expires");
            }
        }
        Step::End if left.is_zero() => {
            tracing::debug!(socket.id = %session.id(), "socket has outlived its token");
            session.disconnect(false);
        }
        Step::Notice | Step::End => {}
    }
}

fn time_left(session: &Session) -> Option<Duration> {
    let at = session.expires_at()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_a_minute_before_and_the_end_five_seconds_after() {
        let (mut deadlines, now) = (Deadlines::new(), Instant::now());
        deadlines.add(&"ada", Duration::from_secs(100), now);
        assert_eq!(deadlines.next(), Some(now + Duration::from_secs(40)));
        assert_eq!(deadlines.take_due(now + Duration::from_secs(39)), []);
        assert_eq!(deadlines.take_due(now + Duration::from_secs(40)), [(Step::Notice, "ada")]);
        assert_eq!(deadlines.take_due(now + Duration::from_secs(104)), []);
        assert_eq!(deadlines.take_due(now + Duration::from_secs(105)), [(Step::End, "ada")]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn with_less_than_a_minute_left_the_notice_comes_at_once() {
        let (mut deadlines, now) = (Deadlines::new(), Instant::now());
        deadlines.add(&"ada", Duration::from_secs(8), now);
        assert_eq!(deadlines.take_due(now), [(Step::Notice, "ada")]);
    }

    #[test]
    fn sockets_with_the_same_deadline_do_not_replace_each_other() {
        let (mut deadlines, now) = (Deadlines::new(), Instant::now());
        deadlines.add(&"ada", Duration::ZERO, now);
        deadlines.add(&"bob", Duration::ZERO, now);
        assert_eq!(deadlines.take_due(now).len(), 2);
        assert_eq!(deadlines.take_due(now + GRACE).len(), 2);
    }

    #[test]
    fn a_token_that_is_good_forever_is_no_deadline() {
        let (mut deadlines, now) = (Deadlines::new(), Instant::now());
        deadlines.add(&"ada", Duration::from_secs(u64::MAX / 2), now);
        assert_eq!(deadlines.take_due(now + Duration::from_secs(3600)), []);
    }
}
