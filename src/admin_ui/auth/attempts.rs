//! How often a client may fail: a window for each address. No clock: the time is an argument.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Most failures of an address in a window.
const FAILURES: u32 = 10;

const WINDOW: Duration = Duration::from_secs(60);

/// Most addresses that are remembered. While more than these fail, all others share one window.
const ADDRESSES: usize = 1024;

/// The recent failures.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    by_address: HashMap<IpAddr, Window>,
    others: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    failures: u32,
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

impl Attempts {
    /// Counts an attempt as a failure and returns true, or returns false after too many failures.
    pub(crate) fn tries(&mut self, from: Option<IpAddr>, now: Instant) -> bool {
        let window = self.window(from, now);
        if window.failures >= FAILURES {
            return false;
        }
        window.failures += 1;
        true
    }

    /// The attempt was no failure.
    pub(crate) fn succeeded(&mut self, from: Option<IpAddr>) {
        let own = from.and_then(|from| self.by_address.get_mut(&network(from)));
        if let Some(window) = own.or(self.others.as_mut()) {
            window.failures = window.failures.saturating_sub(1);
        }
    }

    fn window(&mut self, from: Option<IpAddr>, now: Instant) -> &mut Window {
        if self.by_address.len() >= ADDRESSES {
            self.by_address.retain(|_, window| !window.is_over(now));
        }
        let fresh = Window { since: now, failures: 0 };
        let from = from.map(network);
        let has_room = self.by_address.len() < ADDRESSES;
        let window = match from {
            Some(from) if has_room || self.by_address.contains_key(&from) => {
                self.by_address.entry(from).or_insert(fresh)
            }
            _ => self.others.get_or_insert(fresh),
        };
        if window.is_over(now) {
            *window = fresh;
        }
        window
    }
}

/// The network of an address. The owner of one IPv6 address has its whole network.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn who_fails_too_often_waits_and_nobody_else_does() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let (mallory, bob) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..FAILURES {
            assert!(attempts.tries(mallory, now));
        }
        assert!(!attempts.tries(mallory, now));
        assert!(attempts.tries(bob, now));
        assert!(attempts.tries(None, now));
        assert!(attempts.tries(mallory, now + WINDOW));
    }

    #[test]
    fn who_succeeds_may_do_so_as_often_as_it_likes() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for from in [address("192.0.2.1"), None] {
            for _ in 0..FAILURES * 3 {
                assert!(attempts.tries(from, now));
                attempts.succeeded(from);
            }
        }
    }

    #[test]
    fn a_network_of_version_6_is_one_address() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..FAILURES {
            assert!(attempts.tries(address(&format!("2001:db8::{n}")), now));
        }
        assert!(!attempts.tries(address("2001:db8::ffff"), now));
        assert!(attempts.tries(address("2001:db8:0:1::1"), now));
    }

    #[test]
    fn the_memory_of_failures_is_bounded_and_newcomers_share_a_window_then() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..ADDRESSES as u32 + FAILURES {
            assert!(attempts.tries(Some(IpAddr::from(n.to_be_bytes())), now));
        }
        assert_eq!(attempts.by_address.len(), ADDRESSES);
        assert!(!attempts.tries(address("198.51.100.1"), now));
        assert!(attempts.tries(address("0.0.0.1"), now), "who is remembered has its own");
        assert!(attempts.tries(address("198.51.100.1"), now + WINDOW));
        assert_eq!(attempts.by_address.len(), 1);
    }
}
