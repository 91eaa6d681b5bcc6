//! Frames by the publish and subscribe of Redis.
//!
//! `outgoing` holds what is to be published, `interest` what is to be listened to, both whether
//! there is a link or not; a `session` is one life of the link, with `slots` for a Redis Cluster.
//! One task opens sessions and lets the other three meet in them.

mod elsewhere;
mod interest;
mod outgoing;
mod session;
mod signs;
mod slots;
mod sound;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use redis::{RedisError, RedisResult};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use self::{
    interest::{Changes, Interest},
    outgoing::{Dropped, Outgoing},
    session::{OpenError, Published, Session},
};
use super::{
    Broker, BrokerCounts, Channel, Disconnected, Inbound, Link, LinkError, Topic, ears::Ears,
    lapses::Lapses,
};
use crate::{
    handler::BoxFuture,
    metrics::Durations,
    redis::{
        backoff::Backoff,
        refusal::{explain, explain_loss, is_of_rights, link_error},
        rights::{Rights, Try},
        state::LinkState,
        target::Target,
    },
};

/// How long a node that leaves tries to send what waits.
const FLUSH: Duration = Duration::from_secs(3);
/// A link that lasted so long was sound; the pauses start short again. One that breaks earlier,
/// as while the slots of a cluster are moved, must not be made anew 20 times a second.
const STEADY: Duration = Duration::from_secs(5);

/// Which commands of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `PUBLISH`, `SUBSCRIBE`, `PSUBSCRIBE`.
    Classic,
    /// `SPUBLISH`, `SSUBSCRIBE` (Redis 7); no prefixes. In a Redis Cluster the load is spread, and
    /// the order of frames is kept within a channel only.
    Sharded,
}

impl Kind {
    fn publish(self) -> &'static str {
        match self {
            Self::Classic => "PUBLISH",
            Self::Sharded => "SPUBLISH",
        }
    }

    fn subscribe(self) -> &'static str {
        match self {
            Self::Classic => "SUBSCRIBE",
            Self::Sharded => "SSUBSCRIBE",
        }
    }

    fn count(self) -> &'static str {
        match self {
            Self::Classic => "PUBSUB|NUMSUB",
            Self::Sharded => "PUBSUB|SHARDNUMSUB",
        }
    }

    /// What a broker does in Redis, on channels that nobody listens to. That it may listen shows by
    /// itself: without it there is no link.
    pub(crate) fn tries(self, prefix: &str) -> Vec<Try> {
        let kinds: &[&str] = match self {
            Self::Classic => &["", "-request", "-response"],
            Self::Sharded => &[""],
        };
        let channels = kinds.iter().map(|kind| format!("{prefix}{kind}#rights"));
        let tries = channels.flat_map(|channel| {
            [Try::new(self.publish(), &[&channel, ""]), Try::new(self.count(), &[&channel])]
        });
        tries.collect()
    }
}

/// The way to the other nodes by Redis.
///
/// When a master is replaced, or the slot of a sharded channel moves, the link is made anew: it is
/// [`Link::Down`] for a moment, and frames are lost, as when Redis restarts. Sharded channels in a
/// cluster need all masters; classic ones do with any.
pub(crate) struct RedisBroker(Arc<Node>);

