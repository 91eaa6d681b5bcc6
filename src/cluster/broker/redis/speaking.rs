//! Keeps the publishing connections, and sends the waiting frames.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use redis::{RedisError, RedisResult};
use tokio::time::sleep;
use tracing::warn;

use super::{
    Kind, Node,
    connections::Side,
    lane::Lane,
    outgoing::{Fate, Flight},
    pause::Pause,
    place::{self, OpenError},
    seldom::seldom,
    speaker::{BatchResult, Speaker},
};
use crate::link::{
    backoff::Backoff,
    redis::{
        client::closed_by_redis,
        liveness::{self, Liveness},
        refusal::is_of_rights,
        wanted::{UNNOTICED, is_wrong_server},
    },
};

/// A publishing and a listening link that are lost within this time were lost together.
const TOGETHER: Duration = Duration::from_secs(3);
/// Longest wait for the other nodes.
const OTHERS: Duration = Duration::from_secs(2);

/// The pause in sending after an outage of all nodes. The others come back by growing pauses, none
/// of which is much longer than the outage. A node that is not back yet would not hear the frames.
fn until_others_are_back(outage: Duration) -> Duration {
    (outage * 2 + Duration::from_millis(50)).min(OTHERS)
}

impl Node {
    pub(super) async fn open_speaker(&self, lane: &Lane) -> Result<Arc<Speaker>, OpenError> {
        let speaker = Speaker::open(&self.target, self.kind, &lane.place).await?;
        Ok(Arc::new(speaker))
    }

    /// Sends waiting frames from now on.
    pub(super) fn begin_speaking(&self, lane: &Lane, speaker: &Arc<Speaker>) {
        lane.speaker.store(Some(speaker.clone()));
        self.outgoing.linked(lane.number, true);
        self.connections.up(lane.number, Side::Speaking);
    }

    /// Keeps the publishing connection, beginning with `open`. Ends when the node has left and no
    /// frame waits.
    pub(super) async fn keep_speaking(&self, lane: &Lane, mut open: Option<Arc<Speaker>>) {
        let mut pause = Pause::default();
        let mut lost_at: Option<Instant> = None;
        loop {
            if let Some(speaker) = open.take() {
                let opened = Instant::now();
                let life = Liveness::new(self.target.timeouts().silence);
                let wanted = place::wanted(&self.target, self.kind);
                let until_dead = liveness::until_dead(speaker.connection.clone(), wanted, &life);
                let until_lost = async {
                    tokio::select! {
                        biased;
                        () = speaker.closed.cancelled() => closed_by_redis(),
                        error = until_dead => error,
                    }
                };
                let lost = tokio::select! {
                    // First, so that every answer that has come is noted.
                    biased;
                    sent = self.send_all(lane, &speaker) => sent.err(),
                    error = seldom(until_lost) => Some(error),
                };
                lane.speaker.store(None);
                speaker.closed.cancel();
                self.outgoing.linked(lane.number, false);
                lost_at = Some(Instant::now());
                let Some(error) = lost else { return };
                if is_wrong_server(&error)
                    && self.kind != Kind::Streams
                    && let Some(since) = Instant::now().checked_sub(UNNOTICED)
                {
                    // The server took the frames, and passed them on to nobody.
                    self.lapses.unsaid(since);
                }
                self.lost(lane, Side::Speaking, self.explain_loss(&error));
                pause.lasted(opened.elapsed());
            }
            if self.outgoing.is_over(lane.number) {
                return;
            }
            sleep(pause.next()).await;
            self.outgoing.expire();
            match self.open_speaker(lane).await {
                Ok(speaker) => {
                    if let Some(lost) = lost_at
                        && lane.deaf_since.lock().is_some_and(|deaf| deaf + TOGETHER > lost)
                    {
                        let time = until_others_are_back(lost.elapsed());
                        self.outgoing.hold_back(lane.number, time);
                    }
                    self.begin_speaking(lane, &speaker);
                    open = Some(speaker);
                }
                Err(error) => self.lost(lane, Side::Speaking, self.explain(&error)),
            }
        }
    }

    /// Sends one batch after the other: this is the one order in which others hear this node.
    async fn send_all(&self, lane: &Lane, speaker: &Speaker) -> RedisResult<()> {
        let mut pause = Backoff::default();
        let mut is_down = false;
        loop {
            let mut batch = pin!(self.outgoing.batch(lane.number));
            let batch = match futures_util::poll!(&mut batch) {
                Poll::Ready(batch) => batch,
                Poll::Pending => {
                    // Refused frames have gone to another lane; or they were dropped, and the next
                    // batch will tell.
                    if std::mem::take(&mut is_down) {
                        self.connections.up(lane.number, Side::Speaking);
                    }
                    batch.await
                }
            };
            let Some(mut flight) = batch else { return Ok(()) };
            self.refuse_too_big(&mut flight, speaker).await?;
            let said = speaker.send(&mut flight).await;
            self.note(&flight, &said);
            self.rest_after_big(lane.number, &flight);
            drop(flight);
            let Some(error) = said?.not_now else {
                pause.reset();
                if std::mem::take(&mut is_down) {
                    self.connections.up(lane.number, Side::Speaking);
                }
                continue;
            };
            // One channel that has moved does not end the link.
            let mut rerouted = self.rerouted.subscribe();
            let lasts = !(error.is_cluster_error() && pause.is_fresh());
            self.lost_way(&error);
            if lasts {
                is_down = true;
                self.outgoing.linked(lane.number, false);
                self.connections.down(lane.number, Side::Speaking, self.explain_loss(&error));
            }
            let pause = pause.next();
            tokio::select! {
                _ = rerouted.changed() => {}
                () = sleep(pause) => {}
            }
            if lasts {
                self.outgoing.linked(lane.number, true);
            }
        }
    }

    fn note(&self, flight: &Flight<'_>, said: &RedisResult<BatchResult>) {
        let Ok(BatchResult { delivered, refused, .. }) = said else { return };
        let now = Instant::now();
        self.counters.delivered.fetch_add(*delivered, Ordering::Relaxed);
        if let Some(oldest) = flight.frames.iter().map(|frame| frame.since).min() {
            self.lapses.sent(oldest, now);
        }
        let taken = flight.frames.iter().zip(&flight.fates);
        for (frame, _) in taken.filter(|(_, fate)| **fate == Fate::Taken) {
            self.counters.publish_waits.record(now.duration_since(frame.since));
        }
        if let Some(error) = refused {
            self.refused(error);
        }
    }

    /// Redis could have taken a frame and refused it. Logs the first time.
    fn refused(&self, error: &RedisError) {
        if is_of_rights(error) {
            self.rights.note(self.kind.publish(), error);
        } else if !self.counters.refused.swap(true, Ordering::Relaxed) {
            warn!(%error, "Redis refuses to publish");
        }
    }
}
