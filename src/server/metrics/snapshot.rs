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
    edge::{HopCounts, TransportCounts},
    fault::Code,
    history::QueueCounts,
    inbox::{Inbox, meters::Meters as InboxMeters},
    sockets::{adapter::RecoveryCounts, node::Node},
    telemetry::{
        durations::Durations,
        meters::{DISCONNECT_REASONS, NotRecovered, TargetKind},
    },
};

/// Everything that a scrape shows.
pub(crate) struct Snapshot {
    pub(crate) node: Arc<Node>,
    /// All sockets of this node.
    pub(crate) sockets: usize,
    /// All namespaces of this node.
    pub(crate) namespaces: usize,
    /// Users with sockets on this node.
    pub(crate) users: usize,
    pub(crate) transports: TransportCounts,
    /// `None` for a node that stands alone.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) process: Option<Process>,
    /// `None` if no room has a history.
    pub(crate) history: Option<QueueCounts>,
    /// `None` if sockets do not recover.
    pub(crate) recovery: Option<RecoveryCounts>,
    /// `None`: nothing is kept for users.
    pub(crate) inbox: Option<Inbox>,
    #[cfg(feature = "postgres")]
    pub(crate) outbox: Option<Arc<crate::outbox::Outbox>>,
}

/// Further numbers of a node in a cluster.
pub(crate) struct Cluster {
    pub(crate) peers: Arc<Peers>,
    pub(crate) broker: BrokerCounts,
    /// How long published frames waited until they were confirmed.
    pub(crate) publish_waits: Option<Arc<Durations>>,
    /// Live nodes, if the directory answered.
    pub(crate) nodes: Option<usize>,
    /// What went to other nodes directly.
    pub(crate) hop: HopCounts,
    /// How many commands Redis refuses.
    pub(crate) refused: usize,
    /// Whether all users connected here are listed for the other nodes.
    pub(crate) directory_complete: bool,
    /// The counts of the shared directory, by name. Empty if it is in memory.
    pub(crate) directory: Vec<(&'static str, u64)>,
}

/// The media type of the text.
pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

impl Snapshot {
    /// The text format of Prometheus, version 0.0.4.
    pub(crate) fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // A string takes everything, and every family can be written.
        if prometheus_text::encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics cannot be written");
        }
        text
    }

    fn connections(&self, to: &mut Families<'_>) -> Result {
        let (meters, transports) = (self.node.meters(), &self.transports);
        let now = [("websocket", transports.websocket), ("polling", transports.polling)];
        let now = now.map(|(transport, count)| (transport, count as f64));
        let help = "Connections now, by transport.";
        to.gauges("switchboard_connections", help, "transport", now)?;
        let help = "Upgrades from polling to websocket now under way.";
        to.gauge("switchboard_upgrades_pending", help, transports.upgrading as f64)?;
        let upgrades = [("done", transports.upgraded), ("failed", transports.upgrades_failed)];
        let help = "Upgrades from polling to websocket, by result.";
        to.counters("switchboard_upgrades", help, "result", upgrades)?;
        let refused = transports.refused.iter().map(|(reason, count)| (reason.as_str(), *count));
        let help = "HTTP requests of the transport that were refused, and those of pages that may \
                    not read the answer.";
        to.counters("switchboard_requests_refused", help, "reason", refused)?;
        let cut = transports.killed.iter().map(|(reason, count)| (reason.as_str(), *count));
        let help = "Connections that the server cut, by reason.";
        to.counters("switchboard_connections_cut", help, "reason", cut)?;

        let help = "Sockets now; a client in two namespaces has two.";
        to.gauge("switchboard_sockets", help, self.sockets as f64)?;
        to.gauge("socket_io_connected", "As switchboard_sockets.", self.sockets as f64)?;
        to.gauge("switchboard_users", "Users with sockets on this node.", self.users as f64)?;
        let help = "Namespaces on this node now.";
        to.gauge("switchboard_namespaces", help, self.namespaces as f64)?;
        let deadlines = meters.token_deadlines.load(Relaxed) as f64;
        let help = "Sockets whose token has an expiry that the server watches.";
        to.gauge("switchboard_token_deadlines", help, deadlines)?;
        let connects = meters.connects.get();
        to.counter("switchboard_connects", "Sockets that connected to a namespace.", connects)?;
        to.counter("socket_io_connect", "As switchboard_connects_total.", connects)?;
        let refused = meters.connects_refused.named(Code::ALL.map(Code::as_str));
        let refused = refused.chain([("unknown_namespace", transports.unknown_namespaces)]);
        let help = "Connects to a namespace that were refused, by code.";
        to.counters("switchboard_connects_refused", help, "code", refused)?;
        let left = || meters.disconnects.named(DISCONNECT_REASONS);
        let help = "Sockets that disconnected, by the reason that Node.js gives.";
        to.counters("switchboard_disconnects", help, "reason", left())?;
        let help = "As switchboard_disconnects_total.";
        to.counters("socket_io_disconnect", help, "reason", left())
    }

    fn events(&self, to: &mut Families<'_>) -> Result {
        let meters = self.node.meters();
        let received = meters.events_received.get();
        to.counter("switchboard_events_received", "Events received from clients.", received)?;
        let help = "As switchboard_events_received_total.";
        to.counter("socket_io_events_received", help, received)?;
        let refused = meters.events_refused.named(Code::ALL.map(Code::as_str));
        let help = "Events that ended in an error and replies that could not be sent, by code.";
        to.counters("switchboard_events_refused", help, "code", refused)?;
        let sent = meters.events_sent.get();
        let help = "Events queued for sockets of this node, each counted for every socket.";
        to.counter("switchboard_events_sent", help, sent)?;
        to.counter("socket_io_events_sent", "As switchboard_events_sent_total.", sent)?;
        let help = "Replies of handlers: acknowledgements and events.";
        to.counter("switchboard_replies", help, meters.replies.get())?;
        let emits = meters.emits.named(TargetKind::NAMES);
        let help = "Emits of this node, replies included, by the kind of the first target.";
        to.counters("switchboard_emits", help, "target", emits)?;
        let awaited = meters.acks_awaited.load(Relaxed) as f64;
        let help = "Emits now waiting for acknowledgements.";
        to.gauge("switchboard_ack_waits", help, awaited)?;
        let help = "Acknowledgements requested from clients of this node.";
        to.counter("switchboard_acks_asked", help, meters.acks_asked.get())?;
        let help = "Acknowledgements received in time from clients of this node.";
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

    fn recovery(&self, counts: &RecoveryCounts, to: &mut Families<'_>) -> Result {
        let meters = self.node.meters();
        let recovered = [("recovered", meters.recovered.get())];
        let results = recovered.into_iter().chain(meters.not_recovered.named(NotRecovered::NAMES));
        let help = "Clients that came back to a session: `recovered`, or why they got a new one.";
        to.counters("switchboard_recoveries", help, "result", results)?;
        let help = "Missed events sent to clients that recovered.";
        to.counter("switchboard_recovery_replayed", help, meters.replayed.get())?;
        let help = "Sessions now kept for clients that are away.";
        to.gauge("switchboard_recovery_sessions", help, counts.kept as f64)?;
        let help = "Events now in the logs of all namespaces.";
        to.gauge("switchboard_recovery_log_events", help, counts.entries as f64)?;
        let help = "Memory of the logs of all namespaces, roughly.";
        to.gauge("switchboard_recovery_log_bytes", help, counts.bytes as f64)?;
        let help = "Age of the oldest event in the logs of all namespaces.";
        to.gauge("switchboard_recovery_log_age_seconds", help, counts.age.as_secs_f64())
    }

    fn history(counts: &QueueCounts, to: &mut Families<'_>) -> Result {
        let help = "Events that were put into the history of a room.";
        to.counter("switchboard_history_kept", help, counts.kept)?;
        let help =
            "Events missing in the history of a room: too much waited, or the store refused them.";
        to.counter("switchboard_history_dropped", help, counts.dropped)?;
        let help = "Events that wait to be written into the history of a room.";
        to.gauge("switchboard_history_waiting", help, counts.waiting as f64)
    }

    fn inbox(meters: &InboxMeters, to: &mut Families<'_>) -> Result {
        let posts = [
            ("kept", meters.kept.get()),
            ("known", meters.known.get()),
            ("full", meters.full.get()),
        ];
        let help = "Messages for the inbox, by what became of them.";
        to.counters("switchboard_inbox_posts", help, "result", posts)?;
        let help = "Messages of the inbox that were sent to a device.";
        to.counter("switchboard_inbox_delivered", help, meters.delivered.get())?;
        let help = "Messages of the inbox that this node sent to a device once more.";
        to.counter("switchboard_inbox_redelivered", help, meters.redelivered.get())?;
        let help = "Messages of the inbox that a device has acknowledged.";
        to.counter("switchboard_inbox_acknowledged", help, meters.acknowledged.get())?;
        let help = "Messages of the inbox that expired before every device had them, removed by this node.";
        to.counter("switchboard_inbox_expired", help, meters.expired.get())?;
        let help =
            "Messages of the inbox whose node could not be told of them; it finds them later.";
        to.counter("switchboard_inbox_unsaid", help, meters.unsaid.get())?;
        let depth = meters.depth();
        let help = "Messages of the inbox that wait for devices, of all nodes, as of up to 30 seconds ago.";
        to.gauge("switchboard_inbox_messages", help, depth.messages as f64)?;
        let help = "Bytes of the messages of the inbox that wait for devices.";
        to.gauge("switchboard_inbox_bytes", help, depth.bytes as f64)?;
        let help = "Age of the oldest message of the inbox that waits for a device.";
        to.gauge("switchboard_inbox_oldest_seconds", help, meters.oldest_seconds())?;
        let is_up = f64::from(u8::from(meters.is_up.load(Relaxed)));
        let help = "1 if the store of the inbox answered when it was last asked.";
        to.gauge("switchboard_inbox_store_up", help, is_up)
    }

    fn node(&self, to: &mut Families<'_>) -> Result {
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("node", self.node.id().as_str())];
        to.fact(
            "switchboard_build_info",
            "The version of Switchboard and the name of the node.",
            &labels,
        )?;
        let draining = f64::from(u8::from(self.node.is_draining()));
        let help = "1 while the node drains; switchboard_sockets says how many are left.";
        to.gauge("switchboard_draining", help, draining)?;
        let help = "How much of a drain is done, from 0 to 1: sockets that have left by those that \
                    were there when it began. 0 without a drain.";
        let before = self.node.meters().drained_from.load(Relaxed);
        let progress = match (self.node.is_draining(), before) {
            (false, _) | (true, 0) => 0.0,
            (true, 1) => 1.0,
            // Another socket may have come in as the drain began.
            (true, before) => (1.0 - self.sockets as f64 / (before - 1) as f64).max(0.0),
        };
        to.gauge("switchboard_drain_progress", help, progress)?;
        if let Some(watch) = self.node.watch() {
            let help = "Reports to the Admin UI dropped because there were too many.";
            to.counter("switchboard_admin_ui_missed", help, watch.missed())?;
        }
        let tasks = self.node.tasks.len() as f64;
        let help = "Waiting handlers and background tasks.";
        to.gauge("switchboard_tasks", help, tasks)?;
        self.node.meters().requests.read(|durations| {
            let help = "Duration of requests to the admin port.";
            let name = "switchboard_admin_request_duration_seconds";
            to.durations(name, help, ["method", "route", "status"], durations)
        })
    }
}

