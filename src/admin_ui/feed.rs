//! Reports this node to the admins of the whole cluster: the numbers every two seconds, and, in
//! development mode, each change of a socket. One task, which waits for nobody: an admin that reads
//! too slowly is cut off like any other client.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use serde::Serialize;
use socketioxide_core::Sid;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    Shared, attention,
    protocol::{DataUpdate, SerializedSocket, ServerStats, TransportUpdate},
    stats::Stats,
};
use crate::{
    cluster::{codec, message::Selection},
    javascript::iso_time,
    sockets::{
        emitter::Answers,
        watch::{Happening, Happenings, What},
    },
};

/// The time between two reports of the numbers, as in Node.js.
const STATS_PERIOD: Duration = Duration::from_secs(2);

/// Most sockets that are listed to a new admin.
const SOCKETS_LISTED: usize = 10_000;

/// The event that tells our other nodes that an admin is here.
pub(super) const LOOKING: &str = "switchboard:admin-looks";

/// The inputs of the task.
pub(super) struct Sources {
    /// `None` in production mode.
    pub(super) happenings: Option<Happenings>,
    /// Sockets whose client upgraded to websocket.
    pub(super) upgrades: mpsc::Receiver<Sid>,
}

pub(super) struct Feed {
    shared: Arc<Shared>,
    stats: Stats,
}

impl Feed {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let stats = Stats::new(&shared.server_id);
        Self { shared, stats }
    }

    /// Runs until the node stops.
    pub(super) async fn run(mut self, sources: Sources) {
        let Sources { mut happenings, mut upgrades } = sources;
        let mut numbers = interval(STATS_PERIOD);
        numbers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(attention::PERIOD);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.shared.node.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => self.shared.look_here(),
                _ = numbers.tick() => self.tell_numbers(),
                Some(happening) = next(&mut happenings) => self.tell(happening),
                Some(sid) = upgrades.recv() => self.tell_upgrade(sid),
            }
        }
    }

    fn tell_numbers(&mut self) {
        if !self.shared.is_looked_at() {
            return self.stats.pass(&self.shared.node);
        }
        let shared = &self.shared;
        let stats: ServerStats<'_> =
            self.stats.take(&shared.node, &shared.adapters, SystemTime::now());
        shared.tell_admins("server_stats", &stats);
    }

    fn tell(&self, Happening { at, namespace, what }: Happening) {
        let (shared, nsp, at) = (&self.shared, namespace.as_str(), iso_time(at));
        match what {
            What::Connected(description) => {
                let socket = SerializedSocket::new(*description, nsp);
                shared.tell_admins("socket_connected", &(socket, at));
            }
            What::Disconnected { id, reason } => {
                shared.tell_admins("socket_disconnected", &(nsp, id, reason, at));
            }
            What::DataChanged { id, data } => {
                let update = DataUpdate { id: id.as_str(), nsp, data: &data };
                shared.tell_admins("socket_updated", &update);
            }
            What::Joined { id, room } => {
                let room = codec::write_room(&room);
                shared.tell_admins("room_joined", &(nsp, room, id, at));
            }
            What::Left { id, room } => {
                let room = codec::write_room(&room);
                shared.tell_admins("room_left", &(nsp, room, id, at));
            }
            What::Received { id, event } => {
                if let Some(arguments) = event.arguments() {
                    shared.tell_admins("event_received", &(nsp, id, arguments, at));
                }
            }
            What::Sent { id, event } => {
                if let Some(arguments) = event.arguments() {
                    shared.tell_admins("event_sent", &(nsp, id, arguments, at));
                }
            }
        }
    }

    fn tell_upgrade(&self, sid: Sid) {
        if !self.shared.development || !self.shared.is_looked_at() {
            return;
        }
        let adapters = self.shared.adapters.all().into_iter();
        for adapter in adapters.filter(|adapter| !adapter.is_hidden()) {
            let Some(id) = adapter.id_of(sid) else { continue };
            let nsp = adapter.namespace();
            let update = TransportUpdate { id: id.as_str(), nsp, transport: "websocket" };
            self.shared.tell_admins("socket_updated", &update);
        }
    }
}

/// The next change. Waits for ever if none are reported.
async fn next(happenings: &mut Option<Happenings>) -> Option<Happening> {
    match happenings {
        Some(happenings) => happenings.recv().await,
        None => std::future::pending().await,
    }
}

impl Shared {
    /// Sends an event to the admins of all nodes.
    fn tell_admins<T: Serialize>(&self, event: &str, data: &T) {
        if let Err(error) = self.of(&self.namespace).emit(event, data) {
            // For example a client's event of the greatest depth, which would lie in a list here.
            tracing::debug!(event, %error, "cannot report to the admins");
        }
    }

    pub(super) fn is_looked_at(&self) -> bool {
        self.looked_at.load(Ordering::Relaxed)
    }

    /// Starts or stops the reports, by what is known of the admins.
    pub(super) fn weigh_attention(&self) {
        let is_paid = self.attention.is_paid(Instant::now());
        self.looked_at.store(is_paid, Ordering::Relaxed);
        if let Some(watch) = self.node.watch() {
            watch.turn(is_paid);
        }
    }

    /// Checks whether an admin is here, and if so tells the other nodes.
    pub(super) fn look_here(&self) {
        let admins = self.adapters.get(&self.namespace).map_or(0, |adapter| adapter.len());
        self.attention.here(admins > 0);
        self.weigh_attention();
        if admins > 0
            && let Err(error) = self.of(&self.namespace).server_side_emit(LOOKING, &())
        {
            tracing::error!(%error, "cannot tell the other nodes of the admin");
        }
    }

    /// Checks again and again whether Node.js nodes have the namespace, too. Without an answer the
    /// last one stands. It is a task of its own, because Redis may take its time.
    pub(super) async fn look_for_nodejs(self: Arc<Self>) {
        let Some(peers) = &self.peers else { return };
        let mut look = interval(attention::PERIOD);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if let Ok(nodes) = peers.foreign(&self.namespace).await {
                self.attention.nodejs(nodes > 0);
                self.weigh_attention();
            }
        }
    }

    /// The sockets of all nodes, in the namespaces that this one has.
    pub(super) async fn all_sockets(&self) -> Vec<SerializedSocket> {
        let shown = self.adapters.all().into_iter().filter(|adapter| !adapter.is_hidden());
        let asked = shown.map(|adapter| async move {
            let namespace = adapter.namespace().to_string();
            let answers = self.of(&namespace).fetch_descriptions().await;
            let answers = answers.unwrap_or_else(|fault| {
                // The sockets of this node alone are better than nothing.
                tracing::warn!(%namespace, %fault, "an admin sees the sockets of this node alone");
                Answers::of(adapter.describe_here(Selection::default().into()))
            });
            if !answers.missing_nodes.is_empty() || answers.missing_foreign > 0 {
                let (missing, foreign) = (&answers.missing_nodes, answers.missing_foreign);
                tracing::warn!(
                    %namespace, ?missing, foreign,
                    "an admin does not see the sockets of nodes that did not answer"
                );
            }
            let sockets = answers.values.into_iter();
            sockets.map(|socket| SerializedSocket::new(socket, &namespace)).collect::<Vec<_>>()
        });
        let mut sockets: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        if sockets.len() > SOCKETS_LISTED {
            tracing::warn!(
                sockets = sockets.len(),
                "an admin sees the first {SOCKETS_LISTED} only"
            );
            sockets.truncate(SOCKETS_LISTED);
        }
        sockets
    }
}
