//! The names of things: sockets, nodes, users.
//!
//! A socket has two ids. [`SocketId`] is the public one: clients see it as `socket.id`, rooms and
//! the directory use it, and every CONNECT gets a new one. The engine's session id ([`Sid`]) names
//! the connection below, which may carry sockets of several namespaces. It stays inside the server.
//! Only the adapter maps one to the other.

use std::{convert::Infallible, fmt, str::FromStr, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use socketioxide_core::Sid;

/// Characters of an id, as in Node.js, which takes a room with such a name for a socket's own.
const LENGTH: usize = 20;

/// Characters that are random. The others follow from them.
const CHOSEN: usize = 16;

/// Bytes behind the random characters.
const CHOSEN_BYTES: usize = CHOSEN / 4 * 3;

/// Characters of a transport's session id behind the name of its node.
const SIGNED: usize = 32;

/// The public id of a socket, `socket.id` in the client: 20 url-safe characters. Each namespace and
/// each CONNECT has a new one.
///
/// The last four characters of an id of ours follow from the first sixteen, so that the name of an
/// ordinary room is not mistaken for an id. Sockets of Node.js servers have ids without that. Anybody
/// can make an id up: it is a name and no proof of anything.
///
/// A client of version 2 does not hear its id from the server. It calls itself by the id of its
/// connection; see [`Emitter::to_known_as`](crate::sockets::emitter::Emitter::to_known_as).
///
/// ```
/// use switchboard::id::SocketId;
///
/// let id: SocketId = "WE593V5owfuuoPohQduk".parse()?;
/// assert_eq!(id.as_str(), "WE593V5owfuuoPohQduk");
/// assert!("lobby".parse::<SocketId>().is_err());
/// # Ok::<_, switchboard::id::NotASocketId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId([u8; LENGTH]);

impl SocketId {
    /// An id that no other socket has.
    pub(crate) fn random() -> Self {
        Self::of(rand::random())
    }

    /// The id of a socket of version 2, whose client calls itself by the id of its connection.
    /// Every node derives the same one, and nobody can derive the connection's id from it.
    pub(crate) fn of_connection(sid: Sid, namespace: &str) -> Self {
        Self::derived(sid.as_str(), namespace)
    }

    fn derived(from: &str, namespace: &str) -> Self {
        const PURPOSE: &[u8] = b"switchboard socket id\0";
        let hash = Sha256::new()
            .chain_update(PURPOSE)
            .chain_update(from)
            .chain_update(namespace)
            .finalize();
        let mut chosen = [0; CHOSEN_BYTES];
        chosen.copy_from_slice(&hash[..CHOSEN_BYTES]);
        Self::of(chosen)
    }

    /// An id for a test.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn numbered(number: u32) -> Self {
        let mut chosen = [0; CHOSEN_BYTES];
        chosen[CHOSEN_BYTES - 4..].copy_from_slice(&number.to_be_bytes());
        Self::of(chosen)
    }

    fn of(chosen: [u8; CHOSEN_BYTES]) -> Self {
        let mut bytes = [0; CHOSEN_BYTES + 3];
        bytes[..CHOSEN_BYTES].copy_from_slice(&chosen);
        bytes[CHOSEN_BYTES..].copy_from_slice(&check(&chosen));
        let mut id = [b'A'; LENGTH];
        // 15 bytes make 20 characters.
        let _ = BASE64.encode_slice(bytes, &mut id);
        Self(id)
    }

    /// The id that a text names: one of ours, or of a Node.js server, whose client may have come to
    /// this server with its session. Ordinary text of 20 characters may have this form, too, so what
    /// names a socket is looked up.
    pub(crate) fn named(text: &str) -> Option<Self> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let id: [u8; LENGTH] = text.as_bytes().try_into().ok()?;
        id.iter().all(is_plain).then_some(Self(id))
    }

    /// The id of a socket of any server. A text of another form, as a Node.js server has it for a
    /// client of version 2, becomes an id that follows from it.
    pub(crate) fn of_any(text: &str) -> Self {
        Self::named(text).unwrap_or_else(|| Self::derived(text, ""))
    }

    /// The id that a text is, if only a socket of ours can have it.
    pub(crate) fn of_ours(text: &str) -> Option<Self> {
        let id = Self::named(text)?;
        let mut bytes = [0; CHOSEN_BYTES + 3];
        BASE64.decode_slice(text, &mut bytes).ok()?;
        let (chosen, checked) = bytes.split_first_chunk()?;
        (check(chosen) == *checked).then_some(id)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Characters of base64 by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The bytes behind the last four characters.
fn check(chosen: &[u8; CHOSEN_BYTES]) -> [u8; 3] {
    let hash = fnv1a(chosen);
    let folded = hash ^ (hash >> 24) ^ (hash >> 48);
    [folded as u8, (folded >> 8) as u8, (folded >> 16) as u8]
}

/// FNV-1a of 64 bits: the same on every node and in every version.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A text is no id of a socket: it has not 20 url-safe characters.
///
/// ```
/// use switchboard::id::{NotASocketId, SocketId};
///
/// assert_eq!("lobby".parse::<SocketId>(), Err(NotASocketId));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a socket")]
pub struct NotASocketId;

impl FromStr for SocketId {
    type Err = NotASocketId;

    fn from_str(text: &str) -> Result<Self, NotASocketId> {
        Self::named(text).ok_or(NotASocketId)
    }
}

/// The connection that a client of version 2 means by its `socket.id`. That is the engine's id, or
/// the transport's session id (`<node>.<32 characters>`) if it began by polling. In any namespace
/// but `/` the namespace and `#` stand in front. Only the form is checked; the connection may not
/// exist.
pub(crate) fn connection_known_as(text: &str, namespace: &str) -> Option<Sid> {
    let in_namespace = text.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('#'));
    let id = in_namespace.unwrap_or(text);
    match id.rsplit_once('.') {
        Some((_, signed)) if signed.len() == SIGNED => signed.get(..CHOSEN)?.parse().ok(),
        Some(_) => None,
        None => id.parse().ok(),
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

impl<'de> Deserialize<'de> for SocketId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The name of a node in the cluster. Random at each start unless configured.
///
/// ```
/// use switchboard::{Gateway, Switchboard};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Switchboard::builder().gateway(Gateway::new("/")).build()?;
/// println!("this is node {}", server.node());
/// assert_eq!(server.node().as_str().len(), 8, "it has no name of its own");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A new name: 8 characters in lower case, fit for a URL.
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

impl From<&str> for NodeId {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

/// Every text may be the name of a node.
impl FromStr for NodeId {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::named(name))
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
///
/// ```
/// use switchboard::id::UserId;
///
/// let user: UserId = "ada".into();
/// assert_eq!(&*user, "ada");
/// ```
pub type UserId = Arc<str>;

/// Letters and digits at random, so many that nobody guesses them or has them already.
pub(crate) fn random_text(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_twenty_characters_and_comes_back_from_text() {
        let id = SocketId::random();
        assert_eq!(id.as_str().len(), LENGTH);
        assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        assert_eq!(id.as_str().parse(), Ok(id));
        assert_eq!(SocketId::of_ours(id.as_str()), Some(id));
        assert_ne!(SocketId::random(), id);
    }

    #[test]
    fn names_that_people_give_are_no_ids() {
        for name in [
            "general-announcement",
            "AAAAAAAAAAAAAAAAAAAA",
            "aaaaaaaaaaaaaaaaaaaa",
            "01234567890123456789",
            "general-announce",
            "",
            "general announcement",
            "\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}",
        ] {
            assert_eq!(SocketId::of_ours(name), None, "{name}");
        }
        let id = SocketId::random().to_string();
        let changed = if id.starts_with('A') { "B" } else { "A" };
        assert_eq!(SocketId::of_ours(&format!("{changed}{}", &id[1..])), None);
        assert_eq!(SocketId::of_ours(&id[..16]), None);
        assert_eq!(id[..16].parse::<SocketId>(), Err(NotASocketId));
    }

    #[test]
    fn a_socket_of_a_node_js_server_has_an_id_of_the_same_type() {
        // As Node.js makes it, and as it calls a client of version 2 outside of `/`.
        let (usual, old) = ("Xp3cxKGkUlkWnKDBAAAB", "/chat#Xp3cxKGkUlkWnKDBAAAB");
        assert_eq!(SocketId::of_any(usual).as_str(), usual);
        assert_eq!(usual.parse(), Ok(SocketId::of_any(usual)));
        assert_eq!(SocketId::of_ours(usual), None);
        assert_eq!(old.parse::<SocketId>(), Err(NotASocketId));
        let derived = SocketId::of_any(old);
        assert_eq!(derived, SocketId::of_any(old));
        assert_ne!(derived, SocketId::of_any("/other#Xp3cxKGkUlkWnKDBAAAB"));
    }

    /// Nodes of different versions find each other's sockets by this id.
    #[test]
    fn the_id_of_a_connection_is_the_same_everywhere_and_for_ever() {
        let sid: Sid = "abcdefghijklmnop".parse().expect("16 characters");
        let id = SocketId::of_connection(sid, "/");
        assert_eq!(id.as_str(), "WE593V5owfuuoPohQduk");
        assert_ne!(SocketId::of_connection(sid, "/chat"), id);
        assert!(!id.as_str().contains(&sid.as_str()[..8]));
    }

    #[test]
    fn a_client_of_version_2_is_known_by_its_connection() {
        let sid: Sid = "abcdefghijklmnop".parse().expect("16 characters");
        let signed = format!("eu.1.{sid}{sid}");
        for (text, namespace) in [
            (sid.to_string(), "/"),
            (signed.clone(), "/"),
            (format!("/chat#{sid}"), "/chat"),
            (format!("/chat#{signed}"), "/chat"),
            (sid.to_string(), "/chat"),
        ] {
            assert_eq!(connection_known_as(&text, namespace), Some(sid), "{text}");
        }
        let own = SocketId::random().to_string();
        let long = format!("{signed}A");
        for text in [&format!("/chat#{sid}"), "general announce", "", ".", &long, &own] {
            assert_eq!(connection_known_as(text, "/"), None, "{text}");
        }
    }
}
