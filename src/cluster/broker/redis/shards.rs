//! Keeps a lane for each master of a Redis Cluster with sharded channels, and each channel on the lane
//! of the master that owns its slot.
//!
//! The owners are asked for when something does not work, and from time to time. A lane whose
//! master has lost its slots is given up, and its waiting frames go to the new owner. Other lanes
//! do not notice.

use std::{sync::Arc, time::Duration};

use rand::seq::SliceRandom as _;
use redis::RedisError;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{
    super::dispatcher::Dispatcher,
    Node,
    connections::Side,
    lane::Lane,
    place::{self, OpenError, Place},
    routes::{FIRST, Routes},
    slots::{SLOTS, Slots},
};

/// The time between two questions for the owners: without a reason, and with one.
const EVERY: Duration = Duration::from_secs(10);
const AT_MOST_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for the answer of a linked master.
const ANSWERS: Duration = Duration::from_millis(500);
/// Longest wait for frames on their way to a master that loses slots. Otherwise the new owner might
/// get later ones first.
const LANDING: Duration = Duration::from_millis(250);

impl Node {
    /// Whether channels are spread over the masters of a cluster.
    pub(super) fn is_spread(&self) -> bool {
        self.kind == super::Kind::Sharded && self.target.is_cluster()
    }

    /// Asks for the owners when a task finds a wrong one, and from time to time.
    pub(super) async fn keep_shards(self: Arc<Self>, dispatcher: Arc<Dispatcher>) {
        loop {
            let _ = timeout(EVERY, self.astray.notified()).await;
            match self.slots().await {
                Ok(slots) => {
                    for lane in self.reroute(&slots).await {
                        self.spawn(lane, &dispatcher, None, None);
                    }
                }
                Err(error) => {
                    let error = self.explain(&error);
                    debug!(error, "no node of the cluster tells who owns what");
                    if self.lanes.read().len() == 1 {
                        self.connections.unreachable(&error);
                    }
                }
            }
            self.rerouted.send_replace(());
            sleep(AT_MOST_EVERY).await;
        }
    }

    /// Asks the linked masters, then any node.
    async fn slots(&self) -> Result<Slots, OpenError> {
        let mut lanes = self.lanes.read().clone();
        lanes.shuffle(&mut rand::rng());
        for speaker in lanes.iter().filter_map(|lane| lane.speaker.load_full()) {
            let mut connection = speaker.connection.clone();
            if let Ok(Ok(slots)) = timeout(ANSWERS, Slots::read(&mut connection)).await {
                return Ok(slots);
            }
        }
        place::slots(&self.target).await
    }

    /// Puts each channel on the lane of its owner. Returns the new lanes.
    pub(super) async fn reroute(&self, slots: &Slots) -> Vec<Arc<Lane>> {
        let mut new = Vec::new();
        let owners: Vec<usize> = slots
            .masters
            .iter()
            .map(|master| {
                let place = Place::Master(master.clone());
                let mut lanes = self.lanes.write();
                let known = |lane: &&Arc<Lane>| lane.place == place && !lane.over.is_cancelled();
                if let Some(lane) = lanes.iter().find(known) {
                    return lane.number;
                }
                let lane = Lane::new(lanes.len(), place);
                self.outgoing.add_lane();
                self.subscriptions.add_lane();
                lanes.push(lane.clone());
                new.push(lane);
                lanes.len() - 1
            })
            .collect();
        let owner = |slot| slots.owner(slot).map_or(FIRST, |master| owners[master]);
        let routes = Routes::new(owner);
        let before = self.routes.load();
        if routes == **before {
            return new;
        }
        let losing = before.losing(&routes);
        // A master that is gone takes no more frames, and its missing answers stay missing.
        self.outgoing.hold(&losing, LANDING).await;
        self.use_routes(routes, &owners);
        new
    }

    /// No owner of any slot is known any more.
    pub(super) fn forget_shards(&self) {
        self.use_routes(Routes::default(), &[]);
    }

    fn use_routes(&self, routes: Routes, owners: &[usize]) {
        let lanes = self.lanes.read().clone();
        let watermark: Vec<_> = lanes
            .iter()
            .map(|lane| lane.watermark.lock().as_ref().map(|watermark| watermark.until()))
            .collect();
        self.outgoing.reroute(routes.clone());
        self.subscriptions.reroute(routes.clone(), &watermark);
        let without_owner = routes.slots(FIRST);
        let mut named = Vec::new();
        for lane in &lanes {
            match &lane.place {
                Place::Master((host, port)) if owners.contains(&lane.number) => {
                    let own = routes.slots(lane.number);
                    let host = if host.is_empty() { "port " } else { &format!("{host}:") };
                    named.push((
                        lane.number,
                        Some(format!("{host}{port} ({own} of {SLOTS} slots)")),
                    ));
                }
                Place::Master(_) => lane.over.cancel(),
                Place::Nowhere if without_owner > 0 => {
                    named.push((FIRST, Some(format!("{without_owner} of {SLOTS} slots"))));
                }
                Place::Nowhere => {}
                Place::Any => named.push((FIRST, None)),
            }
        }
        named.extend(self.streams.lanes());
        self.routes.store(Arc::new(routes));
        self.connections.lanes(&named);
        if without_owner > 0 && without_owner < SLOTS {
            let reason = "have no owner in the cluster";
            self.connections.down(FIRST, Side::Speaking, reason.to_owned());
        }
    }

    /// A channel is not where it was thought to be.
    pub(super) fn lost_way(&self, error: &RedisError) {
        if self.is_spread() && error.is_cluster_error() {
            self.astray.notify_one();
        }
    }

    /// A connection was lost, or not made, for this reason.
    pub(super) fn lost(&self, lane: &Lane, side: Side, reason: String) {
        if self.stop.is_cancelled() {
            return;
        }
        if self.is_spread() {
            self.astray.notify_one();
        }
        self.connections.down(lane.number, side, reason);
    }
}