struct Node {
    target: Target,
    kind: Kind,
    rights: Arc<Rights>,
    state: LinkState,
    outgoing: Outgoing,
    interest: Interest,
    lapses: Lapses,
    counters: Counters,
    session: ArcSwapOption<Session>,
    ears: OnceLock<Arc<Ears>>,
    started: AtomicBool,
    /// There was a link once; so others may rely on hearing this node.
    was_up: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Counters {
    published: AtomicU64,
    publish_waits: Arc<Durations>,
    publish_errors: AtomicU64,
    dropped_down: AtomicU64,
    dropped_full: AtomicU64,
    reconnects: AtomicU64,
    delivered: AtomicU64,
    /// Redis refused to publish, and that was logged.
    refused: AtomicBool,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

impl RedisBroker {
    /// Not linked until it is started.
    pub(crate) fn new(target: Target, kind: Kind, rights: Arc<Rights>) -> Self {
        let state = LinkState::new("frames", target.address());
        Self(Arc::new(Node {
            target,
            kind,
            rights,
            state,
            outgoing: Outgoing::default(),
            interest: Interest::new(),
            lapses: Lapses::default(),
            counters: Counters::default(),
            session: ArcSwapOption::empty(),
            ears: OnceLock::new(),
            started: AtomicBool::new(false),
            was_up: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }
}

impl Broker for RedisBroker {
    /// A second start while the first is in force changes nothing. Dropped before it ends, the
    /// future leaves a broker that is never linked.
    fn start(&self, inbound: Inbound, wait: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let node = &self.0;
            if node.started.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            let ears = node.ears.get_or_init(|| Arc::new(Ears::new(inbound))).clone();
            let first = match node.open(&ears).await {
                Ok(session) => Some(session),
                Err(error) if wait => {
                    node.state.down(&node.explain(&error));
                    None
                }
                Err(error) => {
                    node.started.store(false, Ordering::Release);
                    return Err(node.refusal(error));
                }
            };
            let keeper = node.clone();
            node.tasks.spawn(async move { keeper.keep(ears, first).await });
            Ok(())
        })
    }

    fn publish(&self, channel: &str, frame: Bytes) {
        let counters = &self.0.counters;
        let dropped = match self.0.outgoing.push(channel, frame) {
            Ok(()) => return,
            Err(Dropped::Down) => &counters.dropped_down,
            Err(Dropped::Full) => &counters.dropped_full,
        };
        add(dropped, 1);
        if self.0.was_up.load(Ordering::Relaxed) {
            self.0.lapses.unsaid(Instant::now());
        }
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.outgoing.flushed())
    }

    fn listen(&self, topic: Topic) {
        self.0.interest.listen(topic);
    }

    fn unlisten(&self, topic: &Topic) {
        self.0.interest.unlisten(topic);
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        let mut link = self.0.state.watch();
        let (version, mut confirmed) = self.0.interest.version();
        Box::pin(async move {
            let in_force = confirmed.wait_for(|confirmed| *confirmed >= version);
            tokio::select! {
                _ = in_force => {}
                _ = link.wait_for(|link| *link == Link::Down) => {}
            }
        })
    }

    fn listeners(&self, channels: Vec<Channel>) -> BoxFuture<'_, Result<Vec<usize>, Disconnected>> {
        Box::pin(async move {
            let session = self.0.session.load_full().ok_or(Disconnected)?;
            tokio::select! {
                // a session that is over must not be kept alive by a question
                () = session.lost() => Err(Disconnected),
                answer = session.listeners(&channels) => answer.map_err(|error| {
                    self.0.rights.note(self.0.kind.count(), &error);
                    debug!(%error, "Redis did not tell who listens");
                    Disconnected
                }),
            }
        })
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.0.state.watch()
    }

    fn lapses(&self) -> &Lapses {
        &self.0.lapses
    }

    fn reason(&self) -> Option<String> {
        self.0.state.reason()
    }

    fn counts(&self) -> BrokerCounts {
        let Node { counters, outgoing, ears, .. } = &*self.0;
        let (queued, queued_bytes) = outgoing.waiting();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BrokerCounts {
            published: read(&counters.published),
            delivered: self.0.counts_everybody().then(|| read(&counters.delivered)),
            publish_errors: read(&counters.publish_errors),
            dropped_down: read(&counters.dropped_down),
            dropped_full: read(&counters.dropped_full),
            received: ears.get().map_or(0, |ears| ears.received()),
            reconnects: read(&counters.reconnects),
            queued,
            queued_bytes,
        }
    }

    fn waits(&self) -> Option<Arc<Durations>> {
        Some(self.0.counters.publish_waits.clone())
    }

    /// Waits 3 s at most. Afterwards the broker can't be started again.
    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.stop.cancel();
        self.0.tasks.close();
        Box::pin(async { self.0.tasks.wait().await })
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Node { target, kind, .. } = &*self.0;
        f.debug_struct("RedisBroker").field("target", target).field("kind", kind).finish()
    }
}

/// How a session ended.
enum End {
    Stopped,
    Lost(RedisError),
}

impl Node {
    /// Opens a session and brings it up: first everything is listened to, then frames travel.
    async fn open(&self, ears: &Arc<Ears>) -> Result<Arc<Session>, OpenError> {
        let session = Arc::new(Session::open(&self.target, self.kind, ears).await?);
        let all = self.interest.everything();
        session.apply(&all).await.inspect_err(|error| self.may_not_listen(error))?;
        self.rights.done(self.kind.subscribe());
        self.interest.confirm(all.version);
        self.session.store(Some(session.clone()));
        self.outgoing.open();
        self.was_up.store(true, Ordering::Relaxed);
        self.state.up();
        Ok(session)
    }

    /// Whether Redis tells to how many it has given a frame.
    fn counts_everybody(&self) -> bool {
        self.kind == Kind::Sharded || !self.target.is_cluster()
    }

