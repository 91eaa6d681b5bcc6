//! The pause before a connection is made anew.

use std::time::Duration;

use crate::redis::backoff::Backoff;

/// A connection that lasted so long was not lost because it was made too soon.
const LASTED: Duration = Duration::from_secs(1);

/// None at first: a Redis that closed one connection takes the next at once, and what is published
/// meanwhile is missed. Growing from the second failure on, or where connections don't last, as while
/// the slots of a cluster are moved.
#[derive(Default)]
pub(super) struct Pause {
    again: bool,
    backoff: Backoff,
}

impl Pause {
    /// Before the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        match std::mem::replace(&mut self.again, true) {
            true => self.backoff.next(),
            false => Duration::ZERO,
        }
    }

    /// A connection was lost that had lasted so long.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time >= LASTED {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_at_once_and_so_is_the_next_if_that_one_lasted() {
        let mut pause = Pause::default();
        assert_eq!(pause.next(), Duration::ZERO);
        pause.lasted(Duration::from_millis(20));
        assert!(pause.next() > Duration::ZERO);
        pause.lasted(Duration::from_secs(1));
        assert_eq!(pause.next(), Duration::ZERO);
    }
}
