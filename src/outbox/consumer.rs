//! Sends what is in the outbox: partition by partition, in order, and marks it afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    select,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    event::{Unsent, When},
    table::{Marks, Place, Queued, ROWS},
};
use crate::{id::random_text, store::StoreError};

/// How long a partition stays with a node that says nothing any more.
const LEASE: Duration = Duration::from_secs(10);

/// How often leases are renewed, and partitions shared anew.
const RENEWAL: Duration = Duration::from_secs(2);

/// Nothing is sent so shortly before a lease ends: whoever is frozen at the wrong moment goes on after it.
const MARGIN: Duration = Duration::from_secs(2);

/// How long a consumer looks for more by itself before it sleeps until it is told, and the pause between
/// looks. Whoever commits meanwhile need not notify.
const LINGER: Duration = Duration::from_millis(10);
const GLANCE: Duration = Duration::from_millis(2);

/// The pause after something that did not work, which grows up to the time of a renewal.
const RETRY: Duration = Duration::from_millis(250);

/// Times in a row that an event seems to be what keeps a batch from the other nodes, before this is
/// believed: something else that was sent in the same moment may be at fault.
const SURE: u32 = 2;

/// How often keys are swept and the table is looked at.
const LOOK: Duration = Duration::from_secs(15);

/// The one that sends.
pub(super) struct Consumer {
    shared: Arc<Shared>,
    stop: CancellationToken,
    /// Tells this run from every other one.
    run: String,
    /// When the leases end, at the latest: counted from before they were asked for.
    leased_until: Instant,
    renewal: Instant,
    partitions: Vec<i32>,
    marks: Marks,
    /// Most events of the next batch. Fewer after one that did not reach the other nodes.
    rows: i64,
    /// Times in a row that something did not work.
    failures: u32,
    /// Events that do not seem to be for the other nodes, by their ids, and how often that was so.
    suspects: BTreeMap<i64, u32>,
    is_asleep: bool,
    quiet_since: Option<Instant>,
}

