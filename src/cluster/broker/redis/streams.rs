//! The streams of Redis in which the messages stand that must not be lost.
//!
//! ```text
//! append ── queue ── writing ── writer ── Redis ── reader ── reading ── dispatcher ── the node
//!                       └── unsure
//! ```
//!
//! A stream has two connections, each kept by a task: one adds entries, the other reads all that is
//! added, by whomever. Both tasks know afterwards what became of an entry: `unsure` finds out which
//! ones a lost connection has still brought to Redis, and [`State`](crate::cluster::log::redis::State)
//! whether reading can go on where it ended. In a Redis Cluster a stream lives at the master that owns its slot.

mod queue;
mod reader;
mod reading;
#[cfg(test)]
mod tests;
mod unsure;
mod writer;
mod writing;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;

use self::queue::Queue;
use super::{
    Node, OpenError, Pending,
    connections::Side,
    outgoing::FrameCounts,
    place::{self, Place},
    slots,
};
use crate::{
    cluster::{
        broker::{Disconnected, dispatcher::Dispatcher, lapses::Lapses},
        log::{EntryId, NewEntry, Returned, StreamNames, redis::Position},
    },
    link::redis::{rights::Try, target::Target},
};

/// The numbers of streams among the lanes begin here.
const FIRST: usize = 1 << 32;

/// The settings of the streams.
#[derive(Debug, Clone)]
pub(crate) struct StreamSettings {
    pub(crate) names: StreamNames,
    /// As `redis.stream_max_len`.
    pub(crate) max_len: u64,
    /// Own entries come back in the order of the stream.
    pub(crate) ordered: bool,
    /// Whether the streams are read. An emitter only writes.
    pub(crate) reads: bool,
}

impl StreamSettings {
    /// The commands on streams, in forms that change nothing.
    pub(crate) fn tries(&self) -> Vec<Try> {
        let stream = &self.names.shared()[0];
        let mut tries = vec![
            Try::new("XADD", &[stream, "0-0", "no", "entry"]),
            Try::new("XREVRANGE", &[stream, "0-0", "0-0"]),
            Try::new("XINFO|STREAM", &[stream]),
            Try::new("CLIENT|INFO", &[]),
            Try::new("CLIENT|KILL", &["ID", "0"]),
        ];
        if self.reads {
            tries.push(Try::new("XREAD", &["STREAMS", stream, "$"]));
        }
        if self.ordered {
            tries.push(Try::new("XRANGE", &[stream, "0-0", "0-0"]));
        }
        tries
    }
}

/// The streams of a broker. None, unless its protocol has them.
#[derive(Default)]
pub(super) struct Streams {
    settings: Option<StreamSettings>,
    /// Tells this node's entries from those of an earlier one of the same name.
    run: String,
    /// The shared streams by their numbers, then those that only Node.js writes to.
    all: Vec<Arc<Stream>>,
    gaps: AtomicU64,
    malformed: AtomicU64,
}

/// One stream.
pub(super) struct Stream {
    name: Box<str>,
    /// Its number among the lanes.
    lane: usize,
    /// The entries that wait. `None` for a stream that is only read.
    queue: Option<Queue>,
    /// The place up to which it was read. `None` before the first link.
    read: Mutex<Option<Position>>,
    /// The time up to which everything was read.
    until: Mutex<Instant>,
    /// When it was last looked whether it is the same stream.
    looked: Mutex<Instant>,
    /// The writing connection before the present one, which may still bring entries to Redis.
    former: Mutex<Option<unsure::Identity>>,
    /// Where the stream ended when it was first written to.
    began: Mutex<Option<EntryId>>,
}

impl Streams {
    pub(super) fn new(
        settings: Option<StreamSettings>,
        pending: Pending,
        lapses: &Arc<Lapses>,
    ) -> Self {
        let Some(settings) = settings else { return Self::default() };
        let shared = settings.names.shared().into_iter().map(|name| (name, true));
        let astray = settings.names.astray().into_iter().map(|name| (name, false));
        let all = shared.chain(astray.filter(|_| settings.reads));
        let all = all.enumerate().map(|(number, (name, is_shared))| {
            let queue = is_shared.then(|| Queue::new(pending, settings.ordered, lapses.clone()));
            let (read, former, began) = Default::default();
            let now = || Mutex::new(Instant::now());
            let (lane, until, looked) = (FIRST + number, now(), now());
            Arc::new(Stream { name, lane, queue, read, until, looked, former, began })
        });
        let all = all.collect();
        let run = format!("{:016x}", rand::random::<u64>());
        Self { settings: Some(settings), run, all, ..Self::default() }
    }

