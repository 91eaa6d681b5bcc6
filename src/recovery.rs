//! Connection state recovery: the log of a namespace, and what each socket has to get from it.
//!
//! Everything here is data without sockets, clocks or locks: offsets as clients see them, the log
//! itself, the stays of a socket in rooms, and sessions that wait for their client.
//!
//! Socket.IO 4.6 has brought recovery to the protocol: CONNECT tells the client a secret `pid`, each
//! event that counts ends with an offset, and a client that comes back says both.

mod changes;
mod entry_id;
mod event_id;
mod history;
mod inherited;
mod log;
mod offset;
mod pid;

pub(crate) use changes::{Change, Changed, Changes};
pub(crate) use entry_id::EntryId;
pub(crate) use event_id::EventId;
pub(crate) use history::History;
pub(crate) use inherited::{Handed, Inherited, Place, Stretch};
pub(crate) use log::{Entry, Log, LogBounds, Scope};
pub(crate) use offset::{Offsets, Position, Said, ends_with_text, with_offset};
pub(crate) use pid::Pid;
