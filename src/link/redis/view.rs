//! The masters of a Redis Cluster, as most of its nodes see them.
//!
//! A removed node may go on by itself. A reset one is a cluster of its own without a slot; one that
//! was cut off or forgotten still takes itself for a member. So no single node is believed, not
//! even one that the configuration names.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{RedisResult, aio::MultiplexedConnection};
use tokio::time::{Instant, sleep_until};

use super::{
    connector::Connector,
    ranges::{self, Address, Member, Range, not_slots},
};

/// Most nodes that are asked.
const MOST: usize = 8;
/// Longest wait for the others once one node has answered.
const GRACE: Duration = Duration::from_millis(500);

/// A master, known by its id. Old and unusual servers do not tell it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Master {
    pub(super) id: Option<String>,
    pub(super) address: Address,
}

impl Master {
    fn key(&self) -> String {
        let (host, port) = &self.address;
        self.id.clone().unwrap_or_else(|| format!("{host}:{port}"))
    }
}

/// The masters that own slots.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) masters: Vec<Master>,
    /// The ids of their replicas.
    replicas: Vec<String>,
    slots: usize,
}

impl View {
    /// The names of the masters, whatever their slots.
    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.masters.iter().map(Master::key).collect();
        keys.sort_unstable();
        keys
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.masters.iter().any(|master| master.id.as_deref() == Some(id))
    }

    /// Whether it is one of the masters or of their replicas.
    pub(super) fn has_member(&self, id: &str) -> bool {
        self.has(id) || self.replicas.iter().any(|replica| replica == id)
    }

    /// Asks one node, which was reached at `host`. An answer without a host means this one.
    ///
    /// # Errors
    /// If it does not answer, or owns no slot and knows no owner.
    pub(super) async fn read(
        connection: &mut impl redis::aio::ConnectionLike,
        host: &str,
    ) -> RedisResult<Self> {
        let mut view = Self { masters: Vec::new(), replicas: Vec::new(), slots: 0 };
        for Range { first, last, master, replicas } in ranges::read(connection).await? {
            view.replicas.extend(replicas.into_iter().filter_map(|replica| replica.id));
            view.slots += (last + 1).saturating_sub(first);
            let Member { host: name, port, id } = master;
            let name = if name.is_empty() { host.to_owned() } else { name };
            let master = Master { id, address: (name, port) };
            if !view.masters.contains(&master) {
                view.masters.push(master);
            }
        }
        Ok(view)
    }
}

/// Connections to the asked nodes, kept from one time to the next.
#[derive(Default)]
pub(super) struct Witnesses(Mutex<HashMap<Address, MultiplexedConnection>>);

impl Witnesses {
    /// Asks the seeds and the masters that they name, and takes the view of most.
    ///
    /// # Errors
    /// If no answer names a master.
    pub(super) async fn ask(&self, connector: &Connector, seeds: &[Address]) -> RedisResult<View> {
        let mut asked: Vec<Address> = Vec::new();
        let mut asking = FuturesUnordered::new();
        let (mut views, mut last) = (Vec::new(), None);
        let mut deadline: Option<Instant> = None;
        let mut next: Vec<Address> = seeds.iter().take(MOST - 2).cloned().collect();
        loop {
            for address in next.drain(..) {
                if asked.len() < MOST && !asked.contains(&address) {
                    asked.push(address.clone());
                    asking.push(self.one(connector, address));
                }
            }
            let patience = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = patience => break,
                answer = asking.next() => match answer {
                    None => break,
                    Some(Err(error)) => last = Some(error),
                    Some(Ok(view)) => {
                        deadline = deadline.or(Some(Instant::now() + GRACE));
                        next.extend(view.masters.iter().map(|master| master.address.clone()));
                        views.push(view);
                    }
                }
            }
        }
        drop(asking);
        self.0.lock().retain(|address, _| asked.contains(address));
        most(views).ok_or_else(|| last.unwrap_or_else(not_slots))
    }

    async fn one(&self, connector: &Connector, address: Address) -> RedisResult<View> {
        let known = self.0.lock().remove(&address);
        let (host, port) = &address;
        let mut connection = match known {
            Some(connection) => connection,
            None => connector.open(&connector.node(host, *port), &connector.config()).await?,
        };
        let view = View::read(&mut connection, host).await;
        if view.is_ok() {
            self.0.lock().insert(address, connection);
        }
        view
    }
}

/// The view that most nodes share. Of several, the one with more slots; then always the same.
fn most(views: Vec<View>) -> Option<View> {
    let mut votes: HashMap<Vec<String>, usize> = HashMap::new();
    for view in &views {
        *votes.entry(view.keys()).or_default() += 1;
    }
    views.into_iter().max_by_key(|view| {
        let keys = view.keys();
        (votes[&keys], view.slots, std::cmp::Reverse(keys))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(ids: &[&str], slots: usize) -> View {
        let master = |id: &&str| Master { id: Some((*id).to_owned()), address: ("h".into(), 1) };
        View { masters: ids.iter().map(master).collect(), replicas: Vec::new(), slots }
    }

    #[test]
    fn most_are_believed_and_of_two_halves_the_one_with_more_slots() {
        let chosen = |views: Vec<View>| most(views).map(|view| view.keys());
        assert_eq!(chosen(Vec::new()), None);
        let all = || view(&["a", "b"], 16_384);
        assert_eq!(chosen(vec![all(), view(&["c"], 5000), all()]).unwrap(), ["a", "b"]);
        assert_eq!(chosen(vec![view(&["c"], 5000), all()]).unwrap(), ["a", "b"]);
        let halves = || vec![view(&["c"], 1), view(&["a"], 1)];
        assert_eq!(chosen(halves()), chosen(halves().into_iter().rev().collect()));
    }
}
