//! A session as it stands in Redis: base64 of MessagePack `{sid, pid, rooms, data}`, as Node.js writes
//! it, and one more member for what only our nodes know.
//!
//! Reading is lenient: in a Node.js server rooms may be numbers, and `data` may be anything.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use rmpv::Value as Tree;
use socketioxide_core::adapter::Room;

use crate::{
    cluster::{
        codec::{read_room, write_room},
        log::EntryId,
    },
    msgpack,
    packet::MAX_DEPTH,
};

/// The member of ours. Node.js passes over it.
const OURS: &str = "switchboard";
/// Longest id, and most rooms, that are read. More are no session of anybody.
const MAX_ID: usize = 128;
const MAX_ROOMS: usize = 100_000;

/// A session of a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    /// The public id, `socket.id`.
    pub(crate) sid: String,
    /// The secret by which the client comes back.
    pub(crate) pid: String,
    /// Its rooms, the one of its own id among them.
    pub(crate) rooms: Vec<Room>,
    /// What the application has stored with the socket.
    pub(crate) data: Tree,
    /// `None` for a session of a Node.js server.
    pub(crate) ours: Option<Ours>,
}

/// What a node of ours knows beside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ours {
    pub(crate) user: Option<String>,
    /// When the token ends, in ms since the Unix epoch.
    pub(crate) token_end: Option<u64>,
    /// The place in the log at which the session began.
    pub(crate) start: Option<EntryId>,
    /// More that the sockets' row wants to keep, opaque here.
    pub(crate) more: Option<Vec<u8>>,
}

/// Reads base64 with and without its padding, as Node.js does.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Session {
    /// The value of the key.
    pub(crate) fn write(&self) -> String {
        let rooms = Tree::Array(self.rooms.iter().map(|room| write_room(room)).collect());
        let mut members = vec![
            ("sid", Tree::from(self.sid.as_str())),
            ("pid", Tree::from(self.pid.as_str())),
            ("rooms", rooms),
            ("data", self.data.clone()),
        ];
        members.extend(self.ours.as_ref().map(|ours| (OURS, ours.write())));
        let mut bytes = Vec::with_capacity(256);
        msgpack::write(&mut bytes, &map(members));
        BASE64_STANDARD.encode(bytes)
    }

    /// `None` if it is no session.
    pub(crate) fn read(record: &[u8]) -> Option<Self> {
        let bytes = LENIENT.decode(record).ok()?;
        let tree = msgpack::read_nested(&bytes, MAX_DEPTH).ok()?;
        let member = |name: &str| member(&tree, name);
        let id = |name: &str| {
            let id = member(name)?.as_str()?;
            (1..=MAX_ID).contains(&id.len()).then(|| id.to_owned())
        };
        let rooms = match member("rooms") {
            None | Some(Tree::Nil) => Vec::new(),
            Some(rooms) => {
                let rooms = rooms.as_array().filter(|rooms| rooms.len() <= MAX_ROOMS)?;
                rooms.iter().filter_map(read_room).collect()
            }
        };
        let data = member("data").cloned().unwrap_or_else(|| Tree::Map(Vec::new()));
        let ours = member(OURS).and_then(Ours::read);
        Some(Self { sid: id("sid")?, pid: id("pid")?, rooms, data, ours })
    }
}

impl Ours {
    fn write(&self) -> Tree {
        let Self { user, token_end, start, more } = self;
        let members = [
            user.as_ref().map(|user| ("user", Tree::from(user.as_str()))),
            token_end.map(|end| ("end", Tree::from(end))),
            start.map(|start| ("start", Tree::from(start.to_string()))),
            more.as_ref().map(|more| ("more", Tree::Binary(more.clone()))),
        ];
        map(members.into_iter().flatten().collect())
    }

    /// All or nothing: a member that is not understood must not be taken for a missing one.
    fn read(tree: &Tree) -> Option<Self> {
        tree.as_map()?;
        let member = |name: &str| member(tree, name);
        Some(Self {
            user: all(member("user"), |user| Some(user.as_str()?.to_owned()))?,
            token_end: all(member("end"), Tree::as_u64)?,
            start: all(member("start"), |start| start.as_str()?.parse().ok())?,
            more: all(member("more"), |more| match more {
                Tree::Binary(more) => Some(more.clone()),
                _ => None,
            })?,
        })
    }
}

/// `Some(None)` for a missing member, `None` for one that is not understood.
fn all<T>(member: Option<&Tree>, read: impl FnOnce(&Tree) -> Option<T>) -> Option<Option<T>> {
    match member {
        None => Some(None),
        Some(member) => read(member).map(Some),
    }
}

fn map(members: Vec<(&str, Tree)>) -> Tree {
    Tree::Map(members.into_iter().map(|(name, value)| (Tree::from(name), value)).collect())
}

fn member<'a>(tree: &'a Tree, name: &str) -> Option<&'a Tree> {
    let members = tree.as_map()?;
    members.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}
