//! Users coming online and going offline, seen through a grace time: the reload of a page is
//! neither.
//!
//! [`Transitions`] decides and does nothing else: no clock, no I/O.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::id::UserId;

/// A user came online or went offline. Online begins with the first socket. Offline begins when
/// `users.offline_after` has passed since the last socket left and none came back.
///
/// ```
/// use switchboard::{Gateway, Switchboard, users::Presence};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder()
///     .gateway(Gateway::new("/"))
///     .on_presence(async |change: Presence| match change {
///         Presence::Online(user) => println!("{user} is here"),
///         Presence::Offline(user) => println!("{user} has left"),
///     })
///     .build()?;
/// # _ = server;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// The user has its first socket.
    Online(UserId),
    /// The user has had no socket for the grace time.
    Offline(UserId),
}

impl Presence {
    fn user(&self) -> &UserId {
        match self {
            Self::Online(user) | Self::Offline(user) => user,
        }
    }
}

/// Longest queue of untold changes, each of another user.
const MAX_UNTOLD: usize = 65_536;

/// The queue of presence changes, in the order in which they happen.
///
/// A change that is undone before it was told is not told. So users that come and go do not grow
/// the queue of a slow listener. If it is too long even so, the oldest change is dropped.
#[derive(Clone, Default)]
pub(crate) struct PresenceSink(Arc<Untold>);

#[derive(Default)]
struct Untold {
    changes: Mutex<Changes>,
    came: Notify,
}

#[derive(Default)]
struct Changes {
    in_order: BTreeMap<u64, Presence>,
    of_users: HashMap<UserId, u64>,
    count: u64,
    dropped: u64,
}

impl Changes {
    fn add(&mut self, presence: Presence) {
        let user = presence.user().clone();
        if let Some(at) = self.of_users.get(&user) {
            if self.in_order.get(at).is_some_and(|untold| *untold != presence) {
                self.in_order.remove(at);
                self.of_users.remove(&user);
            }
            return;
        }
        self.count += 1;
        self.of_users.insert(user, self.count);
        self.in_order.insert(self.count, presence);
        if self.in_order.len() > MAX_UNTOLD {
            self.take();
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                let dropped = self.dropped;
                tracing::error!(
                    dropped,
                    "presence changes dropped: they come faster than their listener takes them"
                );
            }
        }
    }

    fn take(&mut self) -> Option<Presence> {
        let (_, presence) = self.in_order.pop_first()?;
        self.of_users.remove(presence.user());
        Some(presence)
    }
}

impl PresenceSink {
    pub(crate) fn tell(&self, presence: Presence) {
        self.0.changes.lock().add(presence);
        self.0.came.notify_one();
    }

    /// The next untold change, if there is one.
    pub(crate) fn try_next(&self) -> Option<Presence> {
        self.0.changes.lock().take()
    }

    /// Waits for the next untold change. For one listener.
    pub(crate) async fn next(&self) -> Presence {
        loop {
            if let Some(presence) = self.try_next() {
                return presence;
            }
            self.0.came.notified().await;
        }
    }
}

/// The users that have come and those that have just left.
pub(crate) struct Transitions {
    offline_after: Duration,
    /// Those that others were told are online. `None` if nobody listens.
    online: Option<HashSet<UserId>>,
    /// Users whose last socket has left, and the time at which each goes offline.
    leaving: HashMap<UserId, Instant>,
    /// These times in their order, and some of users that have come back since.
    order: VecDeque<(Instant, UserId)>,
}

impl Transitions {
    pub(crate) fn new(offline_after: Duration, has_listener: bool) -> Self {
        let online = has_listener.then(HashSet::new);
        Self { offline_after, online, leaving: HashMap::new(), order: VecDeque::new() }
    }

    /// The user has its first socket.
    pub(crate) fn came(&mut self, user: &UserId) -> Option<Presence> {
        self.leaving.remove(user);
        self.online.as_mut()?.insert(user.clone()).then(|| Presence::Online(user.clone()))
    }

    /// The user's last socket has left. Returns the time to call [`Transitions::expire`]. The time of
    /// one call is never before that of the last one.
    pub(crate) fn left(&mut self, user: &UserId, now: Instant) -> Instant {
        let due = now + self.offline_after;
        self.leaving.insert(user.clone(), due);
        self.order.push_back((due, user.clone()));
        due
    }

    /// Whether the user has left, and its grace time has not passed.
    pub(crate) fn is_leaving(&self, user: &UserId, now: Instant) -> bool {
        self.leaving.get(user).is_some_and(|due| *due > now)
    }

