//! The secret by which a client gets its session back.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};

/// Longest one that is taken from a client, in bytes.
const LONGEST: usize = 128;

/// The private id of a session, `pid` in CONNECT. Whoever knows it, and is the same user, gets the
/// session: it is a secret, and never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pid(Box<str>);

impl Pid {
    /// A new one: 20 url-safe characters, as in Node.js.
    pub(crate) fn random() -> Self {
        let bytes: [u8; 15] = rand::random();
        Self(BASE64.encode(bytes).into())
    }

    /// What a client says. `None` if no server says such a thing.
    pub(crate) fn said(text: &str) -> Option<Self> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_plain);
        fits.then(|| Self(text.into()))
    }

    /// The text for the client and for the session's store.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pid(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_one_is_as_in_node_js_and_reads_back() {
        let pid = Pid::random();
        assert_eq!(pid.reveal().len(), 20);
        assert_eq!(Pid::said(pid.reveal()), Some(pid.clone()));
        assert_ne!(Pid::random(), pid);
        assert!(!format!("{pid:?}").contains(pid.reveal()));
    }

    #[test]
    fn nonsense_is_none() {
        for text in ["", "a b", "a\0", "\u{fc}", "a:b", "{a}", &"a".repeat(LONGEST + 1)] {
            assert_eq!(Pid::said(text), None, "{text}");
        }
    }
}
