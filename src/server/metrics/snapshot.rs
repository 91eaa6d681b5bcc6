//! One scrape: the numbers of a node at one moment, and their text. `deploy/metrics.md` lists them
//! for people; a test compares the two.

use std::{
    fmt::{self, Result},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, prometheus_text},
    registry::Registry,
};

use super::{Process, families::Families};
use crate::{
    cluster::{broker::BrokerCounts, peers::Peers},
    edge::TransportCounts,
    fault::Code,
    sockets::node::Context,
    telemetry::{
        durations::Durations,
        meters::{DISCONNECT_REASONS, TargetKind},
    },
};

/// Everything that a scrape shows.
pub(crate) struct Snapshot {
    pub(crate) context: Arc<Context>,
    /// All sockets of this node.
    pub(crate) sockets: usize,
    /// All namespaces of this node.
    pub(crate) namespaces: usize,
    /// Users with sockets on this node.
    pub(crate) users: usize,
    pub(crate) transports: TransportCounts,
    /// None: a node that stands alone.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) process: Option<Process>,
}

/// What a node that is not alone shows beside it.
pub(crate) struct Cluster {
    pub(crate) peers: Arc<Peers>,
    pub(crate) broker: BrokerCounts,
    /// How long published frames waited until they were confirmed.
    pub(crate) publish_waits: Option<Arc<Durations>>,
    /// Nodes that live, if the directory answered.
    pub(crate) nodes: Option<usize>,
    /// How many commands Redis refuses.
    pub(crate) refused: usize,
    /// Whether everybody who is connected here is listed for the others.
    pub(crate) directory_complete: bool,
    /// What the shared directory counts, by name; nothing if it is in memory.
    pub(crate) directory: Vec<(&'static str, u64)>,
}

/// The text has this media type.
pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

impl Snapshot {
    /// The text format of Prometheus, version 0.0.4.
    pub(crate) fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // A string takes everything, and no family refuses to be written.
        if prometheus_text::encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics cannot be written");
        }
        text
    }

    fn connections(&self, to: &mut Families<'_>) -> Result {
        let (meters, transports) = (self.context.meters(), &self.transports);
        let now = [("websocket", transports.websocket), ("polling", transports.polling)];
        let now = now.map(|(transport, count)| (transport, count as f64));
        let help = "Connections now, by transport.";
        to.gauges("switchboard_connections", help, "transport", now)?;
        let help = "Websockets that are about to take over from polling.";
        to.gauge("switchboard_upgrades_pending", help, transports.upgrading as f64)?;
        let upgrades = [("done", transports.upgraded), ("failed", transports.upgrades_failed)];
        let help = "Websockets that took over from polling, or meant to and did not.";
        to.counters("switchboard_upgrades", help, "result", upgrades)?;
        let refused = transports.refused.iter().map(|(reason, count)| (reason.as_str(), *count));
        let help = "HTTP requests of the transport that were refused, and those of pages that may \
                    not read the answer.";
        to.counters("switchboard_requests_refused", help, "reason", refused)?;
        let cut = transports.killed.iter().map(|(reason, count)| (reason.as_str(), *count));
        let help = "Connections that the server cut, by the reason.";
        to.counters("switchboard_connections_cut", help, "reason", cut)?;

        let help = "Sockets now; a client in two namespaces has two.";
        to.gauge("switchboard_sockets", help, self.sockets as f64)?;
        to.gauge("socket_io_connected", "As switchboard_sockets.", self.sockets as f64)?;
        to.gauge("switchboard_users", "Users with sockets on this node.", self.users as f64)?;
        let help = "Namespaces that there are on this node now.";
        to.gauge("switchboard_namespaces", help, self.namespaces as f64)?;
        let deadlines = meters.token_deadlines.load(Relaxed) as f64;
        let help = "Sockets whose token expires and is waited for.";
        to.gauge("switchboard_token_deadlines", help, deadlines)?;
        let connects = meters.connects.get();
        to.counter("switchboard_connects", "Sockets that came into a namespace.", connects)?;
        to.counter("socket_io_connect", "As switchboard_connects_total.", connects)?;
        let refused = meters.connects_refused.named(Code::ALL.map(Code::as_str));
        let refused = refused.chain([("unknown_namespace", transports.unknown_namespaces)]);
        let help =
            "Sockets that were not let into a namespace, or asked for one that there is not.";
        to.counters("switchboard_connects_refused", help, "code", refused)?;
        let left = || meters.disconnects.named(DISCONNECT_REASONS);
        let help = "Sockets that left, by the reason that Node.js has for it.";
        to.counters("switchboard_disconnects", help, "reason", left())?;
        let help = "As switchboard_disconnects_total.";
        to.counters("socket_io_disconnect", help, "reason", left())
    }

    fn events(&self, to: &mut Families<'_>) -> Result {
        let meters = self.context.meters();
        let received = meters.events_received.get();
        to.counter("switchboard_events_received", "Events that clients sent.", received)?;
        let help = "As switchboard_events_received_total.";
        to.counter("socket_io_events_received", help, received)?;
        let refused = meters.events_refused.named(Code::ALL.map(Code::as_str));
        let help = "Events that ended in an error, and replies that could not be sent.";
        to.counters("switchboard_events_refused", help, "code", refused)?;
        let sent = meters.events_sent.get();
        let help = "Events queued for sockets of this node, each counted for every socket.";
        to.counter("switchboard_events_sent", help, sent)?;
        to.counter("socket_io_events_sent", "As switchboard_events_sent_total.", sent)?;
        let help = "Acknowledgements and events that handlers replied.";
        to.counter("switchboard_replies", help, meters.replies.get())?;
        let emits = meters.emits.named(TargetKind::NAMES);
        let help = "Emits of this node, replies among them, by the kind of the first target.";
        to.counters("switchboard_emits", help, "target", emits)?;
        let awaited = meters.acks_awaited.load(Relaxed) as f64;
        let help = "Emits that wait for acknowledgements now.";
        to.gauge("switchboard_ack_waits", help, awaited)?;
        let help = "Clients of this node that were asked for an acknowledgement.";
        to.counter("switchboard_acks_asked", help, meters.acks_asked.get())?;
        let help = "Acknowledgements that they gave in time.";
        to.counter("switchboard_acks_received", help, meters.acks_received.get())?;
        let handlers = meters.handlers.lock();
        let durations = handlers.iter().map(|handling| {
            let labels = [handling.namespace.as_str(), handling.event.as_str()];
            (labels, &*handling.durations)
        });
        let help = "Time from taking an event up to its replies; events that no gateway declares \
                    are `other`.";
        let name = "switchboard_handler_duration_seconds";
        to.durations(name, help, ["namespace", "event"], durations)
    }

    fn node(&self, to: &mut Families<'_>) -> Result {
        let labels =
            [("version", env!("CARGO_PKG_VERSION")), ("node", self.context.node().as_str())];
        to.fact("switchboard_build_info", "The version and the node's name.", &labels)?;
        let draining = f64::from(u8::from(self.context.is_draining()));
        let help = "1 while the node drains; switchboard_sockets says how many are left.";
        to.gauge("switchboard_draining", help, draining)?;
        let help = "How much of a drain is done, from 0 to 1: sockets that have left by those that \
                    were there when it began. 0 without a drain.";
        let before = self.context.meters().drained_from.load(Relaxed);
        let progress = match (self.context.is_draining(), before) {
            (false, _) | (true, 0) => 0.0,
            (true, 1) => 1.0,
            // One may have come in while it began.
            (true, before) => (1.0 - self.sockets as f64 / (before - 1) as f64).max(0.0),
        };
        to.gauge("switchboard_drain_progress", help, progress)?;
        if let Some(watch) = self.context.watch() {
            let help = "What the Admin UI was not told because it was too much.";
            to.counter("switchboard_admin_ui_missed", help, watch.missed())?;
        }
        let tasks = self.context.tasks.len() as f64;
        let help = "Handlers that wait for something, and background tasks.";
        to.gauge("switchboard_tasks", help, tasks)?;
        self.context.meters().requests.read(|durations| {
            let help = "Time that requests of the admin port took.";
            let name = "switchboard_admin_request_duration_seconds";
            to.durations(name, help, ["method", "route", "status"], durations)
        })
    }
}

