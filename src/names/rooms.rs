//! Names of rooms: patterns, and rooms that no client may join.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    fault::{Code, Fault},
    id::SocketId,
};

/// The first character of a room that a Node.js program names by a number. `101` and `"101"` are
/// two rooms in Node.js (pitfall 12 of the wire specification), so they have two names here.
///
/// ```
/// use switchboard::names::rooms::NUMERIC_ROOM;
///
/// // `io.to(101)` of a Node.js program means this room.
/// let room = format!("{NUMERIC_ROOM}101");
/// assert_eq!(room, "\u{0}101");
/// ```
pub const NUMERIC_ROOM: char = '\0';

/// The room of every socket with a valid token.
///
/// ```
/// use switchboard::names::rooms::{AUTHENTICATED, is_reserved};
///
/// assert!(is_reserved(AUTHENTICATED, "user:"), "no client joins it by itself");
/// ```
pub const AUTHENTICATED: &str = "authenticated";

/// Whether the server reserves a room, so that no client may join or leave it. Reserved are the
/// room of a user (`room_prefix`, by default `user:`, and the user's id), `authenticated`, and
/// every [`SocketId`], since each socket is in the room of its own id. A name that starts with a
/// null character means a room that Node.js programs name by a number.
///
/// A socket with this id need not exist: it may be on another node, or connect a moment later.
///
/// ```
/// use switchboard::names::rooms::{AUTHENTICATED, is_reserved};
///
/// assert!(is_reserved("user:ada", "user:"));
/// assert!(is_reserved(AUTHENTICATED, "user:"));
/// assert!(!is_reserved("lobby", "user:"));
/// ```
pub fn is_reserved(room: &str, room_prefix: &str) -> bool {
    room == AUTHENTICATED
        || room.starts_with(room_prefix)
        || SocketId::of_ours(room).is_some()
        || room.starts_with(NUMERIC_ROOM)
}

/// Longest room name from a client or its token, in bytes.
const MAX_NAME: usize = 255;

/// Checks the name of a room that a client or its token gives.
///
/// # Errors
/// `bad_request` without a name, `too_large` with one that is too long.
pub(crate) fn check_name(room: &str) -> Result<(), Fault> {
    if room.is_empty() {
        return Err(Fault::bad_request("a room has a name"));
    }
    if room.len() > MAX_NAME {
        let message = format!("the name of a room has {MAX_NAME} bytes at most");
        return Err(Fault::new(Code::TooLarge, message));
    }
    Ok(())
}

/// Rooms that clients may join: one by its name, or all with a prefix (`public:*`).
///
/// A pattern never opens a [reserved](is_reserved) room; callers must check that first.
///
/// ```
/// use switchboard::names::rooms::RoomPattern;
///
/// let team = RoomPattern::parse("team:*")?;
/// assert!(team.matches("team:red"));
/// assert!(!team.matches("lobby"));
/// assert!(RoomPattern::parse("*:red").is_err());
/// # Ok::<(), switchboard::names::rooms::PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoomPattern {
    text: String,
    is_prefix: bool,
}

impl RoomPattern {
    /// Reads a pattern: a name, or a prefix followed by `*`. The prefix may be empty (`*`, any
    /// room).
    ///
    /// ```
    /// use switchboard::names::rooms::{PatternError, RoomPattern};
    ///
    /// assert!(RoomPattern::parse("team:*").is_ok_and(|teams| teams.matches("team:7")));
    /// assert_eq!(RoomPattern::parse("*:team"), Err(PatternError::StarInside));
    /// ```
    ///
    /// # Errors
    /// If it is empty, or holds a `*` anywhere but at its end.
    pub fn parse(pattern: &str) -> Result<Self, PatternError> {
        let (text, is_prefix) = match pattern.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (pattern, false),
        };
        if pattern.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.contains('*') {
            return Err(PatternError::StarInside);
        }
        Ok(Self { text: text.to_owned(), is_prefix })
    }

    /// The pattern of all rooms whose names start with `prefix`.
    pub(crate) fn starting_with(prefix: &str) -> Self {
        Self { text: prefix.to_owned(), is_prefix: true }
    }

    /// Whether the pattern allows this room.
    pub fn matches(&self, room: &str) -> bool {
        if self.is_prefix { room.starts_with(&self.text) } else { room == self.text }
    }

    /// Whether no client may join any room of the pattern.
    pub(crate) fn is_futile(&self, room_prefix: &str) -> bool {
        if self.is_prefix {
            self.text.starts_with(room_prefix)
        } else {
            is_reserved(&self.text, room_prefix)
        }
    }
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.is_prefix { f.write_str("*") } else { Ok(()) }
    }
}

impl FromStr for RoomPattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        Self::parse(pattern)
    }
}

impl Serialize for RoomPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RoomPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer)?;
        Self::parse(&pattern).map_err(|error| de::Error::custom(format!("`{pattern}`: {error}")))
    }
}

/// Why a text is not a [`RoomPattern`].
///
/// ```
/// use switchboard::names::rooms::{PatternError, RoomPattern};
///
/// assert_eq!(RoomPattern::parse(""), Err(PatternError::Empty));
/// assert_eq!(RoomPattern::parse("team:*:news"), Err(PatternError::StarInside));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The text is empty.
    #[error("a pattern is not empty")]
    Empty,
    /// Only the last character may be a star.
    #[error("a pattern is a name, or a prefix followed by one `*`")]
    StarInside,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        let lobby = RoomPattern::parse("lobby").unwrap();
        assert!(lobby.matches("lobby"));
        assert!(!lobby.matches("lobby2"));
        let public = RoomPattern::parse("public:*").unwrap();
        assert!(public.matches("public:a"));
        assert!(public.matches("public:"));
        assert!(!public.matches("publi"));
        assert!(RoomPattern::parse("*").unwrap().matches("anything"));
        assert_eq!(public.to_string(), "public:*");
    }

    #[test]
    fn a_star_stands_at_the_end_alone() {
        assert_eq!(RoomPattern::parse(""), Err(PatternError::Empty));
        for pattern in ["a*b", "**", "*a", "a:**"] {
            assert_eq!(RoomPattern::parse(pattern), Err(PatternError::StarInside), "{pattern}");
        }
    }

    #[test]
    fn rooms_of_the_server_are_reserved() {
        let id = SocketId::random();
        for room in ["authenticated", "user:alice", "user:", id.as_str()] {
            assert!(is_reserved(room, "user:"), "{room}");
        }
        for room in ["authenticated2", "users", "general-announce", "general-announcement", "lobby"]
        {
            assert!(!is_reserved(room, "user:"), "{room}");
        }
        assert!(is_reserved("member/alice", "member/"));
    }
}
