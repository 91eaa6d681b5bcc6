//! Questions to the other nodes that have no answer yet, and the nodes that still have to answer.
//!
//! [`Waiting`] decides and does nothing else: no clock, no I/O.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::message::{Answer, RequestId};

/// An answer, and the name of the answering node if it gives one.
pub(crate) type Answered = (Option<String>, Answer);

/// The nodes that serve a namespace, without this one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Census {
    /// Nodes of ours, by their ids on the wire.
    pub(crate) named: HashSet<String>,
    /// The number of other nodes. They have no heartbeat and, in the classic format, no name in
    /// their answers.
    pub(crate) foreign: usize,
}

/// The nodes that have still to answer a question.
#[derive(Debug)]
pub(crate) struct Waiting {
    named: HashSet<String>,
    foreign: usize,
    answered: HashSet<String>,
    /// Nameless answers that came before the number of other nodes was known.
    nameless: usize,
}

impl Waiting {
    pub(crate) fn new(census: Census) -> Self {
        Self { named: census.named, foreign: census.foreign, answered: HashSet::new(), nameless: 0 }
    }

    /// Begins to wait for the present nodes, without those that have already answered.
    pub(crate) fn begin(&mut self, Census { mut named, foreign }: Census) {
        named.retain(|node| !self.answered.contains(node));
        (self.named, self.foreign) = (named, foreign.saturating_sub(self.nameless));
    }

    /// Notes an answer. Returns false for a second answer of a node, which does not count.
    pub(crate) fn answered(&mut self, from: Option<&str>) -> bool {
        let Some(from) = from else {
            self.nameless += 1;
            self.foreign = self.foreign.saturating_sub(1);
            return true;
        };
        if !self.answered.insert(from.to_owned()) {
            return false;
        }
        if !self.named.remove(from) {
            self.foreign = self.foreign.saturating_sub(1);
        }
        true
    }

    /// Stops waiting for nodes that are gone.
    pub(crate) fn still_there(&mut self, census: &Census, foreign_at_first: usize) {
        self.named.retain(|node| census.named.contains(node));
        let died = foreign_at_first.saturating_sub(census.foreign);
        let silent = foreign_at_first.saturating_sub(died);
        self.foreign = self.foreign.min(silent);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.named.is_empty() && self.foreign == 0
    }

    /// How many other nodes did not answer.
    pub(crate) fn foreign(&self) -> usize {
        self.foreign
    }

    /// The named nodes that did not answer.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing: Vec<_> = self.named.iter().cloned().collect();
        missing.sort();
        missing
    }
}

/// The bytes within which all known servers name the question, before the answer itself.
const HEAD: usize = 256;

/// Most answers that may wait for the asker, and most bytes that one question may bring in.
/// Everybody who can publish in Redis can answer, any number of times.
const MAX_WAITING: usize = 65_536;
const MAX_BYTES: usize = 256 << 20;

/// The questions of this node.
#[derive(Debug, Default)]
pub(crate) struct Questions(Arc<Mutex<HashMap<RequestId, Asked>>>);

#[derive(Debug)]
struct Asked {
    answers: mpsc::Sender<Answered>,
    /// The bytes of answers that are still accepted.
    bytes_left: usize,
}

impl Questions {
    /// Opens a question. Answers to it are forgotten once it is dropped.
    pub(crate) fn open(&self) -> Question {
        let id = random_id();
        let (sender, answers) = mpsc::channel(MAX_WAITING);
        let asked = Asked { answers: sender, bytes_left: MAX_BYTES };
        self.0.lock().insert(id.clone(), asked);
        Question { id, answers, open: self.0.clone() }
    }

    /// Whether a long frame may answer a question of this node, by a look at its beginning. If that
    /// does not tell, the result is true.
    pub(crate) fn may_be_answered(&self, frame: &[u8]) -> bool {
        let head = &frame[..frame.len().min(HEAD)];
        let has = |text: &str| head.windows(text.len()).any(|part| part == text.as_bytes());
        let open = self.0.lock();
        let names_another = || has("requestId") && !open.keys().any(|id| has(id));
        !open.is_empty() && !names_another()
    }

