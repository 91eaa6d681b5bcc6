//! Who came online and who went offline, seen through a grace time: a reload of a page is neither.
//!
//! [`Transitions`] decides and does nothing else: no clock, no I/O.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::id::UserId;

/// A user came online or went offline. Online with the first socket; offline when
/// `users.offline_after` has passed since the last one left and none came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// The user's first socket is there.
    Online(UserId),
    /// The user has had no socket for the grace time.
    Offline(UserId),
}

/// Where changes of presence go, in the order in which they happen.
pub(crate) struct PresenceSink(pub(crate) mpsc::UnboundedSender<Presence>);

impl PresenceSink {
    pub(crate) fn tell(&self, presence: Presence) {
        // The listener ends with the server; nobody wants to know then.
        let _ = self.0.send(presence);
    }
}

/// The users that are online as far as others were told.
pub(crate) struct Transitions {
    offline_after: Duration,
    online: HashSet<UserId>,
    /// Users whose last socket has left, and when that becomes "offline".
    leaving: HashMap<UserId, Instant>,
}

impl Transitions {
    pub(crate) fn new(offline_after: Duration) -> Self {
        Self { offline_after, online: HashSet::new(), leaving: HashMap::new() }
    }

    /// The user's first socket is there.
    pub(crate) fn came(&mut self, user: &UserId) -> Option<Presence> {
        self.leaving.remove(user);
        self.online.insert(user.clone()).then(|| Presence::Online(user.clone()))
    }

    /// The user's last socket has left. Answers when to call [`Transitions::expire`].
    pub(crate) fn left(&mut self, user: &UserId, now: Instant) -> Instant {
        let due = now + self.offline_after;
        self.leaving.insert(user.clone(), due);
        due
    }

    /// Whether the user has left, and its grace time has not passed.
    pub(crate) fn is_leaving(&self, user: &UserId, now: Instant) -> bool {
        self.leaving.get(user).is_some_and(|due| *due > now)
    }

    /// How many have left and were not forgotten.
    pub(crate) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Forgets and returns the users whose grace time has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Presence> {
        let due = self.leaving.extract_if(|_, due| *due <= now);
        let gone: Vec<UserId> = due.map(|(user, _)| user).collect();
        for user in &gone {
            self.online.remove(user);
        }
        gone.into_iter().map(Presence::Offline).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[test]
    fn a_reload_is_neither_offline_nor_online() {
        let (mut transitions, start) = (Transitions::new(GRACE), Instant::now());
        let ada: UserId = "ada".into();
        assert_eq!(transitions.came(&ada), Some(Presence::Online(ada.clone())));
        transitions.left(&ada, start);
        assert_eq!(transitions.expire(start + GRACE / 2), []);
        assert_eq!(transitions.came(&ada), None);
        assert_eq!(transitions.expire(start + GRACE * 2), []);
    }

    #[test]
    fn who_stays_away_is_offline_once() {
        let (mut transitions, start) = (Transitions::new(GRACE), Instant::now());
        let ada: UserId = "ada".into();
        transitions.came(&ada);
        let due = transitions.left(&ada, start);
        assert_eq!(due, start + GRACE);
        assert_eq!(transitions.expire(due), [Presence::Offline(ada.clone())]);
        assert_eq!(transitions.expire(due + GRACE), []);
        assert_eq!(transitions.came(&ada), Some(Presence::Online(ada)));
    }

    #[test]
    fn leaving_again_starts_the_grace_time_anew() {
        let (mut transitions, start) = (Transitions::new(GRACE), Instant::now());
        let ada: UserId = "ada".into();
        transitions.came(&ada);
        transitions.left(&ada, start);
        transitions.came(&ada);
        let due = transitions.left(&ada, start + GRACE / 2);
        assert_eq!(transitions.expire(start + GRACE), []);
        assert_eq!(transitions.expire(due), [Presence::Offline(ada)]);
    }
}