impl Cluster {
    fn write(&self, to: &mut Families<'_>) -> Result {
        let (peers, broker) = (self.peers.counts(), &self.broker);
        let up = f64::from(u8::from(self.peers.is_up()));
        to.gauge("switchboard_cluster_link_up", "1 while the link to the other nodes is up.", up)?;
        let help = "Reconnects of the link to the other nodes.";
        to.counter("switchboard_cluster_reconnects", help, broker.reconnects)?;
        if let Some(nodes) = self.nodes {
            let help = "Live Switchboard nodes; absent while Redis does not answer.";
            to.gauge("switchboard_cluster_nodes", help, nodes as f64)?;
        }
        if !self.directory.is_empty() {
            let help = "1 while all users connected to this node are listed in Redis.";
            let complete = f64::from(u8::from(self.directory_complete));
            to.gauge("switchboard_directory_up", help, complete)?;
            let help = "Redis commands that the node needs and may not run.";
            to.gauge("switchboard_redis_refused_commands", help, self.refused as f64)?;
            let help = "Failures and repairs of the user directory in Redis, by kind.";
            let name = "switchboard_directory_troubles";
            to.counters(name, help, "kind", self.directory.iter().copied())?;
        }
        self.write_hop(to)?;
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let help = "Broadcasts for other nodes, including those lost on the way.";
        to.counter("switchboard_cluster_broadcasts_published", help, load(&peers.published))?;
        let help = "Messages from other nodes that were applied here.";
        to.counter("switchboard_cluster_messages_applied", help, load(&peers.applied))?;
        let help = "Broadcasts from other nodes that matched no local socket.";
        to.counter("switchboard_cluster_messages_filtered", help, load(&peers.filtered))?;
        let help = "Frames handed to Redis.";
        to.counter("switchboard_cluster_frames_published", help, broker.published)?;
        let help = "Frames received from Redis, this node's own included.";
        to.counter("switchboard_cluster_frames_received", help, broker.received)?;
        let dropped = [
            ("link_down", broker.dropped_down),
            ("queue_full", broker.dropped_full),
            ("unconfirmed", broker.publish_errors),
            ("unsendable", load(&peers.unsendable)),
            ("malformed", load(&peers.malformed) + broker.log_malformed),
        ];
        let help = "Lost messages, by reason: `malformed` ones came from other nodes, the rest from this one.";
        to.counters("switchboard_cluster_dropped", help, "reason", dropped)?;
        let help = "Streams that were trimmed or replaced before this node had read them.";
        to.counter("switchboard_cluster_stream_gaps", help, broker.log_gaps)?;
        let help = "Frames now waiting for Redis.";
        to.gauge("switchboard_cluster_queue_frames", help, broker.queued as f64)?;
        let help = "Bytes of the frames now waiting for Redis.";
        to.gauge("switchboard_cluster_queue_bytes", help, broker.queued_bytes as f64)?;
        let Some(waits) = &self.publish_waits else { return Ok(()) };
        let help = "Time from publishing a frame until Redis confirmed it.";
        to.histogram("switchboard_cluster_publish_duration_seconds", help, waits)
    }

