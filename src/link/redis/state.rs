//! The state of one link, why it is down, and the log lines of its changes.
//!
//! One line when the link is lost, one when it is back, and between them one for each new reason:
//! not one for each attempt. Nothing secret is in them.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::link::Link;

/// Most reasons of one outage that are logged.
const REASONS: usize = 8;

pub(crate) struct LinkState {
    what: &'static str,
    address: String,
    link: watch::Sender<Link>,
    outage: Mutex<Option<Outage>>,
}

struct Outage {
    since: Instant,
    /// The reasons in the log, the first one first.
    said: Vec<String>,
    /// The reason of the last attempt.
    reason: String,
}

impl LinkState {
    /// A link that is down, with nothing logged yet. `what` is its use: `frames` or `commands`.
    pub(crate) fn new(what: &'static str, address: String) -> Self {
        Self { what, address, link: watch::Sender::new(Link::Down), outage: Mutex::new(None) }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// Why it is down. `None` while it is up, and before the first attempt.
    pub(crate) fn reason(&self) -> Option<String> {
        self.outage.lock().as_ref().map(|outage| outage.reason.clone())
    }

    pub(crate) fn up(&self) {
        let outage = self.outage.lock().take();
        match outage.map(|outage| Duration::as_millis(&outage.since.elapsed()) as u64) {
            Some(outage_ms) => info!(
                redis.address = %self.address, link = self.what, outage_ms,
                "the link to Redis is back"
            ),
            None => info!(redis.address = %self.address, link = self.what, "linked to Redis"),
        }
        self.link.send_replace(Link::Up);
    }

    /// The link was lost, or not made, for this reason.
    pub(crate) fn down(&self, reason: &str) {
        self.link.send_replace(Link::Down);
        let (address, link, error) = (&self.address, self.what, reason);
        match self.note(reason) {
            Said::First => warn!(
                redis.address = %address, link, error,
                "the link to Redis is down; trying to mend it"
            ),
            Said::New(outage_ms) => warn!(
                redis.address = %address, link, outage_ms, error,
                "the link to Redis cannot be mended for now; trying again and again"
            ),
            Said::Before => debug!(redis.address = %address, link, error, "Redis is still missing"),
        }
    }

    fn note(&self, reason: &str) -> Said {
        let mut outage = self.outage.lock();
        let Some(outage) = &mut *outage else {
            let said = reason.split("; ").map(str::to_owned).collect();
            let reason = reason.to_owned();
            *outage = Some(Outage { since: Instant::now(), said, reason });
            return Said::First;
        };
        reason.clone_into(&mut outage.reason);
        // Each of several connections has its own reason, in any combination.
        let said = &mut outage.said;
        let new: Vec<_> =
            reason.split("; ").filter(|part| !said.iter().any(|said| said == part)).collect();
        if new.is_empty() || said.len() >= REASONS {
            return Said::Before;
        }
        said.extend(new.into_iter().map(str::to_owned));
        Said::New(outage.since.elapsed().as_millis() as u64)
    }

    /// We ended the link.
    pub(crate) fn end(&self) {
        self.link.send_replace(Link::Down);
    }
}

/// How the log takes a reason.
#[derive(Debug, PartialEq)]
enum Said {
    First,
    /// A new reason, this many milliseconds after the first.
    New(u64),
    Before,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_of_an_outage_is_said_once_and_the_last_one_stands() {
        let state = LinkState::new("frames", "h:1".into());
        assert_eq!(state.reason(), None);
        assert_eq!(state.note("closed"), Said::First);
        assert!(matches!(state.note("refused"), Said::New(_)));
        assert_eq!(state.note("closed"), Said::Before);
        assert_eq!(state.reason().as_deref(), Some("closed"));
        assert!(matches!(state.note("refused; other"), Said::New(_)));
        assert_eq!(state.note("other; closed"), Said::Before);
        for number in 0..20 {
            state.note(&number.to_string());
        }
        assert_eq!(state.outage.lock().as_ref().unwrap().said.len(), REASONS);
        state.up();
        assert_eq!(state.reason(), None);
        assert_eq!(state.note("closed"), Said::First);
    }
}
