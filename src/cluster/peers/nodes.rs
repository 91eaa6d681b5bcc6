//! Messages between nodes of ours alone, about possible losses: which nodes were there, and what
//! each has sent since when.
//!
//! They travel in a namespace that no client can enter, so Node.js servers and older nodes of ours
//! do not even hear them. They hold ages and never times: each node has a clock of its own.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rmpv::Value as Tree;

use super::{Peers, asking::FIRST};
use crate::{
    cluster::{
        broker::Disconnected,
        marks::{HORIZON, Marks, Places},
        message::{Answer, Message, RequestId},
    },
    id::NodeId,
};

/// The namespace of the nodes. The namespaces of clients start with a slash.
pub(crate) const NODES: &str = "switchboard";

/// Whether a node of this name on the wire is one of ours. Ours have a name and a run, with a dot
/// in between. Node.js servers have letters and digits, and emitters no name of their own.
pub(crate) fn is_of_ours(id: &str) -> bool {
    id.contains('.')
}

/// A message of one node to another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    /// Asks for the rooms that got a message within this time. The answer is [`Said`].
    WhatWasSaid(Duration),
    /// Messages to these places may not have reached you, until this long ago. Any answer will do.
    Unsaid(Places, Duration),
    /// Everything that was published before this has been heard when this is.
    Mark(u64),
}

/// The version of these messages, and of the hash behind the places. A node that does not know it
/// does not answer.
const VERSION: u64 = 1;
const WHAT_WAS_SAID: &str = "what was said";
const UNSAID: &str = "unsaid";
const MARK: &str = "mark";

impl Word {
    pub(crate) fn to_event(&self) -> Vec<Tree> {
        let millis =
            |age: &Duration| Tree::from(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        match self {
            Self::Mark(mark) => vec![MARK.into(), VERSION.into(), mark.to_string().into()],
            Self::WhatWasSaid(age) => vec![WHAT_WAS_SAID.into(), VERSION.into(), millis(age)],
            Self::Unsaid(places, age) => {
                vec![UNSAID.into(), VERSION.into(), places.to_text().into(), millis(age)]
            }
        }
    }

    /// Reads an event. `None` if it comes from another version, or from no node.
    pub(crate) fn of_event(event: &[Tree]) -> Option<Self> {
        let millis = |age: &Tree| age.as_u64().map(Duration::from_millis);
        let (name, rest) = event.split_first()?;
        match (name.as_str()?, rest) {
            (WHAT_WAS_SAID, [version, age]) if version.as_u64() == Some(VERSION) => {
                Some(Self::WhatWasSaid(millis(age)?))
            }
            (UNSAID, [version, places, age]) if version.as_u64() == Some(VERSION) => {
                Some(Self::Unsaid(Places::from_text(places.as_str()?)?, millis(age)?))
            }
            (MARK, [version, mark]) if version.as_u64() == Some(VERSION) => {
                Some(Self::Mark(mark.as_str()?.parse().ok()?))
            }
            _ => None,
        }
    }
}

/// The answer of a node to [`Word::WhatWasSaid`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    pub(crate) places: Places,
    /// Others that are no nodes of ours have sent messages lately, and nobody knows which.
    pub(crate) strangers: bool,
}

impl Said {
    pub(crate) fn to_answer(&self) -> Tree {
        Tree::Array(vec![self.places.to_text().into(), self.strangers.into()])
    }

    pub(crate) fn of_answer(answer: &Tree) -> Option<Self> {
        let [places, strangers] = answer.as_array()?.as_slice() else { return None };
        let places = Places::from_text(places.as_str()?)?;
        Some(Self { places, strangers: strangers.as_bool()? })
    }
}