    /// The next time to call [`Transitions::expire`].
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.front().map(|(due, _)| *due)
    }

    /// Forgets the users whose grace time has passed. Returns those that went offline, if somebody
    /// listens.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Presence> {
        let mut gone = Vec::new();
        while let Some((due, user)) = self.order.pop_front_if(|(due, _)| *due <= now) {
            if self.leaving.get(&user) == Some(&due) {
                self.leaving.remove(&user);
                if self.online.as_mut().is_some_and(|online| online.remove(&user)) {
                    gone.push(Presence::Offline(user));
                }
            }
        }
        if self.order.is_empty() {
            // gives the memory of many back
            (self.leaving, self.order) = Default::default();
            if let Some(online) = self.online.as_mut().filter(|online| online.is_empty()) {
                *online = HashSet::new();
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[test]
    fn a_reload_is_neither_offline_nor_online() {
        let (mut transitions, start) = (Transitions::new(GRACE, true), Instant::now());
        let ada: UserId = "ada".into();
        assert_eq!(transitions.came(&ada), Some(Presence::Online(ada.clone())));
        transitions.left(&ada, start);
        assert_eq!(transitions.expire(start + GRACE / 2), []);
        assert_eq!(transitions.came(&ada), None);
        assert_eq!(transitions.expire(start + GRACE * 2), []);
    }

    #[test]
    fn who_stays_away_is_offline_once() {
        let (mut transitions, start) = (Transitions::new(GRACE, true), Instant::now());
        let ada: UserId = "ada".into();
        transitions.came(&ada);
        let due = transitions.left(&ada, start);
        assert_eq!(due, start + GRACE);
        assert_eq!(transitions.expire(due), [Presence::Offline(ada.clone())]);
        assert_eq!(transitions.expire(due + GRACE), []);
        assert_eq!(transitions.came(&ada), Some(Presence::Online(ada)));
    }

    #[tokio::test]
    async fn changes_are_told_in_their_order() {
        let sink = PresenceSink::default();
        let changes = ["ada", "bob", "eve"].map(|user| Presence::Online(user.into()));
        changes.iter().for_each(|change| sink.tell(change.clone()));
        for change in changes {
            assert_eq!(sink.next().await, change);
        }
        assert_eq!(sink.try_next(), None);
    }

    /// However slow the listener is, and however often users come and go.
    #[test]
    fn what_is_undone_before_it_is_told_is_not_told() {
        let sink = PresenceSink::default();
        let (online, offline) = (Presence::Online("ada".into()), Presence::Offline("ada".into()));
        for _ in 0..1_000 {
            sink.tell(online.clone());
            sink.tell(offline.clone());
        }
        assert_eq!(sink.0.changes.lock().in_order.len(), 0);
        assert_eq!(sink.0.changes.lock().of_users.len(), 0);
        sink.tell(online.clone());
        sink.tell(Presence::Online("bob".into()));
        assert_eq!(sink.try_next(), Some(online));
        sink.tell(offline.clone());
        assert_eq!(sink.try_next(), Some(Presence::Online("bob".into())));
        assert_eq!(sink.try_next(), Some(offline));
        assert_eq!(sink.try_next(), None);
    }

    #[test]
    fn a_listener_that_takes_nothing_costs_a_bounded_queue() {
        let sink = PresenceSink::default();
        let user = |number: usize| UserId::from(number.to_string());
        (0..MAX_UNTOLD + 5).for_each(|number| sink.tell(Presence::Online(user(number))));
        assert_eq!(sink.0.changes.lock().of_users.len(), MAX_UNTOLD);
        assert_eq!(sink.try_next(), Some(Presence::Online(user(5))));
    }

    #[test]
    fn leaving_again_starts_the_grace_time_anew() {
        let (mut transitions, start) = (Transitions::new(GRACE, true), Instant::now());
        let ada: UserId = "ada".into();
        transitions.came(&ada);
        transitions.left(&ada, start);
        transitions.came(&ada);
        let due = transitions.left(&ada, start + GRACE / 2);
        assert_eq!(transitions.expire(start + GRACE), []);
        assert_eq!(transitions.expire(due), [Presence::Offline(ada)]);
    }

    #[test]
    fn without_a_listener_the_departed_are_forgotten_all_the_same() {
        let (mut transitions, start) = (Transitions::new(GRACE, false), Instant::now());
        let ada: UserId = "ada".into();
        assert_eq!(transitions.came(&ada), None);
        let due = transitions.left(&ada, start);
        assert_eq!(transitions.next(), Some(due));
        assert!(transitions.is_leaving(&ada, start));
        assert_eq!(transitions.expire(due), []);
        assert_eq!((transitions.next(), transitions.leaving.len()), (None, 0));
    }

    #[test]
    fn whoever_has_left_twice_is_offline_once() {
        let (mut transitions, start) = (Transitions::new(GRACE, true), Instant::now());
        let (ada, bob): (UserId, UserId) = ("ada".into(), "bob".into());
        for user in [&ada, &bob] {
            transitions.came(user);
            transitions.left(user, start);
        }
        transitions.came(&ada);
        transitions.left(&ada, start + GRACE / 2);
        assert_eq!(transitions.next(), Some(start + GRACE));
        assert_eq!(transitions.expire(start + GRACE), [Presence::Offline(bob)]);
        assert_eq!(transitions.expire(start + GRACE * 2), [Presence::Offline(ada)]);
        assert_eq!(transitions.next(), None);
    }
}
