//! Questions to clients of this node with ids that no other question of this run has.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use dashmap::{DashMap, Entry};
use socketioxide_core::Sid;

use crate::{edge::FIRST_ID, telemetry::traces::Span};

/// The questions that wait for an answer. Clones are the same.
#[derive(Clone)]
pub(crate) struct Questions(Arc<Inner>);

struct Inner {
    next: AtomicI64,
    waiting: DashMap<i64, Waiting>,
}

struct Waiting {
    /// Nobody else can answer.
    sid: Sid,
    namespace: Box<str>,
    told: Box<dyn FnOnce() + Send + Sync>,
}

/// A question. Dropped, it is forgotten.
pub(crate) struct Question {
    id: i64,
    all: Questions,
    /// That of the event, which lasts until the answer.
    span: Option<Span>,
}

impl Default for Questions {
    fn default() -> Self {
        // Anywhere, so that the answers to another run of the node fit no question of this one.
        let next = AtomicI64::new(i64::from(rand::random::<u32>()));
        Self(Arc::new(Inner { next, waiting: DashMap::new() }))
    }
}

impl Questions {
    /// Makes room for the answer of a client. `told` is called when it comes, on the task that reads from
    /// the client, before anything is done that the client has sent later.
    pub(super) fn ask(
        &self,
        sid: Sid,
        namespace: &str,
        told: impl FnOnce() + Send + Sync + 'static,
    ) -> Question {
        let waiting = Waiting { sid, namespace: namespace.into(), told: Box::new(told) };
        loop {
            let id = FIRST_ID + self.0.next.fetch_add(1, Relaxed).rem_euclid(FIRST_ID);
            if let Entry::Vacant(place) = self.0.waiting.entry(id) {
                place.insert(waiting);
                return Question { id, all: self.clone(), span: None };
            }
        }
    }

    /// A client has answered. Returns whether this was a question to it.
    pub(super) fn answered(&self, sid: Sid, namespace: &str, id: i64) -> bool {
        let is_its = |_: &i64, it: &Waiting| it.sid == sid && *it.namespace == *namespace;
        let found = self.0.waiting.remove_if(&id, is_its);
        // Not before the map is free again.
        found.map(|(_, waiting)| (waiting.told)()).is_some()
    }
}

impl Question {
    /// The id of the acknowledgement: 2³⁰ or more, less than 2³¹.
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// The span of the event ends with the question.
    pub(super) fn lasts(&mut self, span: Span) {
        self.span = Some(span);
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.all.0.waiting.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn only_the_client_that_was_asked_answers() {
        let (questions, asked, other) = (Questions::default(), Sid::new(), Sid::new());
        let told = Arc::new(AtomicUsize::new(0));
        let counted = told.clone();
        let question = questions.ask(asked, "/chat", move || _ = counted.fetch_add(1, Relaxed));
        let id = question.id();
        assert!((1 << 30..1_i64 << 31).contains(&id));
        assert!(!questions.answered(other, "/chat", id));
        assert!(!questions.answered(asked, "/", id));
        assert!(!questions.answered(asked, "/chat", id + 1));
        assert_eq!(told.load(Relaxed), 0);
        assert!(questions.answered(asked, "/chat", id));
        assert!(!questions.answered(asked, "/chat", id), "once");
        assert_eq!(told.load(Relaxed), 1);
        drop(questions.ask(asked, "/", || ()));
        assert!(questions.0.waiting.is_empty());
    }
}
