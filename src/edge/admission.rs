//! How many sessions there may be, how fast they may come, and how many one address may have.
//! [`Sessions`] decides, without a clock; [`Admission`] is the lock around it that sessions share.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The limits on sessions. 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Sessions at one time.
    pub(crate) max_connections: usize,
    /// New sessions per second, on average. The same number may come at once.
    pub(crate) connections_per_second: u32,
    /// Sessions at one time from one address (IPv6: from one /64, the share of one customer).
    pub(crate) connections_per_address: usize,
}

/// Why a session was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Connections,
    Rate,
    Address,
}

/// The wait for a refused client, in seconds, before it comes back.
impl Full {
    pub(super) const fn retry_after(self) -> Duration {
        match self {
            Self::Rate => Duration::from_secs(1),
            Self::Connections | Self::Address => Duration::from_secs(5),
        }
    }
}

#[derive(Debug, Default)]
struct Sessions {
    limits: Limits,
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Sessions that may come at once, as of `filled`.
    tokens: f64,
    filled: Option<Instant>,
}

impl Sessions {
    fn admit(&mut self, address: IpAddr, now: Instant) -> Result<(), Full> {
        let Limits { max_connections, connections_per_second, connections_per_address } =
            self.limits;
        if max_connections > 0 && self.open >= max_connections {
            return Err(Full::Connections);
        }
        let here = self.by_address.get(&address).copied().unwrap_or(0);
        if connections_per_address > 0 && here >= connections_per_address {
            return Err(Full::Address);
        }
        if connections_per_second > 0 && !self.take_token(connections_per_second.into(), now) {
            return Err(Full::Rate);
        }
        self.open += 1;
        *self.by_address.entry(address).or_default() += 1;
        Ok(())
    }

    fn take_token(&mut self, rate: f64, now: Instant) -> bool {
        let gained = match self.filled {
            Some(filled) => now.saturating_duration_since(filled).as_secs_f64() * rate,
            None => rate,
        };
        self.tokens = (self.tokens + gained).min(rate);
        self.filled = Some(now);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }

    fn release(&mut self, address: IpAddr) {
        self.open -= 1;
        if let Some(here) = self.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// The lock that all requests share.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    sessions: Arc<Mutex<Sessions>>,
}

impl Admission {
    /// Counts a session in, until the permit is dropped.
    pub(super) fn admit(&self, address: IpAddr, now: Instant) -> Result<Permit, Full> {
        let address = customer(address);
        self.sessions.lock().admit(address, now)?;
        Ok(Permit { admission: self.clone(), address })
    }

    /// Sets new limits. Admitted sessions stay.
    pub(super) fn set_limits(&self, limits: Limits) {
        self.sessions.lock().limits = limits;
    }
}

/// One session's place. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Admission,
    address: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.sessions.lock().release(self.address);
    }
}

/// The share of one customer: an IPv4 address, or the /64 of an IPv6 address.
pub(super) fn customer(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(
        max_connections: usize,
        connections_per_second: u32,
        connections_per_address: usize,
    ) -> Admission {
        let admission = Admission::default();
        admission.set_limits(Limits {
            max_connections,
            connections_per_second,
            connections_per_address,
        });
        admission
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn without_limits_everybody_is_admitted() {
        let (admission, now) = (admission(0, 0, 0), Instant::now());
        let permits: Vec<_> = (0..1000).map(|_| admission.admit(ip("192.0.2.1"), now)).collect();
        assert!(permits.iter().all(Result::is_ok));
    }

    #[test]
    fn a_place_is_free_again_when_its_session_ends() {
        let (admission, now) = (admission(2, 0, 0), Instant::now());
        let one = admission.admit(ip("192.0.2.1"), now).expect("the first");
        let _two = admission.admit(ip("192.0.2.2"), now).expect("the second");
        assert_eq!(admission.admit(ip("192.0.2.3"), now).err(), Some(Full::Connections));
        drop(one);
        admission.admit(ip("192.0.2.3"), now).expect("a place is free");
    }

    #[test]
    fn one_address_does_not_take_the_places_of_all() {
        let (admission, now) = (admission(0, 0, 1), Instant::now());
        let one = admission.admit(ip("192.0.2.1"), now).expect("the first");
        assert_eq!(admission.admit(ip("192.0.2.1"), now).err(), Some(Full::Address));
        admission.admit(ip("192.0.2.2"), now).expect("somebody else");
        drop(one);
        admission.admit(ip("192.0.2.1"), now).expect("again");
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one_address() {
        let (admission, now) = (admission(0, 0, 1), Instant::now());
        let _one = admission.admit(ip("2001:db8::1"), now).expect("the first");
        assert_eq!(admission.admit(ip("2001:db8::2"), now).err(), Some(Full::Address));
        admission.admit(ip("2001:db8:0:1::1"), now).expect("the next network");
    }

    #[test]
    fn a_rush_is_admitted_at_the_rate() {
        let (admission, start) = (admission(0, 10, 0), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let rush = |now| (0..50).filter(|_| admission.admit(ip("192.0.2.1"), now).is_ok()).count();
        assert_eq!(rush(at(0)), 10);
        assert_eq!(rush(at(500)), 5);
        assert_eq!(rush(at(550)), 0);
        assert_eq!(rush(at(60_000)), 10, "what was not used in a quiet minute is not saved up");
    }

    #[test]
    fn a_refused_session_costs_nothing() {
        let (admission, now) = (admission(1, 1, 0), Instant::now());
        let one = admission.admit(ip("192.0.2.1"), now).expect("the first");
        for _ in 0..10 {
            assert_eq!(admission.admit(ip("192.0.2.1"), now).err(), Some(Full::Connections));
        }
        drop(one);
        let later = now + Duration::from_secs(1);
        admission.admit(ip("192.0.2.1"), later).expect("a place and a token");
    }

    #[test]
    fn a_lower_limit_sends_nobody_away() {
        let (admission, now) = (admission(3, 0, 0), Instant::now());
        let all: Vec<_> = (0..3).map(|_| admission.admit(ip("192.0.2.1"), now)).collect();
        admission.set_limits(Limits { max_connections: 1, ..Limits::default() });
        assert_eq!(admission.admit(ip("192.0.2.1"), now).err(), Some(Full::Connections));
        drop(all);
        admission.admit(ip("192.0.2.1"), now).expect("below the new limit");
    }
}