    async fn keep(&self, ears: Arc<Ears>, mut session: Option<Arc<Session>>) {
        let mut backoff = Backoff::default();
        let mut sound_until = None;
        loop {
            if let Some(session) = session.take() {
                if let Some(since) = sound_until {
                    self.lapses.unheard(since);
                }
                let opened = Instant::now();
                let end = self.serve(&session).await;
                sound_until = session.sound_until();
                self.give_up(&session, &ears);
                match end {
                    End::Stopped => return self.state.end(),
                    End::Lost(error) => self.state.down(&explain_loss(&self.target, &error)),
                }
                if opened.elapsed() >= STEADY {
                    backoff.reset();
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return self.state.end(),
                () = sleep(backoff.next()) => {}
            }
            let opened = tokio::select! {
                () = self.stop.cancelled() => return self.state.end(),
                opened = self.open(&ears) => opened,
            };
            match opened {
                Ok(opened) => {
                    add(&self.counters.reconnects, 1);
                    session = Some(opened);
                }
                Err(error) => self.state.down(&self.explain(&error)),
            }
        }
    }

    async fn serve(&self, session: &Session) -> End {
        let mut publishing = pin!(self.publishing(session));
        let lost = tokio::select! {
            () = self.stop.cancelled() => {
                self.outgoing.seal();
                // others count nodes by their subscriptions, so those end first
                let last = timeout(FLUSH, async { tokio::join!(self.leave(session), publishing) });
                if last.await.is_err() {
                    warn!("Redis did not take the last frames in time");
                }
                return End::Stopped;
            }
            sent = &mut publishing => sent.err(),
            applied = self.listening(session) => applied.err(),
            error = session.until_lost() => Some(error),
        };
        match lost {
            Some(error) => End::Lost(error),
            None => End::Stopped, // only after it was sealed
        }
    }

    fn give_up(&self, session: &Session, ears: &Ears) {
        self.session.store(None);
        session.give_up();
        ears.begin();
        let dropped = self.outgoing.close();
        if let Some(first) = dropped.front() {
            self.lapses.unsaid(first.since);
        }
        add(&self.counters.dropped_down, dropped.len());
        self.outgoing.settle(dropped.len());
    }

    /// One batch after the other: that is the one order in which this node is heard.
    async fn publishing(&self, session: &Session) -> RedisResult<()> {
        while let Some(batch) = self.outgoing.batch().await {
            // counted if this future is dropped while they are on their way
            let mut sent = Sent {
                node: self,
                since: batch[0].since,
                frames: batch.len(),
                unsure: batch.len(),
            };
            let Published { refused, first, delivered } = session.publish(&batch).await?;
            sent.unsure = refused;
            self.counters.delivered.fetch_add(delivered, Ordering::Relaxed);
            for frame in &batch {
                self.counters.publish_waits.record(frame.since.elapsed());
            }
            add(&self.counters.published, batch.len() - refused);
            drop(sent);
            if let Some(error) = first {
                self.refused(&error);
            }
        }
        Ok(())
    }

    async fn listening(&self, session: &Session) -> RedisResult<()> {
        loop {
            let changes = self.interest.changes().await;
            session.apply(&changes).await.inspect_err(|error| self.may_not_listen(error))?;
            self.interest.confirm(changes.version);
        }
    }

    async fn leave(&self, session: &Session) {
        let everything = Changes { unlisten: self.interest.told(), ..Changes::default() };
        if let Err(error) = session.apply(&everything).await {
            debug!(%error, "left without a word");
        }
    }

    /// Redis did not take a frame, though it could. The first time it is logged.
    fn refused(&self, error: &RedisError) {
        if is_of_rights(error) {
            self.rights.note(self.kind.publish(), error);
        } else if !self.counters.refused.swap(true, Ordering::Relaxed) {
            warn!(%error, "Redis refuses to publish");
        }
    }

    fn may_not_listen(&self, error: &RedisError) {
        self.rights.note(self.kind.subscribe(), error);
    }

    fn explain(&self, error: &OpenError) -> String {
        match error {
            OpenError::Redis(error) => explain(&self.target, error),
            OpenError::Unfit(reason) => reason.clone(),
        }
    }

    fn refusal(&self, error: OpenError) -> LinkError {
        match error {
            OpenError::Redis(error) => link_error(&self.target, &error),
            OpenError::Unfit(reason) => LinkError::Unfit { address: self.target.address(), reason },
        }
    }
}

/// Frames that were sent. Dropped, they have left: those that are not sure to have arrived, all of
/// them if no answer came, are counted first, so that who waits for them finds them counted.
struct Sent<'a> {
    node: &'a Node,
    since: Instant,
    frames: usize,
    unsure: usize,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        add(&self.node.counters.publish_errors, self.unsure);
        if self.unsure > 0 {
            self.node.lapses.unsaid(self.since);
        }
        self.node.outgoing.settle(self.frames);
    }
}
