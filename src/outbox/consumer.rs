//! Sends what is in the outbox: partition by partition, in order, and marks it afterwards.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::future::join_all;
use rand::{RngExt as _, distr::Alphanumeric};
use tokio::{
    select,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    event::Unsent,
    table::{Marks, Queued, ROWS},
};
use crate::store::StoreError;

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

/// Times that the other nodes do not get what is sent, although there is a link, before it is sent one by
/// one, and before that one is set aside.
const FAILURES: u32 = 3;

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
    has_partitions: bool,
    marks: Marks,
    /// Times in a row that the other nodes did not get a batch.
    failures: u32,
    is_asleep: bool,
    quiet_since: Option<Instant>,
}

impl Consumer {
    pub(super) fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        let random: String =
            rand::rng().sample_iter(Alphanumeric).take(16).map(char::from).collect();
        let run = format!("{} {random}", shared.ways.context.node());
        let now = Instant::now();
        Self {
            shared,
            stop,
            run,
            leased_until: now,
            renewal: now,
            has_partitions: false,
            marks: Marks::new(),
            failures: 0,
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
                self.pause(self.shared.options.poll.max(Duration::from_millis(100))).await;
            } else if !was_up {
                tracing::info!("the outbox works");
            }
        }
        if let Err(error) = self.give_back().await {
            tracing::warn!(%error, "the partitions of the outbox are free when their leases end");
        }
    }

    /// Leaves the partitions to other nodes.
    async fn give_back(&mut self) -> Result<(), StoreError> {
        self.shared.table.step(&self.run, &self.marks, 1).await?;
        self.marks.clear();
        self.shared.table.retire(&self.run).await?;
        self.has_partitions = false;
        self.shared.meters.partitions.store(0, Relaxed);
        Ok(())
    }

    async fn configure(&self) -> Result<(), StoreError> {
        self.shared.table.configure(self.shared.options.partitions).await
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        if self.shared.ways.peers.as_ref().is_some_and(|peers| !peers.is_up()) {
            // What is sent now would be lost for the other nodes. One of them may have a link.
            if self.has_partitions {
                self.give_back().await?;
            }
            self.renewal = Instant::now();
            self.pause(self.shared.options.poll).await;
            return Ok(());
        }
        if Instant::now() >= self.renewal {
            self.claim().await?;
        }
        if !self.has_partitions {
            let renewal = self.renewal;
            self.stop.run_until_cancelled(sleep_until(renewal)).await;
            return Ok(());
        }
        let rows = if self.failures >= FAILURES { 1 } else { ROWS };
        let batch = self.shared.table.step(&self.run, &self.marks, rows).await?;
        self.marks.clear();
        if batch.is_empty() {
            return self.rest().await;
        }
        (self.is_asleep, self.quiet_since) = (false, None);
        self.send(batch).await
    }

    async fn claim(&mut self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let partitions = self.shared.table.claim(&self.run, LEASE).await?;
        self.leased_until = asked + LEASE;
        self.renewal = asked + RENEWAL;
        self.has_partitions = !partitions.is_empty();
        let before = self.shared.meters.partitions.swap(partitions.len(), Relaxed);
        if before != partitions.len() {
            // Those that are new are awake.
            self.is_asleep = false;
            tracing::debug!(?partitions, "partitions of the outbox");
        }
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
        let all = partitions.values().map(|events| send_in_order(&shared, events, ends));
        let mut marks = Marks::new();
        let mut later = None;
        for (events, sent) in partitions.values().zip(join_all(all).await) {
            marks.extend(sent.last.map(|place| (events[0].partition, place)));
            later = later.or(sent.later);
        }
        if let Some(reaching) = reaching
            && reaching.all().await.is_err()
        {
            return self.not_reached(count, partitions.into_values().next()).await;
        }
        self.failures = 0;
        self.marks = marks;
        if let Some(why) = later {
            tracing::warn!(error = why, "an event of the outbox cannot be sent yet");
            self.pause(self.shared.options.poll).await;
        }
        Ok(())
    }

    /// The other nodes may not have got it. It is sent once more.
    async fn not_reached(
        &mut self,
        count: u64,
        first: Option<Vec<Queued>>,
    ) -> Result<(), StoreError> {
        self.shared.meters.repeated.add(count);
        self.failures += 1;
        let has_link = self.shared.ways.peers.as_ref().is_some_and(|peers| peers.is_up());
        tracing::warn!(
            events = count,
            "the other nodes may have missed events of the outbox: once more"
        );
        if !has_link {
            self.failures = 0;
        } else if self.failures > 2 * FAILURES
            && let Some(event) = first.and_then(|events| events.into_iter().next())
        {
            // It is alone, and it is the event itself.
            let why = "it does not reach the other nodes";
            set_aside(&self.shared, &event, why).await?;
            self.marks = Marks::from([(event.partition, event.place)]);
            self.failures = 0;
        }
        self.pause(self.shared.options.poll).await;
        Ok(())
    }
}

/// How far a partition was sent.
#[derive(Default)]
struct Sent {
    last: Option<super::table::Place>,
    /// Why it was not sent to the end.
    later: Option<String>,
}

async fn send_in_order(shared: &Shared, events: &[Queued], ends: Instant) -> Sent {
    let mut sent = Sent::default();
    for event in events {
        if Instant::now() >= ends {
            // Another node may have the partition by now. It is claimed again before it goes on.
            return sent;
        }
        match event.send(&shared.ways).await {
            Ok(()) => shared.meters.sent.count(),
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
