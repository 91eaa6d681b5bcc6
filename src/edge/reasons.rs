//! Reasons for cutting a transport, and for refusing a request. The names are labels of the
//! metrics.

/// Why the server cut a transport. The name is a label of the metrics.
///
/// ```
/// use switchboard::server::KillReason;
///
/// assert_eq!(KillReason::SlowConsumer.as_str(), "slow_consumer");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum KillReason {
    /// The node is being drained.
    Drain = 1,
    /// More waited for the client than is allowed.
    SlowConsumer,
    /// The client took too little of the waiting bytes for too long.
    Stalled,
    /// The client broke off a request. The request's content, or that of its answer, may be lost.
    PollAborted,
    /// The client was silent for longer than a heartbeat takes.
    Vanished,
    /// The client sent something that no client may send.
    BadRequest,
    /// The application asked for it.
    Requested,
    /// A message of another node may not have reached this one.
    Missed,
    /// Its client has come back by another connection.
    TakenOver,
    /// Its namespace, or its session, has just been removed. Its client connects anew.
    Removed,
}

impl KillReason {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 10] = [
        Self::Drain,
        Self::SlowConsumer,
        Self::Stalled,
        Self::PollAborted,
        Self::Vanished,
        Self::BadRequest,
        Self::Requested,
        Self::Missed,
        Self::TakenOver,
        Self::Removed,
    ];

    /// The reason with this number.
    pub(super) fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The name in metrics and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::SlowConsumer => "slow_consumer",
            Self::Stalled => "stalled",
            Self::PollAborted => "poll_aborted",
            Self::Vanished => "vanished",
            Self::BadRequest => "bad_request",
            Self::Requested => "requested",
            Self::Missed => "missed",
            Self::TakenOver => "taken_over",
            Self::Removed => "removed",
        }
    }
}

/// Why a handshake was refused before the engine knew of it. The name is a label of the metrics.
///
/// ```
/// use switchboard::server::RefuseReason;
///
/// assert_eq!(RefuseReason::BadRequest.as_str(), "bad_request");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum RefuseReason {
    /// A request that the protocol does not know.
    BadRequest,
    /// A session id that is not ours, or of a session that has ended.
    UnknownSession,
    /// The node is being drained.
    Draining,
    /// The node has not joined its cluster yet.
    Starting,
    /// `max_connections`.
    Connections,
    /// `connections_per_second`.
    Rate,
    /// `connections_per_address`.
    Address,
    /// A body larger than `max_payload`.
    TooLarge,
    /// `max_bodies`, or `max_bodies_per_address`.
    Bodies,
    /// A body that did not arrive in time.
    TooSlow,
    /// An error of the server.
    Internal,
    /// The program, by `allow_request`.
    Program,
    /// Too many requests wait for the program's `allow_request`.
    Openings,
    /// A page of an origin that `cors_origins` does not name. It gets an answer, and its browser
    /// hides the answer from it.
    Origin,
}

impl RefuseReason {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 14] = [
        Self::BadRequest,
        Self::UnknownSession,
        Self::Draining,
        Self::Starting,
        Self::Connections,
        Self::Rate,
        Self::Address,
        Self::TooLarge,
        Self::Bodies,
        Self::TooSlow,
        Self::Internal,
        Self::Program,
        Self::Openings,
        Self::Origin,
    ];

    /// The name as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownSession => "unknown_session",
            Self::Draining => "draining",
            Self::Starting => "starting",
            Self::Connections => "max_connections",
            Self::Rate => "connections_per_second",
            Self::Address => "connections_per_address",
            Self::TooLarge => "too_large",
            Self::Bodies => "bodies",
            Self::TooSlow => "too_slow",
            Self::Internal => "internal",
            Self::Program => "program",
            Self::Openings => "openings",
            Self::Origin => "origin",
        }
    }
}