    fn write_hop(&self, to: &mut Families<'_>) -> Result {
        let hop = &self.hop;
        let sent = hop.sent.iter();
        let sent = sent.map(|(kind, outcome, count)| ([kind.as_str(), outcome.as_str()], *count));
        let help = "Requests of clients that were forwarded to the node of their session, and \
                    questions to other nodes, by kind and outcome.";
        to.counters_by("switchboard_hop_requests", help, ["kind", "outcome"], sent)?;
        let help = "Requests and questions of other nodes that were taken here.";
        to.counter("switchboard_hop_taken", help, hop.taken)?;
        let help = "Requests that claimed to come from another node and could not prove it.";
        to.counter("switchboard_hop_forged", help, hop.forged)?;
        let help = "Websockets now passed on to the nodes of their sessions.";
        to.gauge("switchboard_hop_tunnels", help, hop.tunnels as f64)?;
        let help = "Nodes to which nothing is forwarded now, because they do not answer.";
        to.gauge("switchboard_hop_suspects", help, hop.suspects as f64)
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result {
        let mut families = Families(encoder);
        self.node(&mut families)?;
        self.connections(&mut families)?;
        self.events(&mut families)?;
        if let Some(recovery) = &self.recovery {
            self.recovery(recovery, &mut families)?;
        }
        if let Some(history) = &self.history {
            Self::history(history, &mut families)?;
        }
        if let Some(inbox) = &self.inbox {
            Self::inbox(inbox.meters(), &mut families)?;
        }
        #[cfg(feature = "postgres")]
        if let Some(outbox) = &self.outbox {
            super::outbox::write(outbox.meters(), &mut families)?;
        }
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
