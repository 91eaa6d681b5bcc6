//! What is known about a gap in what was heard, and what follows from it. No clock and no I/O.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use rmpv::Value as Tree;

use crate::cluster::{
    marks::Places,
    peers::nodes::{Company, Said, Word},
};

/// How long is waited for an answer at first, then twice as long each time. An answer may have been
/// under way for as long, so it has to be about as much time more.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// How long a server that is not known may be one of ours that is not listed yet.
const CONFIRMED: Duration = Duration::from_secs(3);

/// How long all nodes have to be back and to answer. One that died is no longer listed by then.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A gap in what this node has heard of others.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) since: Instant,
    /// Who came later has missed nothing.
    pub(super) until: Instant,
    /// When it was first tried to find out more.
    began: Option<Instant>,
    wait: Duration,
    answered: HashSet<String>,
    strangers: bool,
    /// Where others have said something meanwhile.
    pub(super) places: Places,
}

/// Who is to be cut because of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Those to whom something was said, as far as that is known, and more has to be found out.
    Open,
    /// Those, and nobody else.
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

    /// There is one more, which makes both one. Who has answered knew of the first alone.
    pub(super) fn extend(&mut self, since: Instant, until: Instant) {
        let places = std::mem::take(&mut self.places);
        *self = Self { places, ..Self::new(self.since.min(since), until) };
    }

    /// What to ask, whom, and how long to wait for the answers.
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

    /// Notes what nodes have answered. One that did not understand has not.
    pub(super) fn answered(&mut self, answers: HashMap<String, Tree>) {
        for (node, answer) in answers {
            if let Some(Said { places, strangers }) = Said::of_answer(&answer) {
                self.places.extend(&places);
                self.strangers |= strangers;
                self.answered.insert(node);
            }
        }
    }

    /// `company`: who there was when the nodes were asked, if it was known.
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
