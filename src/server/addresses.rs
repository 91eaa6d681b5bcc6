//! The addresses of the nodes: those of the others, as the directory knows them, and the own one,
//! which is found out, tried, and published.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::Mutex as Turn, time::sleep};

use crate::{
    edge::{Addresses, Hop},
    future::BoxFuture,
    users::Directory,
};

/// The pause between two looks at the list.
const EVERY: Duration = Duration::from_secs(2);

/// The pause between two questions, at least.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The pauses between two trials of the own address.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// The addresses of the other nodes. The list is looked at all the time, so that the last one is
/// there while Redis does not answer.
pub(super) struct Listed {
    directory: Directory,
    known: Mutex<Known>,
    /// Held while the directory is asked.
    asking: Turn<()>,
}

#[derive(Default)]
struct Known {
    by_node: HashMap<Box<str>, Arc<str>>,
    asked: Option<Instant>,
}

impl Listed {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory, known: Mutex::default(), asking: Turn::default() }
    }

    /// Looks at the list again and again.
    pub(super) async fn keep(&self) {
        let started = Instant::now();
        loop {
            self.ask().await;
            // nodes that start together find each other soon
            let is_new = started.elapsed() < 5 * EVERY;
            sleep(if is_new { EVERY / 4 } else { EVERY }).await;
        }
    }

    fn known(&self, node: &str) -> Option<Arc<str>> {
        self.known.lock().by_node.get(node).cloned()
    }

    /// Asks the directory, or waits for the end of a question that begins later than this call.
    async fn ask(&self) {
        let called = Instant::now();
        let _turn = self.asking.lock().await;
        let asked = self.known.lock().asked;
        if let Some(asked) = asked {
            if asked > called {
                return;
            }
            sleep(ASK_AGAIN.saturating_sub(asked.elapsed())).await;
        }
        let began = Instant::now();
        let nodes = self.directory.nodes().await;
        let mut known = self.known.lock();
        known.asked = Some(began);
        if let Ok(mut nodes) = nodes {
            // a node that has started again is there twice for a while
            nodes.sort_by_key(|node| node.started_at);
            let addresses = nodes
                .into_iter()
                .filter_map(|node| Some((node.id.as_str().into(), node.address?.into())));
            known.by_node = addresses.collect();
        }
    }
}

impl Addresses for Listed {
    fn address_of<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Option<Arc<str>>> {
        Box::pin(async move {
            if let Some(address) = self.known(node) {
                return Some(address);
            }
            self.ask().await;
            self.known(node)
        })
    }
}

/// Where the other nodes are, for a node that listens on all addresses and looks for its own.
#[derive(Clone)]
pub(super) enum Towards {
    /// On this host.
    ThisHost,
    /// Wherever this finds the way to.
    Way(Arc<dyn Fn() -> BoxFuture<'static, Option<IpAddr>> + Send + Sync>),
}

/// How a node comes to its address.
pub(super) struct Advertised {
    /// `edge.advertise`.
    pub(super) given: Option<String>,
    /// The address that the node listens on.
    pub(super) listens: SocketAddr,
    /// Whether it speaks TLS there.
    pub(super) tls: bool,
    pub(super) towards: Towards,
}

impl Advertised {
    /// Publishes the address. One that was found out is tried before, again and again until this
    /// node is reached by it.
    pub(super) async fn publish(self, hop: &Hop, publish: impl Fn(String)) {
        if let Some(given) = &self.given {
            let address = self.written(given);
            publish(address.clone());
            if !hop.is_reached_at(&address).await {
                tracing::warn!(
                    node.address = address,
                    "this node does not reach itself by edge.advertise; if other nodes don't \
                     either, they refuse requests for its sessions"
                );
            }
            return;
        }
        let mut pauses = PAUSES.into_iter();
        let mut pause = Duration::ZERO;
        let mut was_warned = false;
        loop {
            let address = self.found().await;
            if let Some(address) = &address
                && hop.is_reached_at(address).await
            {
                tracing::info!(node.address = address, "other nodes reach this one here");
                return publish(address.clone());
            }
            pause = pauses.next().unwrap_or(pause);
            // the first trial may have been too early
            if pause > PAUSES[0] && !std::mem::replace(&mut was_warned, true) {
                tracing::warn!(
                    node.address = address.unwrap_or_default(),
                    "no address is found by which this node can be reached: other nodes refuse \
                     requests for its sessions; set edge.advertise, or make the load balancer \
                     sticky"
                );
            }
            sleep(pause).await;
        }
    }

    async fn found(&self) -> Option<String> {
        let listens = self.listens;
        let ip: IpAddr = match (&self.towards, listens.ip().is_unspecified()) {
            (_, false) => listens.ip(),
            (Towards::Way(look), true) => look().await?,
            (Towards::ThisHost, true) if listens.is_ipv4() => std::net::Ipv4Addr::LOCALHOST.into(),
            (Towards::ThisHost, true) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        let address = SocketAddr::new(ip.to_canonical(), listens.port());
        Some(self.written(&address.to_string()))
    }

    fn written(&self, address: &str) -> String {
        if self.tls { format!("https://{address}") } else { address.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(listens: &str, tls: bool) -> Option<String> {
        let listens = listens.parse().expect("an address");
        Advertised { given: None, listens, tls, towards: Towards::ThisHost }.found().await
    }

    #[tokio::test]
    async fn an_address_of_its_own_is_the_one_that_a_node_listens_on() {
        assert_eq!(found("10.0.0.5:3000", false).await.as_deref(), Some("10.0.0.5:3000"));
        assert_eq!(found("[::1]:3000", true).await.as_deref(), Some("https://[::1]:3000"));
        assert_eq!(found("0.0.0.0:3000", false).await.as_deref(), Some("127.0.0.1:3000"));
        assert_eq!(found("[::]:3000", false).await.as_deref(), Some("[::1]:3000"));
    }
}
