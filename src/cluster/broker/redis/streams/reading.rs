//! Keeps the connection that reads a stream, and hands the entries to the node.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use redis::{RedisError, RedisResult};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    super::{
        super::dispatcher::{DispatchHandle, Dispatcher},
        Node, OpenError,
        connections::Side,
        pause::Pause,
    },
    Stream,
    reader::{Batch, Read, Reader},
};
use crate::{
    cluster::log::redis::{Finding, Position, Said, State},
    link::redis::{
        client::closed_by_redis,
        liveness::{self, Liveness},
        wanted::{UNNOTICED, Wanted, is_wrong_server},
    },
};

/// The time between two looks at a stream in which nothing is said.
const LOOK: Duration = Duration::from_secs(5);

impl Node {
    /// Opens a connection, and finds out whether reading can go on where it ended.
    pub(super) async fn open_reader(&self, stream: &Stream) -> Result<Reader, OpenError> {
        let place = stream.place(&self.target).await?;
        let reader = Reader::open(&self.target, &place).await?;
        let (mut connection, asked) = (reader.connection.clone(), Instant::now());
        let state = tokio::select! {
            state = State::read(&mut connection, &stream.name) => state,
            () = reader.closed.cancelled() => Err(closed_by_redis()),
            () = sleep(self.target.timeouts().silence) => Err(closed_by_redis()),
        };
        let state = state.inspect_err(|error| self.rights.note("XINFO|STREAM", error))?;
        self.look(stream, state, false, asked);
        self.connections.up(stream.lane, Side::Listening);
        Ok(reader)
    }

    /// Ends when the node has left.
    pub(super) async fn keep_reading(
        &self,
        stream: &Stream,
        dispatcher: &Arc<Dispatcher>,
        open: Option<Reader>,
    ) {
        let handle = dispatcher.handle();
        tokio::select! {
            () = self.read_on(stream, &handle, open) => {}
            () = self.has_to_end() => {}
            () = self.has_read_enough(stream) => {}
        }
    }

    /// Waits for the end of the node, and then for the last own entries.
    async fn has_read_enough(&self, stream: &Stream) {
        self.stop.cancelled().await;
        while let Some(queue) = &stream.queue
            && queue.is_awaited()
        {
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn read_on(&self, stream: &Stream, handle: &DispatchHandle, mut open: Option<Reader>) {
        let mut pause = Pause::default();
        loop {
            if let Some(mut reader) = open.take() {
                let opened = Instant::now();
                let silence = self.target.timeouts().silence;
                let life = Liveness::with_frames(silence, reader.heard.clone());
                let wanted = Wanted::of(self.target.clone());
                let until_dead = liveness::until_dead(reader.connection.clone(), wanted, &life);
                let closed = reader.closed.clone();
                let error = tokio::select! {
                    error = self.read_all(stream, handle, &mut reader) => error,
                    () = closed.cancelled() => closed_by_redis(),
                    error = until_dead => error,
                };
                if is_wrong_server(&error)
                    && let Some(since) = Instant::now().checked_sub(UNNOTICED)
                {
                    // What others have said meanwhile may stand elsewhere.
                    self.lapses.unheard(since);
                }
                self.rights.note("XREAD", &error);
                self.stream_lost(stream, Side::Listening, self.explain_loss(&error));
                pause.lasted(opened.elapsed());
            }
            sleep(pause.next()).await;
            match self.open_reader(stream).await {
                Ok(reader) => open = Some(reader),
                Err(error) => self.stream_lost(stream, Side::Listening, self.explain(&error)),
            }
        }
    }

    /// Reads until that fails.
    async fn read_all(
        &self,
        stream: &Stream,
        handle: &DispatchHandle,
        reader: &mut Reader,
    ) -> RedisError {
        loop {
            if let Err(error) = self.read_some(stream, handle, reader).await {
                return error;
            }
        }
    }

    async fn read_some(
        &self,
        stream: &Stream,
        handle: &DispatchHandle,
        reader: &mut Reader,
    ) -> RedisResult<()> {
        let Some(before) = *stream.read.lock() else { return Err(closed_by_redis()) };
        let asked = Instant::now();
        let Batch { entries, is_full } =
            reader.next(&stream.name, before.read, &self.streams.run).await?;
        let is_empty = entries.is_empty();
        for entry in entries {
            self.hear(stream, handle, entry);
        }
        if !is_full {
            *stream.until.lock() = asked;
        }
        // A stream that is behind may be trimmed while it is read. So may one be replaced in which
        // nothing is heard.
        let is_due = || stream.looked.lock().elapsed() >= LOOK;
        if is_full || (is_empty && is_due()) {
            let state = State::read(&mut reader.connection.clone(), &stream.name).await?;
            match is_full {
                true => self.look_behind(stream, state, before),
                false => self.look(stream, state, true, asked),
            }
        }
        Ok(())
    }

    fn hear(&self, stream: &Stream, handle: &DispatchHandle, Read { at, said }: Read) {
        match said {
            Said::Own(number) => {
                if let Some(queue) = &stream.queue
                    && let Some(returned) = queue.came_back(number)
                {
                    handle.give_back(returned, Some(at));
                }
            }
            Said::Other(mut entry) => {
                if stream.queue.is_none() {
                    entry.at = None;
                }
                handle.dispatch_entry(&entry);
            }
            Said::Malformed => {
                let malformed = self.streams.malformed.fetch_add(1, Ordering::Relaxed) + 1;
                // The first, and then ever fewer, so that nobody fills the log from outside.
                if malformed.is_power_of_two() {
                    warn!(stream = &*stream.name, malformed, "an entry of a stream is no message");
                }
            }
        }
        // Once it was handed over: who reads on from there misses nothing.
        if let Some(position) = &mut *stream.read.lock() {
            position.advance(at);
        }
    }

    /// A batch was full: looks whether something was trimmed that belonged before it.
    fn look_behind(&self, stream: &Stream, state: State, before: Position) {
        if let Finding::Trimmed(_) = state.find(before, true) {
            self.gap(stream, "it was trimmed before this node had read it");
            if let Some(position) = &mut *stream.read.lock() {
                position.recount(state);
            }
        }
    }

    /// Looks whether reading can go on where it ended, and sets where it goes on.
    fn look(&self, stream: &Stream, state: State, linked: bool, asked: Instant) {
        *stream.looked.lock() = asked;
        let Some(position) = *stream.read.lock() else {
            // The first link: what was said before is not for this node.
            *stream.read.lock() = Some(state.end());
            *stream.until.lock() = asked;
            return;
        };
        let (goes_on, reason) = match state.find(position, linked) {
            Finding::Whole => return,
            Finding::Trimmed(goes_on) => (goes_on, "it was trimmed before this node had read it"),
            Finding::Replaced(goes_on) => (goes_on, "it is another stream than before"),
        };
        *stream.read.lock() = Some(goes_on);
        if linked && matches!(state.find(position, linked), Finding::Replaced(_)) {
            info!(stream = &*stream.name, "the stream is a new one, and is read from its start");
        } else {
            self.gap(stream, reason);
        }
    }

    /// Entries may be missing since the last moment at which none was.
    fn gap(&self, stream: &Stream, reason: &str) {
        self.streams.gaps.fetch_add(1, Ordering::Relaxed);
        let since = *stream.until.lock();
        warn!(
            stream = &*stream.name,
            reason,
            ago = ?since.elapsed(),
            "messages of other nodes in a stream may be missing"
        );
        self.lapses.unheard(since);
    }
}
