//! Acknowledgements of questions that have an id of our own. The engine does not know of them: it
//! counts its ids for each socket from 1, so an answer that comes late, after the client has come
//! back by another connection, would be taken for the answer to another question. Node.js counts
//! them for all sockets of a namespace.

use std::{fmt, sync::Arc};

/// The lowest id of our own. Some clients read ids as signed numbers of 32 bits.
pub(crate) const FIRST_ID: i64 = 1 << 30;

/// Takes the answers of one session: the namespace, and the id.
#[derive(Clone, Default)]
pub(crate) struct Answers(Option<Arc<OnAnswer>>);

type OnAnswer = dyn Fn(&str, i64) + Send + Sync;

impl Answers {
    pub(super) fn new(told: impl Fn(&str, i64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    /// An acknowledgement in a namespace, which is empty for `/`.
    pub(super) fn tell(&self, namespace: &[u8], id: i64) {
        let Some(told) = self.0.as_ref().filter(|_| id >= FIRST_ID) else { return };
        match std::str::from_utf8(namespace) {
            Ok("") => told("/", id),
            Ok(namespace) => told(namespace, id),
            Err(_) => {}
        }
    }

    /// As [`tell`](Self::tell), with the id as text.
    pub(super) fn tell_text(&self, namespace: &[u8], id: &[u8]) {
        // Most ids are the engine's, and shorter.
        if id.len() >= 10
            && let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok())
        {
            self.tell(namespace, id);
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

/// Readers are equal if they have read the same, whatever their listeners.
impl PartialEq for Answers {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Answers {}
