//! Keeps the connection that adds entries to a stream, and sends the waiting ones.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use redis::{RedisError, RedisResult};
use tokio::time::sleep;
use tracing::warn;

use super::{
    super::{Node, OpenError, connections::Side, pause::Pause},
    Stream,
    queue::{Answer, Queue},
    unsure::Identity,
    writer::{self, Writer},
};
use crate::{
    cluster::log::redis::State,
    link::{
        backoff::Backoff,
        redis::{
            client::closed_by_redis,
            liveness::{self, Liveness},
            refusal::is_of_rights,
            wanted::{UNNOTICED, Wanted, is_wrong_server},
        },
    },
};

impl Node {
    /// Opens a connection, and finds out what became of the entries that the former one has left
    /// behind.
    pub(super) async fn open_writer(
        &self,
        stream: &Stream,
        queue: &Queue,
    ) -> Result<Writer, OpenError> {
        let place = stream.place(&self.target).await?;
        let writer = Writer::open(&self.target, &place).await?;
        let mut connection = writer.connection.clone();
        let prepared = async {
            let identity = Identity::read(self, &mut connection).await?;
            if stream.began.lock().is_none() {
                let state = State::read(&mut connection, &stream.name).await?;
                *stream.began.lock() = Some(state.last);
            }
            self.settle(stream, queue, &mut connection).await?;
            *stream.former.lock() = identity;
            Ok(())
        };
        let prepared = tokio::select! {
            prepared = tokio::time::timeout(self.target.timeouts().silence, prepared) => prepared,
            () = writer.closed.cancelled() => Ok(Err(closed_by_redis().into())),
        };
        prepared.unwrap_or_else(|_| Err(closed_by_redis().into())).map(|()| writer)
    }

    /// Sends waiting entries from now on.
    pub(super) fn begin_writing(&self, stream: &Stream, queue: &Queue) {
        queue.linked(true);
        self.connections.up(stream.lane, Side::Speaking);
    }

    /// Keeps the connection, beginning with `open`. Ends when the node has left and no entry waits,
    /// or when it has waited for that for too long.
    pub(super) async fn keep_writing(&self, stream: &Stream, open: Option<Writer>) {
        let Some(queue) = &stream.queue else { return };
        tokio::select! {
            () = self.write_on(stream, queue, open) => {}
            () = self.has_to_end() => {}
            () = expire(queue) => {}
        }
        if self.stop.is_cancelled() && !queue.is_over() {
            warn!(stream = &*stream.name, "Redis did not take the last entries in time");
        }
        queue.linked(false);
    }

    async fn write_on(&self, stream: &Stream, queue: &Queue, mut open: Option<Writer>) {
        let mut pause = Pause::default();
        loop {
            if let Some(writer) = open.take() {
                let opened = Instant::now();
                let life = Liveness::new(self.target.timeouts().silence);
                let wanted = Wanted::of(self.target.clone());
                let until_dead = liveness::until_dead(writer.connection.clone(), wanted, &life);
                let lost = tokio::select! {
                    // First, so that every answer that has come is noted.
                    biased;
                    sent = self.write_all(stream, queue, &writer) => sent.err(),
                    () = writer.closed.cancelled() => Some(closed_by_redis()),
                    error = until_dead => Some(error),
                };
                queue.linked(false);
                let Some(error) = lost else { return };
                if is_wrong_server(&error)
                    && let Some(since) = Instant::now().checked_sub(UNNOTICED)
                {
                    // Nobody else may have read there.
                    self.lapses.unsaid(since);
                }
                self.stream_lost(stream, Side::Speaking, self.explain_loss(&error));
                pause.lasted(opened.elapsed());
            }
            if queue.is_over() {
                return;
            }
            sleep(pause.next()).await;
            match self.open_writer(stream, queue).await {
                Ok(writer) => {
                    self.begin_writing(stream, queue);
                    open = Some(writer);
                }
                Err(error) => self.stream_lost(stream, Side::Speaking, self.explain(&error)),
            }
        }
    }

    /// Sends one batch after the other.
    async fn write_all(&self, stream: &Stream, queue: &Queue, writer: &Writer) -> RedisResult<()> {
        let (mut pause, mut is_down) = (Backoff::default(), false);
        let max_len = self.streams.settings.as_ref().map_or(1, |settings| settings.max_len);
        while queue.take().await {
            let (commands, since) = queue.flying(|items| {
                let since: Vec<Instant> = items.iter().map(|item| item.since).collect();
                (writer::commands(stream, max_len, &self.streams.run, items), since)
            });
            let said = writer.send(commands).await?;
            let now = Instant::now();
            if let Some(oldest) = since.iter().min() {
                self.lapses.sent(*oldest, now);
            }
            for (since, _) in since.iter().zip(&said.all).filter(|(_, answer)| is_taken(answer)) {
                self.counters.publish_waits.record(now.duration_since(*since));
            }
            queue.answered(said.all);
            if let Some(error) = said.refused {
                self.entry_refused(&error);
            }
            match said.not_now {
                // The stream is elsewhere.
                Some(error) if error.is_cluster_error() => return Err(error),
                Some(error) => {
                    is_down = true;
                    queue.linked(false);
                    self.stream_lost(stream, Side::Speaking, self.explain_loss(&error));
                    sleep(pause.next()).await;
                    queue.linked(true);
                }
                None => {
                    pause.reset();
                    if std::mem::take(&mut is_down) {
                        self.connections.up(stream.lane, Side::Speaking);
                    }
                }
            }
        }
        Ok(())
    }

    /// Redis could have taken an entry and refused it. Logs the first time.
    fn entry_refused(&self, error: &RedisError) {
        if is_of_rights(error) {
            self.rights.note("XADD", error);
        } else if !self.counters.refused.swap(true, Ordering::Relaxed) {
            warn!(%error, "Redis refuses to add to a stream");
        }
    }
}

fn is_taken(answer: &Answer) -> bool {
    matches!(answer, Answer::Taken(_))
}

/// Looks after what waits for too long. Never ends.
async fn expire(queue: &Queue) {
    loop {
        let pause: Duration = queue.expire();
        sleep(pause).await;
    }
}
