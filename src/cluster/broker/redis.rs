//! Frames by the publish and subscribe of Redis, and entries of its streams.
//!
//! ```text
//! publish ── outgoing ── speaking ── speaker ──┐
//!                │                             ├── lane: place, watermark ── Redis
//! listen ── subscriptions ── listening ── listener ── pushes ── dispatcher ── the node
//!                │
//!              routes ── shards (of a Redis Cluster) ── slots
//! ```
//!
//! `outgoing` holds the frames to publish and `subscriptions` the topics to listen to, with or
//! without a link. Both travel on lanes: one lane, or one for each master of a Redis Cluster with
//! sharded channels (`shards`, `routes`). A lane has two connections, each kept by a task: one
//! publishes (`speaking`), the other listens (`listening`). Redis closes a listening connection when
//! too much waits for it, and that must not end the other. `connections` knows which connections are
//! up. Beside all this are the `streams`, each with connections of its own.

mod connections;
mod in_step;
mod kind;
mod lane;
mod listener;
mod listening;
mod other_nodes;
mod outgoing;
mod output_limit;
mod pause;
mod place;
mod pushes;
mod routes;
mod seldom;
mod shards;
mod slots;
mod speaker;
mod speaking;
mod streams;
mod subscriptions;
#[cfg(test)]
mod tests;
mod too_big;
mod watermark;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use parking_lot::RwLock;
use redis::RedisError;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use self::{
    connections::Connections,
    lane::Lane,
    listener::Listener,
    outgoing::Outgoing,
    place::{OpenError, Place},
    routes::{FIRST, Routes},
    seldom::seldom,
    speaker::Speaker,
    streams::Streams,
    subscriptions::Subscriptions,
    too_big::BigFrames,
};
pub(crate) use self::{outgoing::Pending, streams::StreamSettings};
use super::{
    BrokerCounts, Carrier, Channel, Disconnected, Inbound, Mark, Topic, dispatcher::Dispatcher,
    lapses::Lapses,
};
use crate::{
    cluster::{
        kind::Kind,
        log::{EntryId, NewEntry, Returned},
    },
    future::BoxFuture,
    link::{
        Link, LinkError,
        redis::{
            refusal::{explain, explain_loss, link_error},
            rights::Rights,
            state::LinkState,
            target::Target,
        },
    },
    telemetry::durations::Durations,
};

/// Longest time for a leaving node to send its waiting frames.
const FLUSH: Duration = Duration::from_secs(3);

/// The path to the other nodes through Redis.
///
/// When a master is replaced, or the slot of a sharded channel moves, the lane concerned is made
/// anew: the link is [`Link::Down`] for a moment. Sharded channels in a cluster need all masters;
/// classic ones need any.
pub(crate) struct RedisBroker(Arc<Node>);

struct Node {
    target: Target,
    kind: Kind,
    rights: Arc<Rights>,
    connections: Connections,
    lapses: Arc<Lapses>,
    outgoing: Outgoing,
    subscriptions: Subscriptions,
    streams: Streams,
    counters: Counters,
    big: BigFrames,
    /// The lanes by number. Ended lanes stay, which costs little: one for each replaced master.
    lanes: RwLock<Vec<Arc<Lane>>>,
    routes: ArcSwap<Routes>,
    /// Asks for the owners of the slots.
    astray: Notify,
    /// Signals that they were asked for.
    rerouted: watch::Sender<()>,
    dispatcher: OnceLock<Arc<Dispatcher>>,
    started: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Counters {
    publish_waits: Arc<Durations>,
    delivered: AtomicU64,
    /// Redis refused to publish, and that was logged.
    refused: AtomicBool,
}

impl RedisBroker {
    /// A broker without a link, until it is started.
    ///
    /// With streams the frames are only what is meant for those who are there, and a lost one is
    /// noticed by who asked. So no lapse is told because of them.
    pub(crate) fn new(
        target: Target,
        kind: Kind,
        rights: Arc<Rights>,
        pending: Pending,
        streams: Option<StreamSettings>,
    ) -> Self {
        let connections = Connections::new(LinkState::new("frames", target.address()));
        let lapses = Arc::new(Lapses::default());
        let of_frames = if streams.is_some() { Arc::default() } else { lapses.clone() };
        let streams = Streams::new(streams, pending, &lapses);
        let is_spread = kind == Kind::Sharded && target.is_cluster();
        let first = Lane::new(FIRST, if is_spread { Place::Nowhere } else { Place::Any });
        if !is_spread {
            let lanes: Vec<_> = std::iter::once((FIRST, None)).chain(streams.lanes()).collect();
            connections.lanes(&lanes);
        }
        Self(Arc::new(Node {
            target,
            kind,
            rights,
            connections,
            outgoing: Outgoing::new(pending, of_frames),
            lapses,
            subscriptions: Subscriptions::new(),
            streams,
            counters: Counters::default(),
            big: BigFrames::default(),
            lanes: RwLock::new(vec![first]),
            routes: ArcSwap::default(),
            astray: Notify::new(),
            rerouted: watch::Sender::new(()),
            dispatcher: OnceLock::new(),
            started: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }
}

impl Carrier for RedisBroker {
    /// A second start while the first is in force changes nothing. If the future is dropped before
    /// it ends, the broker is never linked.
    fn start(&self, inbound: Inbound, wait: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let node = &self.0;
            if node.started.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            let dispatcher =
                node.dispatcher.get_or_init(|| Arc::new(Dispatcher::new(inbound))).clone();
            node.start(&dispatcher, wait).await.inspect_err(|_| {
                node.forget_shards();
                node.started.store(false, Ordering::Release);
            })
        })
    }

    fn publish(&self, channel: &str, frame: Bytes) {
        self.0.outgoing.push(channel, frame);
    }

    fn append(&self, entry: NewEntry, returned: Option<Returned>) {
        self.0.streams.append(entry, returned);
    }

    fn is_ordered(&self) -> bool {
        self.0.streams.is_ordered()
    }

    fn read_up_to(&self, namespace: &str) -> Option<EntryId> {
        self.0.streams.read_up_to(namespace)
    }

    fn mark(&self) -> Mark {
        Mark { streams: self.0.streams.mark(), ..self.0.outgoing.mark() }
    }

    fn taken(&self, since: Mark) -> BoxFuture<'_, Result<(), Disconnected>> {
        Box::pin(async move {
            self.0.outgoing.taken(&since).await?;
            self.0.streams.taken(&since.streams).await
        })
    }

