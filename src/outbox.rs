//! The outbox: events that applications emit inside their own transactions in Postgres are sent from
//! here, once these have been committed.
//!
//! ```text
//! application ── switchboard_emit ── COMMIT ── table ── consumer ─┬─ door ── sockets of all nodes
//!                                       └─ NOTIFY ── listener ─┘  └─ inbox, if `kept`
//! ```
//!
//! What happens in the database, and why its order is that of the commits, stands at the head of
//! `store/postgres/migrations/0002_outbox.sql`. On this side a node has one `consumer` for all its partitions. It
//! has leases on them, reads what comes next, sends it, and only then marks it. So an event is sent at
//! least once, and who comes after a node that died begins where that one marked last. `table` speaks to the
//! database, `listener` hears its notifications, `event` is one row.

mod consumer;
mod event;
mod listener;
pub(crate) mod meters;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::peers::Peers,
    config,
    inbox::Inbox,
    sockets::{adapter::Adapters, emitter::Emitter, node::Node},
    store::postgres::{Postgres, Target, TargetError},
};
use consumer::Consumer;
use meters::Meters;
use table::Table;

/// The outbox on this node.
pub(crate) struct Outbox {
    shared: Arc<Shared>,
    /// Asks the consumer to stop.
    stop: CancellationToken,
    running: Mutex<Option<JoinHandle<()>>>,
}

/// What the tasks of the outbox share.
struct Shared {
    options: config::Outbox,
    table: Table,
    listen_to: Arc<Target>,
    ways: Ways,
    meters: Meters,
    /// Something may be there.
    news: tokio::sync::Notify,
}

/// The ways out for events.
pub(crate) struct Ways {
    pub(crate) node: Arc<Node>,
    pub(crate) adapters: Arc<Adapters>,
    pub(crate) peers: Option<Arc<Peers>>,
    /// `None`: there is no inbox.
    pub(crate) inbox: Option<Inbox>,
}

impl Ways {
    fn of(&self, namespace: &str) -> Emitter {
        Emitter::of(&self.adapters, &self.node, self.peers.as_ref(), namespace)
    }
}

impl Outbox {
    /// Nothing runs before [`start`](Self::start).
    pub(crate) fn new(
        options: config::Outbox,
        database: Postgres,
        ways: Ways,
    ) -> Result<Self, TargetError> {
        let listen_to = match &options.listen_url {
            Some(url) => Arc::new(Target::parse(url.expose())?),
            None => database.target().clone(),
        };
        let stop = ways.node.stop.child_token();
        let (meters, news) = (Meters::default(), tokio::sync::Notify::new());
        let table = Table::new(database);
        let shared = Arc::new(Shared { options, table, listen_to, ways, meters, news });
        Ok(Self { shared, stop, running: Mutex::default() })
    }

    /// Begins to send, once.
    pub(crate) fn start(&self) {
        let mut running = self.running.lock();
        if running.is_some() || self.stop.is_cancelled() {
            return;
        }
        let tasks = &self.shared.ways.node.tasks;
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(listener::listen(&shared)).await });
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(consumer::look_after(&shared)).await });
        let consumer = Consumer::new(self.shared.clone(), self.stop.clone());
        *running = Some(tasks.spawn(consumer.run()));
    }

    /// Sends no more, and leaves the partitions to other nodes.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        let running = self.running.lock().take();
        if let Some(running) = running {
            // What it was doing is bounded by the database's patience.
            let _ = running.await;
        }
    }

    /// The counts of this node.
    pub(crate) fn meters(&self) -> &Meters {
        &self.shared.meters
    }
}