impl Consumer {
    pub(super) fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        let run = format!("{} {}", shared.ways.node.id(), random_text(16));
        let now = Instant::now();
        Self {
            shared,
            stop,
            run,
            leased_until: now,
            renewal: now,
            partitions: vec![],
            marks: Marks::new(),
            rows: ROWS,
            failures: 0,
            suspects: BTreeMap::new(),
            is_asleep: false,
            quiet_since: None,
        }
    }

    /// Sends until it is to stop. Then other nodes may go on at once.
    pub(super) async fn run(mut self) {
        let mut is_configured = false;
        while !self.stop.is_cancelled() {
            let done = match is_configured {
                true => self.round().await,
                false => self.configure().await.map(|()| is_configured = true),
            };
            let is_up = done.is_ok();
            let was_up = self.shared.meters.is_up.swap(is_up, Relaxed);
            if let Err(error) = done {
                if was_up || !is_configured {
                    tracing::warn!(%error, "the outbox waits for the database");
                }
                self.is_asleep = false;
                // The next answer may be that of a new primary, where other events have these places.
                self.marks.clear();
                self.retry().await;
            } else if !was_up {
                self.failures = 0;
                tracing::info!("the outbox works");
            }
        }
        if let Err(error) = self.give_back().await {
            tracing::warn!(%error, "the partitions of the outbox are free when their leases end");
        }
    }

    /// Leaves the partitions to other nodes.
    async fn give_back(&mut self) -> Result<(), StoreError> {
        self.mark().await?;
        self.shared.table.retire(&self.run).await?;
        self.partitions.clear();
        self.shared.meters.partitions.store(0, Relaxed);
        Ok(())
    }

    async fn configure(&self) -> Result<(), StoreError> {
        self.shared.table.configure(self.shared.options.partitions).await
    }

    async fn mark(&mut self) -> Result<(), StoreError> {
        self.shared.table.mark(&self.run, &self.marks).await?;
        self.marks.clear();
        Ok(())
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        if self.shared.ways.peers.as_ref().is_some_and(|peers| !peers.can_reach()) {
            // What is sent now would be lost for the other nodes. One of them may have a link.
            if !self.partitions.is_empty() {
                self.give_back().await?;
            }
            self.renewal = Instant::now();
            self.pause(RETRY).await;
            return Ok(());
        }
        if Instant::now() >= self.renewal {
            self.claim().await?;
        }
        if self.partitions.is_empty() {
            let renewal = self.renewal;
            self.stop.run_until_cancelled(sleep_until(renewal)).await;
            return Ok(());
        }
        let batch = self.shared.table.step(&self.run, &self.marks, self.rows).await?;
        self.marks.clear();
        if batch.is_empty() {
            return self.rest().await;
        }
        (self.is_asleep, self.quiet_since) = (false, None);
        self.send(batch).await
    }

    async fn claim(&mut self) -> Result<(), StoreError> {
        // Some may go to another node, which begins behind what is marked.
        self.mark().await?;
        let asked = Instant::now();
        let partitions = self.shared.table.claim(&self.run, LEASE).await?;
        if partitions != self.partitions || asked >= self.leased_until {
            // Those that are new are awake.
            self.is_asleep = false;
            tracing::debug!(?partitions, "the outbox reads these partitions");
        }
        self.leased_until = asked + LEASE;
        self.renewal = asked + RENEWAL;
        self.shared.meters.partitions.store(partitions.len(), Relaxed);
        self.partitions = partitions;
        Ok(())
    }

    /// Nothing is there: looks again shortly, or sleeps until there is news.
    async fn rest(&mut self) -> Result<(), StoreError> {
        let since = *self.quiet_since.get_or_insert_with(Instant::now);
        if !self.is_asleep {
            if since.elapsed() < LINGER {
                self.pause(GLANCE).await;
                return Ok(());
            }
            // What was committed before this came without a notification, so it is looked for once more.
            self.is_asleep = self.shared.table.sleep(&self.run).await?;
            if !self.is_asleep {
                self.pause(GLANCE).await;
            }
            return Ok(());
        }
        let poll = Instant::now() + self.shared.options.poll;
        select! {
            () = self.shared.news.notified() => {}
            () = sleep_until(poll.min(self.renewal)) => {}
            () = self.stop.cancelled() => {}
        }
        Ok(())
    }

    async fn pause(&self, time: Duration) {
        self.stop.run_until_cancelled(sleep(time)).await;
    }

    /// Pauses before something is tried again.
    async fn retry(&mut self) {
        self.failures += 1;
        let pause = RETRY * 2_u32.pow(self.failures.min(8) - 1);
        self.pause(pause.min(RENEWAL)).await;
    }

    /// Sends a batch. What has been sent is marked with the next step.
    async fn send(&mut self, batch: Vec<Queued>) -> Result<(), StoreError> {
        let count = batch.len() as u64;
        let mut partitions: BTreeMap<i32, Vec<Queued>> = BTreeMap::new();
        for event in batch {
            partitions.entry(event.partition).or_default().push(event);
        }
        let shared = self.shared.clone();
        let reaching = shared.ways.peers.as_ref().map(|peers| peers.reaching());
        let ends = self.leased_until - MARGIN;
        let suspects = &self.suspects;
        let all = partitions.values().map(|events| send_in_order(&shared, events, ends, suspects));
        let all = join_all(all).await;
        if let Some(reaching) = reaching {
            // Whoever waits for longer has no lease any more.
            let reached = timeout_at(ends, reaching.all()).await;
            if !matches!(reached, Ok(Ok(()))) {
                return self.not_reached(count, &partitions, &all).await;
            }
        }
        self.suspects.clear();
        self.rows = (2 * self.rows).min(ROWS);
        let mut later = None;
        for (partition, sent) in partitions.into_keys().zip(all) {
            self.marks.extend(sent.last.map(|place| (partition, place)));
            later = later.or(sent.later);
        }
        if let Some(why) = later {
            tracing::warn!(error = why, "an event of the outbox cannot be sent yet");
            self.pause(RETRY).await;
        } else {
            self.failures = 0;
        }
        Ok(())
    }

    /// The other nodes may not have got it. It is sent once more, without what can never reach them.
    async fn not_reached(
        &mut self,
        count: u64,
        partitions: &BTreeMap<i32, Vec<Queued>>,
        all: &[Sent],
    ) -> Result<(), StoreError> {
        self.shared.meters.repeated.add(count);
        tracing::warn!(
            events = count,
            "the other nodes may have missed events of the outbox; they are sent once more"
        );
        let shared = self.shared.clone();
        let Some(peers) = &shared.ways.peers else { return Ok(()) };
        let large = all.iter().flat_map(|sent| &sent.large);
        let hopeless: BTreeSet<i64> =
            large.filter(|(_, when)| peers.is_hopeless(when)).map(|(id, _)| *id).collect();
        self.suspects.retain(|id, times| *times >= SURE || hopeless.contains(id));
        for event in partitions.values().flatten().filter(|it| hopeless.contains(&it.place.1)) {
            let times = self.suspects.get(&event.place.1).copied().unwrap_or_default() + 1;
            if times == SURE {
                set_aside(&shared, event, "it is too large for the way to the other nodes").await?;
            }
            self.suspects.insert(event.place.1, times);
        }
        if hopeless.is_empty() {
            // A link that is slow has time for less.
            self.rows = (self.rows.min(count as i64) / 2).max(1);
            self.retry().await;
        }
        Ok(())
    }
}