/// The last sight of a sender that is no node of ours: a Node.js server, or an emitter.
#[derive(Debug)]
pub(super) struct Strangers {
    began: Instant,
    /// In ms since then, plus one. 0 is never.
    last: AtomicU64,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Strangers {
    pub(super) fn noticed(&self) {
        self.last.store(self.began.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    fn were_there(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        let ago = (self.began.elapsed().as_millis() as u64 + 1).saturating_sub(last);
        last > 0 && Duration::from_millis(ago) < HORIZON
    }
}

/// The others beside this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Company {
    /// The other live nodes of ours, by their ids on the wire.
    pub(crate) nodes: HashSet<String>,
    /// A node that was there at the given time is gone.
    pub(crate) has_lost_one: bool,
    /// The number of present servers of other kinds. A new node of ours may be among them.
    pub(crate) foreign: usize,
    /// A sender that is no node of ours was noticed lately.
    pub(crate) strangers: bool,
}

impl Peers {
    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Listens to the namespace of the nodes. To be called once.
    pub(crate) fn listen_to_nodes(&self) {
        self.codec.topics(NODES, false).into_iter().for_each(|topic| self.broker.listen(topic));
    }

    /// A frame came from a sender that is no node of ours.
    pub(crate) fn heard_stranger(&self) {
        self.strangers.noticed();
    }

    /// The live nodes of ours, this one among them.
    ///
    /// # Errors
    /// If they are not known.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeId>, Disconnected> {
        Ok((self.roster)().await?.into_values().collect())
    }

    pub(crate) fn strangers_were_there(&self) -> bool {
        self.strangers.were_there()
    }

    /// The present nodes, and whether one has gone since `since`.
    ///
    /// # Errors
    /// If the present nodes are not known.
    pub(crate) async fn company(&self, since: Instant) -> Result<Company, Disconnected> {
        if !self.can_ask() {
            return Err(Disconnected);
        }
        let (census, names) = self.census(FIRST).await?;
        Ok(Company {
            nodes: names.into_keys().collect(),
            has_lost_one: self.members.has_lost_one(since),
            foreign: census.foreign,
            strangers: self.strangers.were_there(),
        })
    }

    /// Sends a message to these nodes and returns their answers within `patience`.
    pub(crate) async fn ask_nodes(
        &self,
        mut nodes: HashSet<String>,
        word: &Word,
        patience: Duration,
    ) -> HashMap<String, Tree> {
        let mut given = HashMap::new();
        if nodes.is_empty() {
            return given;
        }
        let mut open = self.questions.open();
        let request = Some(open.id.clone());
        self.say(NODES, &Message::ServerSideEmit { request, event: word.to_event() });
        let deadline = tokio::time::Instant::now() + patience;
        while !nodes.is_empty()
            && let Ok(Some(answer)) = tokio::time::timeout_at(deadline, open.answers.recv()).await
        {
            if let (Some(from), Answer::ServerSide(Some(answer))) = answer
                && nodes.remove(&from)
            {
                given.insert(from, answer);
            }
        }
        given
    }

    /// Answers another node.
    pub(crate) fn answer_node(&self, asker: Option<&str>, request: RequestId, answer: Tree) {
        self.answer(NODES, asker, request, Answer::ServerSide(Some(answer)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_travel_as_events_and_those_of_other_versions_are_not_understood() {
        let places = Marks::default().within(HORIZON * 2);
        let age = Duration::from_millis(1_500);
        let words = [Word::WhatWasSaid(age), Word::Unsaid(places.clone(), age), Word::Mark(7)];
        for word in words {
            let mut event = word.to_event();
            assert_eq!(Word::of_event(&event), Some(word));
            event[1] = 2.into();
            assert_eq!(Word::of_event(&event), None);
        }
        assert_eq!(Word::of_event(&["something".into()]), None);
        let said = Said { places, strangers: true };
        assert_eq!(Said::of_answer(&said.to_answer()), Some(said));
        assert_eq!(Said::of_answer(&Tree::Nil), None);
    }

    #[test]
    fn strangers_are_remembered_from_the_first_moment_on() {
        let strangers = Strangers::default();
        assert!(!strangers.were_there());
        strangers.noticed();
        assert!(strangers.were_there());
    }
}
