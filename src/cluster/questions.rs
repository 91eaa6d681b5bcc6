//! Questions to the other nodes that have no answer yet, and who is still waited for.
//!
//! [`Waiting`] decides and does nothing else: no clock, no I/O.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::message::{Answer, RequestId};

/// An answer, and the node that gave it if it says so.
pub(crate) type Answered = (Option<String>, Answer);

/// The nodes that serve a namespace, this one left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Census {
    /// Nodes of ours, by their ids on the wire.
    pub(crate) named: HashSet<String>,
    /// How many others there are. They have no heartbeat and, in the classic format, their answers
    /// have no name.
    pub(crate) foreign: usize,
}

/// Who has still to answer one question.
#[derive(Debug)]
pub(crate) struct Waiting {
    named: HashSet<String>,
    foreign: usize,
    answered: HashSet<String>,
    /// Answers of others that came before it was known how many there are.
    nameless: usize,
}

impl Waiting {
    pub(crate) fn new(census: Census) -> Self {
        Self { named: census.named, foreign: census.foreign, answered: HashSet::new(), nameless: 0 }
    }

    /// Waits for those that are there, and were not known to be before, unless they have answered.
    pub(crate) fn begin(&mut self, Census { mut named, foreign }: Census) {
        named.retain(|node| !self.answered.contains(node));
        (self.named, self.foreign) = (named, foreign.saturating_sub(self.nameless));
    }

    /// Notes an answer. False: this node has answered before, so the answer does not count.
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

    /// Stops waiting for nodes that are not there any more.
    pub(crate) fn still_there(&mut self, census: &Census, foreign_at_first: usize) {
        self.named.retain(|node| census.named.contains(node));
        let died = foreign_at_first.saturating_sub(census.foreign);
        let silent = foreign_at_first.saturating_sub(died);
        self.foreign = self.foreign.min(silent);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.named.is_empty() && self.foreign == 0
    }

    /// How many others did not answer.
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

/// All known servers name the question in so many bytes, before the answer itself.
const HEAD: usize = 256;

/// What may wait for who asked, and what one question may bring in all. Whoever can publish in
/// Redis can answer, as often as it likes.
const MAX_WAITING: usize = 65_536;
const MAX_BYTES: usize = 256 << 20;

/// The questions of this node.
#[derive(Debug, Default)]
pub(crate) struct Questions(Arc<Mutex<HashMap<RequestId, Asked>>>);

#[derive(Debug)]
struct Asked {
    answers: mpsc::Sender<Answered>,
    /// How many bytes of answers are still taken.
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

    /// Whether a long answer can be to a question of this node, by a look at its beginning. What
    /// cannot be seen there can be.
    pub(crate) fn may_be_answered(&self, frame: &[u8]) -> bool {
        let head = &frame[..frame.len().min(HEAD)];
        let has = |text: &str| head.windows(text.len()).any(|part| part == text.as_bytes());
        let open = self.0.lock();
        let names_another = || has("requestId") && !open.keys().any(|id| has(id));
        !open.is_empty() && !names_another()
    }

    /// Hands over an answer that came in so many bytes. False: nobody asked, nobody waits any more,
    /// or too much has come already; who gave it counts as one that did not answer.
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
