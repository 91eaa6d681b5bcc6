//! A user's sockets as they stand in Redis: entries that sort by user and then by age. `keys` says
//! where they stand.

use std::time::{Duration, SystemTime};

use crate::{
    id::{NodeId, SocketId, UserId, fnv1a},
    users::UserSocket,
};

/// The number of buckets. It must never change: nodes of different versions find users by it.
pub(super) const BUCKETS: usize = 64;

/// The bucket of a user: FNV-1a, the same on every node.
pub(super) fn bucket_of(user: &str) -> usize {
    let hash = fnv1a(user.as_bytes());
    // The remainder is below 64.
    ((hash ^ (hash >> 32)) % BUCKETS as u64) as usize
}

/// The start of a user's entries: zero bytes escaped, two of them at the end. So no user's start
/// begins another's, and entries sort as the users do.
pub(super) fn encode_user(user: &str) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(user.len() + 2);
    for byte in user.bytes() {
        encoded.push(byte);
        if byte == 0 {
            encoded.push(0xff);
        }
    }
    encoded.extend([0, 0]);
    encoded
}

/// The first possible text after all entries of a user.
pub(super) fn after_user(encoded: &[u8]) -> Vec<u8> {
    let mut after = encoded.to_vec();
    if let Some(last) = after.last_mut() {
        *last = 1;
    }
    after
}

/// The user of an encoded start. `None` if it is not one.
pub(super) fn decode_user(encoded: &[u8]) -> Option<UserId> {
    let (user, rest) = split_user(encoded)?;
    rest.is_empty().then_some(user)
}

fn split_user(entry: &[u8]) -> Option<(UserId, &[u8])> {
    let end = entry.windows(2).position(|pair| pair == [0, 0])?;
    let mut user = Vec::with_capacity(end);
    let mut bytes = entry[..end].iter();
    while let Some(&byte) = bytes.next() {
        user.push(byte);
        if byte == 0 && bytes.next() != Some(&0xff) {
            return None;
        }
    }
    Some((String::from_utf8(user).ok()?.into(), &entry[end + 2..]))
}

/// Text without zero bytes, which separate the fields.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "?")
}

/// A socket as it stands in Redis. The time is exact to the microsecond.
pub(super) fn encode(user: &str, socket: &UserSocket, incarnation: &str) -> Vec<u8> {
    let since = socket.connected_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    let (node, transport) = (plain(socket.node.as_str()), plain(&socket.transport));
    let mut entry = encode_user(user);
    let rest = format!(
        "{micros:016x}{incarnation}\0{node}\0{transport}\0{}{}",
        socket.id, socket.namespace
    );
    entry.extend_from_slice(rest.as_bytes());
    entry
}

/// An entry, read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) user: UserId,
    pub(super) incarnation: String,
    pub(super) socket: UserSocket,
}

/// Reads an entry. `None` if the format is unknown.
pub(super) fn decode(entry: &[u8]) -> Option<Entry> {
    let (user, rest) = split_user(entry)?;
    let rest = std::str::from_utf8(rest).ok()?;
    let (micros, rest) = rest.split_at_checked(16)?;
    let micros = u64::from_str_radix(micros, 16).ok()?;
    let mut fields = rest.splitn(4, '\0');
    let (incarnation, node, transport) = (fields.next()?, fields.next()?, fields.next()?);
    let (id, namespace) = fields.next()?.split_at_checked(20)?;
    let socket = UserSocket {
        id: SocketId::named(id)?,
        node: NodeId::named(node),
        namespace: namespace.into(),
        connected_at: SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros))?,
        transport: match transport {
            "websocket" => "websocket".into(),
            "polling" => "polling".into(),
            other => other.to_owned().into(),
        },
    };
    Some(Entry { user, incarnation: incarnation.to_owned(), socket })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::SocketId;

    fn socket(namespace: &str) -> UserSocket {
        UserSocket {
            id: SocketId::numbered(7),
            node: NodeId::named("node \u{1f389}:1"),
            namespace: namespace.into(),
            connected_at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
            transport: "webtransport".into(),
        }
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_as_it_was(user in any::<String>(), namespace in any::<String>()) {
            let socket = socket(&namespace);
            let entry = decode(&encode(&user, &socket, "n1.x")).expect("well formed");
            prop_assert_eq!(&*entry.user, &*user);
            prop_assert_eq!(entry.socket, socket);
            prop_assert_eq!(entry.incarnation, "n1.x");
        }

        #[test]
        fn entries_sort_as_their_users_do(a in "[\0a\u{1}b:]{0,4}", b in "[\0a\u{1}b:]{0,4}") {
            let (x, y) = (encode_user(&a), encode_user(&b));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.starts_with(&y), a == b);
            prop_assert!(a >= b || after_user(&x) < y);
        }

        #[test]
        fn no_content_is_too_strange(bytes in any::<Vec<u8>>()) {
            let _ = decode(&bytes);
            let mut entry = encode_user("ada");
            entry.extend(bytes);
            let _ = decode(&entry);
        }
    }

    /// Users that are found by an older node must be found by a newer one.
    #[test]
    fn a_user_stays_in_its_bucket() {
        assert_eq!(["", "ada", "bob", "user:1"].map(bucket_of), [1, 34, 13, 1]);
    }
}