    /// Hands over an answer of this size. Returns false if nobody asked, nobody waits any more, or
    /// too much has come already; then the node counts as one that did not answer.
    pub(crate) fn answer(
        &self,
        request: &str,
        from: Option<String>,
        answer: Answer,
        bytes: usize,
    ) -> bool {
        let mut open = self.0.lock();
        let Some(asked) = open.get_mut(request) else { return false };
        let Some(left) = asked.bytes_left.checked_sub(bytes) else { return false };
        asked.bytes_left = left;
        asked.answers.try_send((from, answer)).is_ok()
    }
}

/// A question that waits for answers.
pub(crate) struct Question {
    pub(crate) id: RequestId,
    pub(crate) answers: mpsc::Receiver<Answered>,
    open: Arc<Mutex<HashMap<RequestId, Asked>>>,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.open.lock().remove(&self.id);
    }
}

/// 16 hexadecimal digits, as the sharded adapter of Node.js makes them; any text does.
fn random_id() -> RequestId {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(named: &[&str], foreign: usize) -> Census {
        Census { named: named.iter().map(|&name| name.to_owned()).collect(), foreign }
    }

    #[test]
    fn it_is_over_when_every_named_and_every_counted_node_has_answered() {
        let mut waiting = Waiting::new(census(&["a", "b"], 1));
        assert!(waiting.answered(Some("a")));
        assert!(waiting.answered(None));
        assert!(!waiting.is_over());
        assert_eq!(waiting.missing(), ["b"]);
        assert!(waiting.answered(Some("b")));
        assert!(waiting.is_over());
    }

    #[test]
    fn a_second_answer_of_a_node_does_not_count() {
        let mut waiting = Waiting::new(census(&["a"], 1));
        assert!(waiting.answered(Some("a")));
        assert!(!waiting.answered(Some("a")));
        assert!(!waiting.is_over());
    }

    #[test]
    fn who_dies_is_not_waited_for() {
        let mut waiting = Waiting::new(census(&["a", "b"], 2));
        waiting.still_there(&census(&["b"], 1), 2);
        assert!(waiting.answered(None));
        assert!(waiting.answered(Some("b")));
        assert!(waiting.is_over());
    }

    #[test]
    fn nodes_that_come_later_are_not_waited_for() {
        let mut waiting = Waiting::new(census(&["a"], 0));
        waiting.still_there(&census(&["a", "b"], 3), 0);
        assert!(waiting.answered(Some("a")));
        assert!(waiting.is_over());
    }

    #[test]
    fn an_answer_after_the_end_reaches_nobody() {
        let questions = Questions::default();
        let question = questions.open();
        let id = question.id.clone();
        assert!(questions.answer(&id, None, Answer::Done, 9));
        drop(question);
        assert!(!questions.answer(&id, None, Answer::Done, 9));
        assert!(!questions.answer("never asked", None, Answer::Done, 9));
    }

    #[test]
    fn a_long_answer_to_another_node_is_known_by_its_beginning() {
        let questions = Questions::default();
        let answer = |id: &str| {
            format!("{{\"requestId\":\"{id}\",\"sockets\":[{}]}}", "{},".repeat(1000)).into_bytes()
        };
        assert!(!questions.may_be_answered(&answer("theirs")), "nothing was asked");
        let question = questions.open();
        assert!(!questions.may_be_answered(&answer("theirs")));
        assert!(questions.may_be_answered(&answer(&question.id)));
        let last = format!("{{\"sockets\":[{}],\"requestId\":\"x\"}}", "{},".repeat(1000));
        assert!(questions.may_be_answered(last.as_bytes()), "it is read to be known");
    }

    #[test]
    fn what_one_question_brings_is_bounded_in_bytes_and_in_number() {
        let questions = Questions::default();
        let (big, many) = (questions.open(), questions.open());
        assert!(questions.answer(&big.id, None, Answer::Done, MAX_BYTES - 9));
        assert!(!questions.answer(&big.id, None, Answer::Done, 10));
        assert!(questions.answer(&big.id, None, Answer::Done, 9));
        let taken = (0..=MAX_WAITING).filter(|_| questions.answer(&many.id, None, Answer::Done, 0));
        assert_eq!(taken.count(), MAX_WAITING);
    }

    #[test]
    fn who_was_not_known_when_the_question_went_out_is_waited_for_once_it_is() {
        let mut waiting = Waiting::new(Census::default());
        assert!(waiting.answered(Some("a")) && waiting.answered(None));
        waiting.begin(census(&["a", "b"], 2));
        assert_eq!((waiting.missing(), waiting.foreign()), (vec!["b".to_owned()], 1));
    }
}
