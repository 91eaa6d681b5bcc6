//! A session as it goes from one node to another: through Redis, or as an answer.

use rmpv::Value as Tree;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use socketioxide_core::adapter::Room;

use crate::{
    cluster::{
        codec::to_json,
        sessions::{Ours, Session},
    },
    millis::since_epoch,
    recovery::{History, Pid, Position},
    sockets::record::SocketRecord,
};

/// Largest session that is written, in bytes before it is encoded.
const LARGEST: usize = 512 * 1024;

/// A session of one of our nodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shared {
    pub(crate) pid: Pid,
    pub(crate) record: SocketRecord,
    pub(crate) history: History,
    /// Changes by servers up to this place of the log are in it.
    pub(crate) upto: Position,
    /// The node that has written it.
    pub(crate) holder: Box<str>,
}

/// What our nodes write beside the session.
#[derive(Serialize, Deserialize)]
struct Beside {
    record: SocketRecord,
    history: History,
    upto: Position,
    holder: Box<str>,
}

/// Reads what stands beside a session in Redis, as anybody who reaches Redis can write it, and checks
/// that what is understood survives being written.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_beside(beside: &[u8]) {
    let pid = Pid::random();
    if let Some(shared) = Shared::read(beside, &pid) {
        let written = shared.written_by(&shared.holder);
        assert_eq!(Shared::read(&written, &pid), Some(shared), "a session changes on its way");
    }
}

/// A session in Redis.
#[derive(Debug)]
pub(crate) enum Found {
    Ours(Box<Shared>),
    /// A Node.js server has written it last.
    Foreign(Foreign),
}

/// A session of a Node.js server, which says nothing of the user, the namespace or the log.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) id: String,
    pub(crate) rooms: Vec<Room>,
    pub(crate) data: Map<String, Json>,
}

impl Found {
    /// `None` if it is none of this secret, or makes no sense.
    pub(super) fn read(session: Session, pid: &Pid) -> Option<Self> {
        if session.pid != pid.reveal() {
            return None;
        }
        let Session { sid, rooms, data, ours, .. } = session;
        match ours {
            Some(ours) => {
                let shared = Shared::read(&ours.more?, pid)?;
                // A Node.js server passes over what it does not know, and writes it no more. So
                // both halves are of one hand.
                (shared.record.id.as_str() == sid).then(|| Self::Ours(Box::new(shared)))
            }
            None => {
                let data = match to_json(&data) {
                    Ok(Json::Object(data)) => data,
                    _ => Map::new(),
                };
                Some(Self::Foreign(Foreign { id: sid, rooms, data }))
            }
        }
    }
}

impl Shared {
    /// The session for Redis. `None` if it is too large.
    pub(super) fn to_session(&self, holder: &str) -> Option<Session> {
        let Self { pid, record, history, .. } = self;
        if record.size() + history.size() > LARGEST {
            return None;
        }
        let data = rmpv::ext::to_value(&record.data).unwrap_or_else(|_| Tree::Map(Vec::new()));
        let mut rooms: Vec<Room> = history.rooms().cloned().collect();
        rooms.sort();
        let ours = Ours {
            user: record.identity.user_id().map(ToString::to_string),
            token_end: record.identity.expires_at().map(since_epoch),
            start: Some(history.start()),
            more: Some(self.written_by(holder)),
        };
        Some(Session {
            sid: record.id.to_string(),
            pid: pid.reveal().to_owned(),
            rooms,
            data,
            ours: Some(ours),
        })
    }

    fn written_by(&self, holder: &str) -> Vec<u8> {
        let (record, history) = (self.record.clone(), self.history.clone());
        let beside = Beside { record, history, upto: self.upto, holder: holder.into() };
        // Names and numbers can always be written.
        rmp_serde::to_vec_named(&beside).unwrap_or_default()
    }

    /// `None` if it makes no sense.
    pub(super) fn read(beside: &[u8], pid: &Pid) -> Option<Self> {
        let Beside { record, history, upto, holder } = rmp_serde::from_slice(beside).ok()?;
        Some(Self { pid: pid.clone(), record, history, upto, holder })
    }
}
