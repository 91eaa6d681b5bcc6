//! The names of things: sockets, nodes, users.
//!
//! A socket has two ids from the start. [`SocketId`] is the public one: what clients see as
//! `socket.id`, what rooms and the directory use, what survives a recovery. The engine's own
//! session id ([`Sid`]) stays inside the server and opens a transport; the two are only equal by
//! accident, never by contract.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};
use socketioxide_core::Sid;

/// The public id of a socket, `socket.id` in the client. 16 url-safe characters.
///
/// Unique within a namespace: one client that connects to two namespaces over one transport has
/// the same id in both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(Sid);

impl SocketId {
    pub(crate) const fn new(sid: Sid) -> Self {
        Self(sid)
    }

    pub(crate) const fn sid(self) -> Sid {
        self.0
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for SocketId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The name of a node in the cluster. Random at each start unless configured.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A fresh name: 8 characters, lower case, fit for a URL.
    pub(crate) fn random() -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let name: String =
            (0..8).map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())])).collect();
        Self(name.into())
    }

    pub(crate) fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a user, as the token's `sub` gives it. Cheap to clone.
pub type UserId = Arc<str>;
