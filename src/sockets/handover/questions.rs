//! The questions between nodes about sessions, and their answers, in MessagePack. Only nodes of one
//! cluster can ask: the hop between them is sealed.

use serde::{Deserialize, Serialize};
use socketioxide_core::adapter::Room;

use crate::{
    auth::Identity, recovery::Inherited, sockets::record::SocketRecord,
    telemetry::meters::NotRecovered,
};

/// Asks for a session: a [`Loan`], answered by [`Lent`].
pub(super) const LEND: &str = "session.lend";

/// Asks for the events of a lent session, which ends where it was: a [`Move`], answered by
/// [`Moved`].
pub(super) const MOVE: &str = "session.move";

/// A node that stops asks another one to fetch a session: a [`Take`]. The answer is whether it has.
pub(super) const TAKE: &str = "session.take";

/// Asks for a session.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Loan {
    pub(super) namespace: String,
    pub(super) pid: String,
    pub(super) offset: Option<String>,
    /// Of the client that asks for it. `None`: the node that has it wants to give it away.
    pub(super) identity: Option<Identity>,
}

/// The answer to a [`Loan`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Lent {
    Yes { record: Box<SocketRecord>, rooms: Vec<Room>, number: u64 },
    No(NotRecovered),
}

/// Asks to move a lent session, once this mark has come.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Move {
    /// Of the loan.
    pub(super) number: u64,
    pub(super) mark: u64,
}

/// The answer to a [`Move`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Moved {
    Yes(Inherited),
    /// It stays where it is, and the next attempt may do better.
    NotYet,
    No,
}

/// See [`TAKE`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Take {
    pub(super) namespace: String,
    pub(super) pid: String,
    /// The node that has the session.
    pub(super) from: String,
}