impl Cluster {
    fn write(&self, to: &mut Families<'_>) -> Result {
        let (peers, broker) = (self.peers.counts(), &self.broker);
        let up = f64::from(u8::from(self.peers.is_up()));
        to.gauge("switchboard_cluster_link_up", "1 while the link to the others is up.", up)?;
        let help = "Links that were lost and made again.";
        to.counter("switchboard_cluster_reconnects", help, broker.reconnects)?;
        if let Some(nodes) = self.nodes {
            let help = "Nodes of ours that live; absent while Redis does not say.";
            to.gauge("switchboard_cluster_nodes", help, nodes as f64)?;
        }
        if !self.directory.is_empty() {
            let help = "1 while everybody who is connected here is listed in Redis.";
            let complete = f64::from(u8::from(self.directory_complete));
            to.gauge("switchboard_directory_up", help, complete)?;
            let help = "Commands that the node needs and may not run.";
            to.gauge("switchboard_redis_refused_commands", help, self.refused as f64)?;
            let help = "What went wrong with the user directory in Redis, and what was made good.";
            let name = "switchboard_directory_troubles";
            to.counters(name, help, "kind", self.directory.iter().copied())?;
        }
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let help = "Broadcasts meant for other nodes, those included that were lost on their way.";
        to.counter("switchboard_cluster_broadcasts_published", help, load(&peers.published))?;
        let help = "Messages of other nodes that were applied here.";
        to.counter("switchboard_cluster_messages_applied", help, load(&peers.applied))?;
        let help = "Broadcasts of other nodes that matched no socket here.";
        to.counter("switchboard_cluster_messages_filtered", help, load(&peers.filtered))?;
        let help = "Frames handed to Redis.";
        to.counter("switchboard_cluster_frames_published", help, broker.published)?;
        let help = "Frames received from Redis, one's own included.";
        to.counter("switchboard_cluster_frames_received", help, broker.received)?;
        let dropped = [
            ("link_down", broker.dropped_down),
            ("queue_full", broker.dropped_full),
            ("unconfirmed", broker.publish_errors),
            ("unsendable", load(&peers.unsendable)),
            ("malformed", load(&peers.malformed)),
        ];
        let help = "Messages that were lost: `malformed` ones of others, the rest of this node.";
        to.counters("switchboard_cluster_dropped", help, "reason", dropped)?;
        let help = "Frames that wait for Redis.";
        to.gauge("switchboard_cluster_queue_frames", help, broker.queued as f64)?;
        let help = "The bytes of those.";
        to.gauge("switchboard_cluster_queue_bytes", help, broker.queued_bytes as f64)?;
        let Some(waits) = &self.publish_waits else { return Ok(()) };
        let help = "Time from publishing a frame until Redis confirmed it.";
        to.histogram("switchboard_cluster_publish_duration_seconds", help, waits)
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
        let mut families = Families(encoder);
        self.node(&mut families)?;
        self.connections(&mut families)?;
        self.events(&mut families)?;
        if let Some(cluster) = &self.cluster {
            cluster.write(&mut families)?;
        }
        match &self.process {
            Some(process) => process.write(&mut families),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> Result {
        f.debug_struct("Snapshot").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}