/// How far a partition was sent.
#[derive(Default)]
struct Sent {
    last: Option<Place>,
    /// Why it was not sent to the end.
    later: Option<String>,
    /// When each large event was sent, by its id.
    large: Vec<(i64, When)>,
}

/// Sends the events of a partition, but for those of which it is sure that they never reach all nodes.
async fn send_in_order(
    shared: &Shared,
    events: &[Queued],
    ends: Instant,
    suspects: &BTreeMap<i64, u32>,
) -> Sent {
    let mut sent = Sent::default();
    for event in events {
        let id = event.place.1;
        if suspects.get(&id).is_some_and(|times| *times >= SURE) {
            sent.last = Some(event.place);
            continue;
        }
        if Instant::now() >= ends {
            // Another node may have the partition by now. It is claimed again before it goes on.
            return sent;
        }
        match event.send(&shared.ways).await {
            Ok(when) => {
                shared.meters.sent.count();
                sent.large.extend(when.map(|when| (id, when)));
            }
            Err(Unsent::Later(why)) => {
                sent.later = Some(why);
                return sent;
            }
            Err(Unsent::Never(why)) => {
                if let Err(error) = set_aside(shared, event, &why).await {
                    sent.later = Some(error.to_string());
                    return sent;
                }
            }
        }
        sent.last = Some(event.place);
    }
    sent
}

async fn set_aside(shared: &Shared, event: &Queued, why: &str) -> Result<(), StoreError> {
    shared.table.set_aside(event, why).await?;
    shared.meters.set_aside.count();
    tracing::error!(id = event.place.1, reason = why, "an event of the outbox is set aside");
    Ok(())
}

/// Forgets old keys, and looks how much there is.
pub(super) async fn look_after(shared: &Shared) {
    loop {
        while let Ok(true) = shared.table.sweep(shared.options.key_ttl).await {
            // A small step at a time.
            sleep(Duration::from_millis(50)).await;
        }
        if let Ok(depth) = shared.table.depth().await {
            shared.meters.found(&depth);
        }
        sleep(LOOK).await;
    }
}