    fn of(&self, namespace: &str) -> Option<&Arc<Stream>> {
        self.all.get(self.settings.as_ref()?.names.of(namespace))
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.all.iter().filter_map(|stream| stream.queue.as_ref())
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.ordered)
    }

    pub(super) fn append(&self, entry: NewEntry, returned: Option<Returned>) {
        match self.of(&entry.namespace).and_then(|stream| stream.queue.as_ref()) {
            Some(queue) => queue.push(entry, returned),
            None => returned.into_iter().for_each(|returned| returned(None)),
        }
    }

    pub(super) fn read_up_to(&self, namespace: &str) -> Option<EntryId> {
        self.of(namespace)?.read.lock().map(|position| position.read)
    }

    pub(super) fn mark(&self) -> Vec<(u64, u64)> {
        self.queues().map(Queue::mark).collect()
    }

    /// Ends when every entry since a mark has been taken.
    ///
    /// # Errors
    /// If one was lost.
    pub(super) async fn taken(&self, since: &[(u64, u64)]) -> Result<(), Disconnected> {
        for (queue, mark) in self.queues().zip(since) {
            queue.taken(*mark).await?;
        }
        Ok(())
    }

    /// The fates of all entries.
    pub(super) fn counts(&self) -> FrameCounts {
        self.queues().map(Queue::counts).fold(FrameCounts::default(), FrameCounts::and)
    }

    pub(super) fn waiting(&self) -> (usize, usize) {
        let all = self.queues().map(Queue::waiting);
        all.fold((0, 0), |(entries, bytes), one| (entries + one.0, bytes + one.1))
    }

    /// How often something was trimmed before it was read, and how many entries made no sense.
    pub(super) fn troubles(&self) -> (u64, u64) {
        (self.gaps.load(Ordering::Relaxed), self.malformed.load(Ordering::Relaxed))
    }

    /// The lanes of the streams, with their names if there are several.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (usize, Option<String>)> {
        let name =
            |stream: &Stream| (self.all.len() > 1).then(|| format!("stream {}", stream.name));
        self.all.iter().map(move |stream| (stream.lane, name(stream)))
    }

    pub(super) fn seal(&self) {
        self.queues().for_each(Queue::seal);
    }

    pub(super) fn end(&self) {
        self.queues().for_each(Queue::end);
    }
}

impl Stream {
    /// The server of the stream.
    ///
    /// # Errors
    /// If it cannot be found out.
    async fn place(&self, target: &Target) -> Result<Place, OpenError> {
        if !target.is_cluster() {
            return Ok(Place::Any);
        }
        let slots = place::slots(target).await?;
        let owner = slots.owner(slots::slot(&self.name));
        Ok(owner.map_or(Place::Nowhere, |owner| Place::Master(slots.masters[owner].clone())))
    }
}

/// What a stream has when a broker starts.
pub(super) struct Opened {
    stream: Arc<Stream>,
    writer: Option<writer::Writer>,
    reader: Option<reader::Reader>,
}

impl Node {
    /// Opens the connections of all streams. With `wait` a failure is mended later.
    ///
    /// # Errors
    /// The first failure, without `wait`.
    pub(super) async fn open_streams(&self, wait: bool) -> Result<Vec<Opened>, OpenError> {
        let reads = self.streams.settings.as_ref().is_some_and(|settings| settings.reads);
        let opened = self.streams.all.iter().map(async |stream| {
            let (writer, reader) = tokio::join!(
                async {
                    match &stream.queue {
                        Some(queue) => self.open_writer(stream, queue).await.map(Some),
                        None => Ok(None),
                    }
                },
                async {
                    match reads {
                        true => self.open_reader(stream).await.map(Some),
                        false => Ok(None),
                    }
                }
            );
            (stream.clone(), writer, reader)
        });
        let mut all = Vec::new();
        for (stream, writer, reader) in futures_util::future::join_all(opened).await {
            let writer = self.opened(&stream, Side::Speaking, writer, wait)?;
            let reader = self.opened(&stream, Side::Listening, reader, wait)?;
            all.push(Opened { stream, writer, reader });
        }
        Ok(all)
    }

    fn opened<T>(
        &self,
        stream: &Stream,
        side: Side,
        opened: Result<Option<T>, OpenError>,
        wait: bool,
    ) -> Result<Option<T>, OpenError> {
        match opened {
            Ok(opened) => {
                if opened.is_none() {
                    // There is no such connection, so it is never down.
                    self.connections.up(stream.lane, side);
                }
                Ok(opened)
            }
            Err(error) if wait => {
                self.connections.down(stream.lane, side, self.explain(&error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps the connections of all streams.
    pub(super) fn spawn_streams(
        self: &Arc<Self>,
        opened: Vec<Opened>,
        dispatcher: &Arc<Dispatcher>,
    ) {
        let reads = self.streams.settings.as_ref().is_some_and(|settings| settings.reads);
        for Opened { stream, writer, reader } in opened {
            if let Some(queue) = &stream.queue {
                queue.begin();
                if writer.is_some() {
                    self.begin_writing(&stream, queue);
                }
                let (node, own) = (self.clone(), stream.clone());
                self.tasks.spawn(async move { node.keep_writing(&own, writer).await });
            }
            if reads {
                let (node, dispatcher) = (self.clone(), dispatcher.clone());
                self.tasks
                    .spawn(async move { node.keep_reading(&stream, &dispatcher, reader).await });
            }
        }
    }

    /// A connection of a stream was lost, or not made.
    fn stream_lost(&self, stream: &Stream, side: Side, reason: String) {
        if !self.stop.is_cancelled() {
            self.connections.down(stream.lane, side, reason);
        }
    }
}