    /// No limit concerns an entry of a stream.
    fn is_too_big(&self, since: &Mark, until: &Mark) -> bool {
        self.0.outgoing.is_too_big(since, until)
    }

    fn listen(&self, topic: Topic) {
        self.0.subscriptions.listen(topic);
    }

    fn unlisten(&self, topic: &Topic) {
        self.0.subscriptions.unlisten(topic);
    }

    fn settled(&self, topics: &[Topic]) -> BoxFuture<'_, ()> {
        Box::pin(self.0.subscriptions.settled(topics))
    }

    fn listeners(&self, channels: Vec<Channel>) -> BoxFuture<'_, Result<Vec<usize>, Disconnected>> {
        Box::pin(async move { self.0.listeners(&channels).await })
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.0.connections.watch()
    }

    fn lapses(&self) -> &Lapses {
        &self.0.lapses
    }

    fn reason(&self) -> Option<String> {
        self.0.connections.reason()
    }

    fn refused(&self) -> Vec<&'static str> {
        self.0.rights.refused()
    }

    fn trouble(&self) -> Option<String> {
        self.0.rights.trouble()
    }

    fn counts(&self) -> BrokerCounts {
        let Node { counters, outgoing, streams, dispatcher, connections, .. } = &*self.0;
        let (frames, entries) = (outgoing.waiting(), streams.waiting());
        let (queued, queued_bytes) = (frames.0 + entries.0, frames.1 + entries.1);
        let (log_gaps, log_malformed) = streams.troubles();
        let frames = outgoing.counts().and(streams.counts());
        let delivered = || counters.delivered.load(Ordering::Relaxed);
        BrokerCounts {
            published: frames.published,
            delivered: self.0.counts_everybody().then(delivered),
            publish_errors: frames.unsure,
            dropped_down: frames.dropped_down,
            dropped_full: frames.dropped_full,
            received: dispatcher.get().map_or(0, |dispatcher| dispatcher.received()),
            reconnects: connections.mended(),
            queued,
            queued_bytes,
            log_gaps,
            log_malformed,
        }
    }

    fn waits(&self) -> Option<Arc<Durations>> {
        Some(self.0.counters.publish_waits.clone())
    }

    /// Waits 3 s at most. The broker cannot be started again afterwards.
    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.leave_all();
        Box::pin(async {
            self.0.tasks.wait().await;
            self.0.outgoing.end();
            self.0.streams.end();
            self.0.connections.end();
        })
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        self.0.leave_all();
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Node { target, kind, .. } = &*self.0;
        f.debug_struct("RedisBroker").field("target", target).field("kind", kind).finish()
    }
}

impl Node {
    /// Opens every lane and keeps it from then on.
    async fn start(
        self: &Arc<Self>,
        dispatcher: &Arc<Dispatcher>,
        wait: bool,
    ) -> Result<(), LinkError> {
        let mut lanes = vec![self.lanes.read()[FIRST].clone()];
        if self.is_spread() {
            lanes = match place::slots(&self.target).await {
                Ok(slots) => self.reroute(&slots).await,
                Err(error) if wait => {
                    self.connections.unreachable(&self.explain(&error));
                    self.astray.notify_one();
                    Vec::new()
                }
                Err(error) => return Err(self.refusal(error)),
            };
        }
        let opened = join_all(lanes.iter().map(async |lane| {
            tokio::join!(self.open_speaker(lane), self.open_listener(lane, dispatcher))
        }))
        .await;
        let works =
            lanes.is_empty() || opened.iter().any(|(one, other)| one.is_ok() && other.is_ok());
        if !works && !wait {
            // The caller gets the error, and there is no second attempt.
            let errors = opened.into_iter().flat_map(|(one, other)| [one.err(), other.err()]);
            let first = errors.flatten().next();
            return first.map_or(Ok(()), |error| Err(self.refusal(error)));
        }
        let streams = self.open_streams(wait).await.map_err(|error| self.refusal(error))?;
        let mut opens = Vec::new();
        for (lane, (speaker, listener)) in lanes.into_iter().zip(opened) {
            let speaker = self.or_lost(&lane, connections::Side::Speaking, speaker);
            let listener = self.or_lost(&lane, connections::Side::Listening, listener);
            opens.push((lane, speaker, listener));
        }
        self.outgoing.begin();
        for (lane, speaker, listener) in opens {
            self.spawn(lane, dispatcher, speaker, listener);
        }
        self.spawn_streams(streams, dispatcher);
        if self.is_spread() {
            let (keeper, dispatcher) = (self.clone(), dispatcher.clone());
            let stop = self.stop.clone();
            self.tasks.spawn(async move {
                stop.run_until_cancelled(keeper.keep_shards(dispatcher)).await
            });
        }
        Ok(())
    }

