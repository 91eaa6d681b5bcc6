//! The knowledge about a gap in the heard messages, and its consequences. No clock and no I/O.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use rmpv::Value as Tree;

use crate::cluster::{
    marks::Places,
    peers::nodes::{Company, Said, Word},
};

/// The first wait for an answer; each further one is twice as long. An answer may have been under
/// way for the same time, so the wait needs to be about that much longer.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// How long an unknown server may be one of ours that is not listed yet.
const CONFIRMED: Duration = Duration::from_secs(3);

/// Time for all nodes to be back and to answer. A node that died is no longer listed by then.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A gap in the messages that this node has heard of others.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) since: Instant,
    /// A client that came later has missed nothing.
    pub(super) until: Instant,
    /// The time of the first attempt to find out more.
    began: Option<Instant>,
    wait: Duration,
    answered: HashSet<String>,
    strangers: bool,
    /// The places of others' messages meanwhile.
    pub(super) places: Places,
}

/// The clients to cut because of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Those of the known places; more has to be found out.
    Open,
    /// Those of the known places, and no others.
    Closed,
    /// Everybody, for this reason.
    Everybody(&'static str),
}

impl Gap {
    pub(super) fn new(since: Instant, until: Instant) -> Self {
        Self {
            since,
            until,
            began: None,
            wait: FIRST_WAIT,
            answered: HashSet::new(),
            strangers: false,
            places: Places::default(),
        }
    }

    /// Extends the gap by a later one. Earlier answers knew of the first alone.
    pub(super) fn extend(&mut self, since: Instant, until: Instant) {
        let places = std::mem::take(&mut self.places);
        *self = Self { places, ..Self::new(self.since.min(since), until) };
    }

    /// The question, the nodes to ask, and the longest wait for the answers.
    pub(super) fn question(
        &mut self,
        company: &Company,
        now: Instant,
    ) -> (HashSet<String>, Word, Duration) {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        let nodes = company.nodes.difference(&self.answered).cloned().collect();
        (nodes, Word::WhatWasSaid(now.duration_since(self.since) + wait), wait)
    }

    /// Notes the answers of nodes. An answer that was not understood does not count.
    pub(super) fn answered(&mut self, answers: HashMap<String, Tree>) {
        for (node, answer) in answers {
            if let Some(Said { places, strangers }) = Said::of_answer(&answer) {
                self.places.extend(&places);
                self.strangers |= strangers;
                self.answered.insert(node);
            }
        }
    }

    /// The clients to cut. `company` are the nodes at the time of asking, if they were known.
    pub(super) fn verdict(&mut self, company: Option<&Company>, now: Instant) -> Verdict {
        let tried = now.duration_since(*self.began.get_or_insert(now));
        let open = |reason| match tried < PATIENCE {
            true => Verdict::Open,
            false => Verdict::Everybody(reason),
        };
        let Some(company) = company else { return open("it is not known which nodes there are") };
        if company.strangers || self.strangers || (company.foreign > 0 && tried >= CONFIRMED) {
            Verdict::Everybody("there are servers or emitters of another kind")
        } else if company.foreign > 0 {
            Verdict::Open
        } else if company.has_lost_one {
            open("a node is gone")
        } else if !company.nodes.is_subset(&self.answered) {
            open("a node does not answer")
        } else {
            Verdict::Closed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap() -> (Gap, Instant) {
        let now = Instant::now();
        (Gap::new(now - Duration::from_secs(2), now), now)
    }

    fn with(nodes: &[&str]) -> Company {
        Company {
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            ..Company::default()
        }
    }

    fn says(node: &str, strangers: bool) -> HashMap<String, Tree> {
        let said = Said { places: Places::default(), strangers };
        HashMap::from([(node.to_owned(), said.to_answer())])
    }

    #[test]
    fn a_node_that_is_alone_and_was_cuts_nobody() {
        let (mut gap, now) = gap();
        assert_eq!(gap.verdict(Some(&with(&[])), now), Verdict::Closed);
        assert!(gap.places.is_empty());
    }

    #[test]
    fn every_node_has_to_answer_and_is_asked_until_it_has() {
        let (mut gap, now) = gap();
        let company = with(&["a", "b"]);
        let (nodes, word, wait) = gap.question(&company, now);
        assert_eq!(nodes, company.nodes);
        assert_eq!(word, Word::WhatWasSaid(Duration::from_secs(2) + wait));
        gap.answered(says("a", false));
        gap.answered(HashMap::from([("b".to_owned(), Tree::Nil)]));
        assert_eq!(gap.verdict(Some(&company), now), Verdict::Open);
        let (nodes, _, longer) = gap.question(&company, now);
        assert_eq!(nodes, HashSet::from(["b".to_owned()]));
        assert_eq!(longer, wait * 2);
        assert!(matches!(gap.verdict(Some(&company), now + PATIENCE), Verdict::Everybody(_)));
        gap.answered(says("b", false));
        assert_eq!(gap.verdict(Some(&company), now + PATIENCE), Verdict::Closed);
    }

    #[test]
    fn nobody_knows_what_strangers_have_said() {
        let (mut gap, now) = gap();
        let lately = Company { strangers: true, ..with(&[]) };
        assert!(matches!(gap.verdict(Some(&lately), now), Verdict::Everybody(_)));
        let new = Company { foreign: 1, ..with(&[]) };
        let (mut gap, now) = self::gap();
        assert_eq!(gap.verdict(Some(&new), now), Verdict::Open);
        assert!(matches!(gap.verdict(Some(&new), now + CONFIRMED), Verdict::Everybody(_)));
        let (mut gap, now) = self::gap();
        gap.answered(says("a", true));
        assert!(matches!(gap.verdict(Some(&with(&["a"])), now), Verdict::Everybody(_)));
    }

    #[test]
    fn who_is_gone_or_unknown_may_come_back_for_a_while() {
        for company in [Some(Company { has_lost_one: true, ..with(&[]) }), None] {
            let (mut gap, now) = gap();
            assert_eq!(gap.verdict(company.as_ref(), now), Verdict::Open);
            assert_eq!(gap.verdict(company.as_ref(), now + PATIENCE / 2), Verdict::Open);
            let verdict = gap.verdict(company.as_ref(), now + PATIENCE);
            assert!(matches!(verdict, Verdict::Everybody(_)));
        }
    }

    #[test]
    fn one_more_gap_is_asked_about_anew_from_the_first_on() {
        let (mut gap, now) = gap();
        let company = with(&["a"]);
        gap.answered(says("a", false));
        assert_eq!(gap.verdict(Some(&company), now), Verdict::Closed);
        let (since, later) = (gap.since, now + PATIENCE);
        gap.extend(now, later);
        assert_eq!((gap.since, gap.until), (since, later));
        assert_eq!(gap.verdict(Some(&company), later), Verdict::Open);
        assert_eq!(gap.question(&company, later).0.len(), 1);
    }
}
