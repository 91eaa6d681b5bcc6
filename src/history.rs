//! The history of rooms: the last events to them, which clients get when they join, and programs by the
//! API.
//!
//! ```text
//! door ── archive ── rules ── queue ── writer ── store      an event to a room
//! join ── archive ── this queue, those of the other nodes ── store      the last ones
//! ```
//!
//! An emit never waits for the store: the event is put into a queue, and written in order. Whoever reads
//! waits until everything is written that was in a queue before, on every node. So an event that was
//! sent before somebody could hear it is in the history of who joins.

mod queue;
mod rounds;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use smallvec::SmallVec;
use socketioxide_core::adapter::Room;
use tokio::time::timeout;

use queue::Queue;
pub(crate) use queue::QueueCounts;
use rounds::Rounds;

use crate::{
    config::RoomHistory,
    fault::Fault,
    future::BoxFuture,
    id::fnv1a,
    payload::Payload,
    recovery::EventId,
    sockets::archive::{Archive, InOrder, Kept, ToKeep},
    store::{
        HistoryStore, StoreError,
        history::{NewEvent, Page, PastEvent},
    },
};

/// How long the writing of a queue, and the reading, are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes of a page.
const MAX_BYTES: usize = 4 << 20;

/// The pause between two looks for events that are too old, and how many are removed at a time.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
const SWEPT: usize = 500;

/// How much longer than in the queues of the link to Redis an event may be under way.
const ON_THE_WAY: Duration = Duration::from_secs(20);

/// Rooms that share a turn wait for each other: the more, the less.
const TURNS: usize = 64;

/// Asks the other nodes to write what waits there. It ends when they have, or take too long.
pub(crate) type AskOthers = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The history of rooms on this node.
pub(crate) struct History {
    rules: Vec<RoomHistory>,
    store: Arc<dyn HistoryStore>,
    queue: Arc<Queue>,
    /// `None` for a node that stands alone.
    others: OnceLock<Rounds>,
    under_way: Duration,
    /// Names the events of a node that stands alone.
    run: String,
    last_number: AtomicU64,
    /// Those of a room are always the same.
    turns: [Mutex<()>; TURNS],
}

impl History {
    /// `pending_age`: how long an event may wait for the link to the other nodes.
    pub(crate) fn new(
        rules: Vec<RoomHistory>,
        store: Arc<dyn HistoryStore>,
        pending_age: Duration,
    ) -> Self {
        Self {
            rules,
            store,
            queue: Arc::default(),
            others: OnceLock::new(),
            under_way: pending_age + ON_THE_WAY,
            run: format!("{:032x}", rand::random::<u128>()),
            last_number: AtomicU64::new(0),
            turns: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// There are other nodes. Called once, when the server is built.
    pub(crate) fn set_others(&self, ask: AskOthers) {
        let _ = self.others.set(Rounds::new(ask));
    }

    /// Writes what is kept, for ever.
    pub(crate) fn write(&self) -> impl Future<Output = ()> + Send + use<> {
        let (queue, store) = (self.queue.clone(), self.store.clone());
        async move { queue.write(&*store).await }
    }

    /// Removes what is too old, for ever.
    pub(crate) fn sweep(&self) -> impl Future<Output = ()> + Send + use<> {
        let store = self.store.clone();
        async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                while store.sweep(SWEPT).await.is_ok_and(|swept| swept >= SWEPT as u64) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Waits until everything is written that was kept on this node before. Returns whether it is.
    pub(crate) async fn written(&self) -> bool {
        timeout(PATIENCE, self.queue.written()).await.unwrap_or(false)
    }

    /// Whether a history is kept of a room.
    pub(crate) fn is_kept(&self, room: &str) -> bool {
        self.rule_of(room).is_some()
    }

    /// Whether the store did not take what was last written.
    pub(crate) fn is_away(&self) -> bool {
        self.queue.is_away()
    }

    pub(crate) fn counts(&self) -> QueueCounts {
        self.queue.counts()
    }

    /// Events of a room, the newest first, with everything that was kept before on all nodes.
    ///
    /// # Errors
    /// `unavailable` while the store cannot be reached, or has no time.
    pub(crate) async fn list(
        &self,
        namespace: &str,
        room: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Page, Fault> {
        let late = || StoreError::Unavailable("no answer in time".into());
        let others = async {
            if let Some(others) = self.others.get() {
                others.next().await;
            }
        };
        let (is_written, ()) = futures_util::future::join(self.written(), others).await;
        let listed = match is_written {
            true => {
                timeout(PATIENCE, self.store.list(namespace, room, before, limit, MAX_BYTES)).await
            }
            false => Ok(Err(late())),
        };
        let listed = listed.unwrap_or_else(|_| Err(late()));
        listed.map_err(|error| {
            tracing::debug!(%error, "the history of a room cannot be read");
            Fault::from(&error)
        })
    }

    fn rule_of(&self, room: &str) -> Option<&RoomHistory> {
        self.rules.iter().find(|rule| rule.rooms.matches(room)).filter(|_| can_be_kept(room))
    }
}

/// Not every database can hold a text with this character.
pub(crate) fn can_be_kept(text: &str) -> bool {
    !text.contains('\0')
}

impl Archive for History {
    fn keeps(&self, room: &str) -> bool {
        self.is_kept(room)
    }

    fn on_join(&self, room: &str) -> usize {
        self.rule_of(room).map_or(0, |rule| rule.on_join)
    }

    fn in_order<'a>(&'a self, rooms: &[Room]) -> InOrder<'a> {
        let turn = |room: &Room| fnv1a(room.as_bytes()) as usize % TURNS;
        let mut turns: SmallVec<[usize; 1]> = rooms.iter().map(turn).collect();
        // In one order for all, so that nobody waits in a circle.
        turns.sort_unstable();
        turns.dedup();
        turns.into_iter().map(|turn| self.turns[turn].lock()).collect()
    }

    fn keep(&self, id: EventId, event: ToKeep) {
        let ToKeep { namespace, rooms, event, args, from } = event;
        let names = [&*namespace, &*event].into_iter().chain(from.as_deref());
        if !names.into_iter().all(can_be_kept) {
            return;
        }
        for room in rooms {
            let Some(rule) = self.rule_of(&room) else { continue };
            self.queue.push(NewEvent {
                namespace: namespace.clone(),
                room: room.into_owned(),
                id: id.to_string(),
                event: event.clone(),
                args: args.clone(),
                from: from.clone(),
                count: rule.count,
                ttl: rule.ttl,
            });
        }
    }

    fn last<'a>(
        &'a self,
        namespace: &'a str,
        room: &'a str,
        count: usize,
    ) -> BoxFuture<'a, Option<Vec<Kept>>> {
        Box::pin(async move {
            let page = self.list(namespace, room, None, count).await.ok()?;
            let kept = |event: PastEvent| {
                let payload = Payload::from_stored(&event.event, &event.args, None).ok()?;
                Some(Kept { id: event.id.parse().ok()?, payload })
            };
            Some(page.events.into_iter().rev().filter_map(kept).collect())
        })
    }

    fn under_way(&self) -> Duration {
        self.under_way
    }

    fn name(&self) -> EventId {
        EventId::of(&self.run, self.last_number.fetch_add(1, Ordering::Relaxed))
    }
}

/// The question of another node: to write what waits here.
pub(crate) const WRITE: &str = "history.write";

/// How long the answer to [`WRITE`] is waited for.
pub(crate) const WRITE_PATIENCE: Duration = PATIENCE;