    /// Returns the opened link. A failed one is mended from now on.
    fn or_lost<T>(
        &self,
        lane: &Lane,
        side: connections::Side,
        opened: Result<T, OpenError>,
    ) -> Option<T> {
        let lost = |error| self.connections.down(lane.number, side, self.explain(&error));
        opened.map_err(lost).ok()
    }

    /// Keeps the links of a lane, until it has ended or the node leaves.
    fn spawn(
        self: &Arc<Self>,
        lane: Arc<Lane>,
        dispatcher: &Arc<Dispatcher>,
        speaker: Option<Arc<Speaker>>,
        listener: Option<Listener>,
    ) {
        // Done before the tasks run, so that the caller of `start` finds the lane linked.
        if let Some(speaker) = &speaker {
            self.begin_speaking(&lane, speaker);
        }
        let (node, own) = (self.clone(), lane.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = node.keep_speaking(&own, speaker) => {}
                () = seldom(node.is_over(&own)) => {}
            }
            if node.stop.is_cancelled() && !node.outgoing.is_over(own.number) {
                warn!("Redis did not take the last frames in time");
            }
            own.speaker.store(None);
            node.outgoing.linked(own.number, false);
        });
        let (node, own, dispatcher) = (self.clone(), lane, dispatcher.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = node.keep_listening(&own, &dispatcher, listener) => {}
                () = node.is_over(&own) => {}
            }
            node.subscriptions.lost(own.number);
        });
    }

    async fn is_over(&self, lane: &Lane) {
        tokio::select! {
            () = lane.over.cancelled() => {}
            () = self.has_to_end() => {}
        }
    }

    /// The node has left, and the time for its last words is over.
    async fn has_to_end(&self) {
        self.stop.cancelled().await;
        sleep(FLUSH).await;
    }

    fn leave_all(&self) {
        self.outgoing.seal();
        self.streams.seal();
        self.stop.cancel();
        self.tasks.close();
    }

    /// Asks each lane for its own channels. A lane without a link does not stop the others.
    async fn listeners(&self, channels: &[Channel]) -> Result<Vec<usize>, Disconnected> {
        let routes = self.routes.load_full();
        let lanes = self.lanes.read().clone();
        let mut places = vec![Vec::new(); lanes.len()];
        for (at, channel) in channels.iter().enumerate() {
            places[routes.lane(channel)].push(at);
        }
        let questions = lanes.iter().zip(&places).filter(|(_, places)| !places.is_empty());
        let answers = try_join_all(questions.map(async |(lane, places)| {
            let speaker = lane.speaker.load_full().ok_or(Disconnected)?;
            let asked: Vec<_> = places.iter().map(|at| channels[*at].clone()).collect();
            let counts = speaker.listeners(&asked).await.map_err(|error| {
                self.rights.note(self.kind.count(), &error);
                self.lost_way(&error);
                debug!(%error, "Redis did not tell who listens");
                Disconnected
            })?;
            Ok(places.iter().copied().zip(counts))
        }))
        .await?;
        let mut sums = vec![0; channels.len()];
        answers.into_iter().flatten().for_each(|(at, count)| sums[at] = count);
        Ok(sums)
    }

    /// Whether Redis reports how many listeners got a frame. Nobody knows who reads an entry.
    fn counts_everybody(&self) -> bool {
        match self.kind {
            Kind::Classic => !self.target.is_cluster(),
            Kind::Sharded => true,
            Kind::Streams => false,
        }
    }

    fn explain(&self, error: &OpenError) -> String {
        match error {
            OpenError::Redis(error) => explain(&self.target, error),
            OpenError::Unfit(reason) => reason.clone(),
        }
    }

    /// The words for the loss of a link that was up.
    fn explain_loss(&self, error: &RedisError) -> String {
        explain_loss(&self.target, error)
    }

    fn refusal(&self, error: OpenError) -> LinkError {
        match error {
            OpenError::Redis(error) => link_error(&self.target, &error),
            OpenError::Unfit(reason) => LinkError::Unfit { address: self.target.address(), reason },
        }
    }
}
