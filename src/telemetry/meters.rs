//! The counts of a node: plain atomic numbers, so that counting costs an addition. Names, labels
//! and text are made only for a scrape, see `server::metrics`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use socketioxide::socket::DisconnectReason;

use super::{durations::Durations, requests::Requests};
use crate::fault::Code;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, more: u64) {
        // Only `benches/counting.sh` sets this, to learn the cost of counting.
        if !cfg!(uncounted) {
            self.0.fetch_add(more, Relaxed);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter for each of a few known names.
#[derive(Debug)]
pub(crate) struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Counters<N> {
    pub(crate) fn named<'a>(&'a self, names: [&'a str; N]) -> impl Iterator<Item = (&'a str, u64)> {
        names.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

/// The counts of all parts of this node that keep none themselves.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// Sockets that came into their namespace.
    pub(crate) connects: Counter,
    pub(crate) connects_refused: Counters<{ Code::ALL.len() }>,
    pub(crate) disconnects: Counters<{ DISCONNECT_REASONS.len() }>,
    /// Events that clients sent.
    pub(crate) events_received: Counter,
    pub(crate) events_refused: Counters<{ Code::ALL.len() }>,
    /// Events that were queued for sockets of this node, each counted for each socket.
    pub(crate) events_sent: Counter,
    /// Replies of handlers.
    pub(crate) replies: Counter,
    pub(crate) emits: Counters<{ TargetKind::NAMES.len() }>,
    /// Acknowledgements requested from clients of this node.
    pub(crate) acks_asked: Counter,
    /// Acknowledgements received from them.
    pub(crate) acks_received: Counter,
    pub(crate) acks_awaited: AtomicU64,
    /// Sockets that have come back to their session.
    pub(crate) recovered: Counter,
    /// Clients that came back and got a new session.
    pub(crate) not_recovered: Counters<{ NotRecovered::NAMES.len() }>,
    /// Missed events that were sent to sockets that have come back.
    pub(crate) replayed: Counter,
    /// Sockets whose token has an expiry that is watched.
    pub(crate) token_deadlines: AtomicUsize,
    /// The number of sockets when the drain began, plus one. 0: there is no drain, or it is in its
    /// time of grace.
    pub(crate) drained_from: AtomicUsize,
    pub(crate) handlers: Mutex<Vec<Handling>>,
    pub(crate) requests: Requests,
}

/// How long the handler of a declared event takes.
#[derive(Debug)]
pub(crate) struct Handling {
    pub(crate) namespace: String,
    pub(crate) event: String,
    pub(crate) durations: Arc<Durations>,
}

impl Meters {
    pub(crate) fn connect_refused(&self, code: Code) {
        self.connects_refused.0[code as usize].count();
    }

    pub(crate) fn disconnected(&self, reason: DisconnectReason) {
        self.disconnects.0[reason_number(reason)].count();
    }

    pub(crate) fn event_refused(&self, code: Code) {
        self.events_refused.0[code as usize].count();
    }

    pub(crate) fn emitted(&self, to: TargetKind) {
        self.emits.0[to as usize].count();
    }

    pub(crate) fn not_recovered(&self, reason: NotRecovered) {
        self.not_recovered.0[reason as usize].count();
    }

    /// Counts an emit as waiting for acknowledgements until the result is dropped.
    pub(crate) fn awaits_acks(&self) -> impl Drop + use<'_> {
        self.acks_awaited.fetch_add(1, Relaxed);
        Awaiting(&self.acks_awaited)
    }

    /// A drain begins with this many sockets.
    pub(crate) fn drain_begins(&self, sockets: usize) {
        self.drained_from.store(sockets + 1, Relaxed);
    }

    /// Counts a request of the admin port. `route` is the pattern, not the requested path.
    pub(crate) fn admin_answered(
        &self,
        method: &'static str,
        route: &str,
        status: StatusCode,
        took: Duration,
    ) {
        self.requests.record(method, route, status.as_str(), took);
    }

    /// Shows the durations of an event that a gateway declares. `namespace` is the gateway's path,
    /// not the client's.
    pub(crate) fn show(&self, namespace: &str, event: &str, durations: Arc<Durations>) {
        let (namespace, event) = (namespace.to_owned(), event.to_owned());
        self.handlers.lock().push(Handling { namespace, event, durations });
    }
}

struct Awaiting<'a>(&'a AtomicU64);

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The reasons as Node.js names them, so that its dashboards work here, too.
pub(crate) const DISCONNECT_REASONS: [&str; 7] = [
    "transport close",
    "transport error",
    "parse error",
    "ping timeout",
    "client namespace disconnect",
    "server namespace disconnect",
    "server shutting down",
];

/// The name of a reason in Node.js.
pub(crate) fn reason_name(reason: DisconnectReason) -> &'static str {
    DISCONNECT_REASONS[reason_number(reason)]
}

fn reason_number(reason: DisconnectReason) -> usize {
    match reason {
        DisconnectReason::TransportClose => 0,
        // Node.js closes such a client with a transport error, too.
        DisconnectReason::TransportError | DisconnectReason::MultipleHttpPollingError => 1,
        DisconnectReason::PacketParsingError => 2,
        DisconnectReason::HeartbeatTimeout => 3,
        DisconnectReason::ClientNSDisconnect => 4,
        DisconnectReason::ServerNSDisconnect => 5,
        DisconnectReason::ClosingServer => 6,
    }
}

/// Why a client that comes back gets a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NotRecovered {
    /// There is no such session: it has expired, was ended, or never was.
    Unknown,
    /// It belongs to another user, or the client has other rights now.
    OtherOwner,
    /// The client names no place in a log.
    BadOffset,
    /// The log does not reach back as far.
    TooFarBehind,
    /// Its old connection has not ended in time.
    Busy,
    /// Redis does not answer, so it is not known.
    Unavailable,
    /// Another node has it, and cannot give it away without a gap.
    OtherNode,
}

impl NotRecovered {
    pub(crate) const NAMES: [&str; 7] = [
        "unknown",
        "other_owner",
        "bad_offset",
        "too_far_behind",
        "busy",
        "unavailable",
        "other_node",
    ];

    /// Its name in metrics and in the log.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The audience of an emit, by the first of its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    Socket,
    User,
    Room,
    Authenticated,
    All,
}

impl TargetKind {
    pub(crate) const NAMES: [&str; 5] = ["socket", "user", "room", "authenticated", "all"];

    /// Its name in metrics and spans.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emit_that_waits_is_counted_as_long_as_it_waits() {
        let meters = Meters::default();
        let waiting = meters.awaits_acks();
        assert_eq!(meters.acks_awaited.load(Relaxed), 1);
        drop(waiting);
        assert_eq!(meters.acks_awaited.load(Relaxed), 0);
    }

    #[test]
    fn every_code_has_a_counter_of_its_own() {
        let meters = Meters::default();
        meters.event_refused(Code::Internal);
        let counted: Vec<_> = meters
            .events_refused
            .named(Code::ALL.map(Code::as_str))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(counted, [("internal", 1)]);
    }
}
