//! The pause before a connection is made anew.

use std::time::Duration;

use crate::link::backoff::Backoff;

/// A connection that lasted this long was not lost because it was made too soon.
const LASTED: Duration = Duration::from_secs(1);
/// The number of short-lived connections that are made anew at once.
const AT_ONCE: u32 = 5;

/// There is no pause at first: a Redis that closed one connection takes the next at once, and
/// frames published meanwhile are missed. The pause grows where connections cannot be made, or do
/// not last, as while slots of a cluster are moved.
#[derive(Default)]
pub(super) struct Pause {
    again: bool,
    short_lived: u32,
    backoff: Backoff,
}

impl Pause {
    /// The pause before the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        match std::mem::replace(&mut self.again, true) {
            true => self.backoff.next(),
            false => Duration::ZERO,
        }
    }

    /// A connection was lost after this time.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time >= LASTED {
            *self = Self::default();
        } else if self.short_lived < AT_ONCE {
            let short_lived = self.short_lived + 1;
            *self = Self { short_lived, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_made_anew_at_once_unless_none_lasts() {
        let mut pause = Pause::default();
        assert_eq!(pause.next(), Duration::ZERO);
        assert!(pause.next() > Duration::ZERO, "the first attempt failed");
        let short = Duration::from_millis(20);
        for _ in 0..AT_ONCE {
            pause.lasted(short);
            assert_eq!(pause.next(), Duration::ZERO);
        }
        pause.lasted(short);
        assert!(pause.next() > Duration::ZERO);
        pause.lasted(LASTED);
        assert_eq!(pause.next(), Duration::ZERO);
    }
}
