//! A connection that reads a stream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{ErrorKind, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio_util::sync::CancellationToken;

use super::super::{OpenError, place::Place, pushes};
use crate::{
    cluster::log::{
        EntryId,
        redis::{Said, id_of, said},
    },
    link::redis::target::Target,
};

/// Most entries of one answer.
pub(super) const MOST: usize = 100;
/// The size of an answer that is aimed at. Redis bounds only the number of entries, so after large
/// ones fewer are asked for.
const BYTES: usize = 4 << 20;
/// Longest wait of Redis for an entry. Its answer is a sign of life.
const BLOCK: Duration = Duration::from_secs(1);

pub(super) struct Reader {
    pub(super) connection: MultiplexedConnection,
    pub(super) closed: CancellationToken,
    /// Counts answers.
    pub(super) heard: Arc<AtomicU64>,
    block: u128,
    /// The number of entries to ask for.
    count: usize,
}

/// An entry as it was read.
pub(super) struct Read {
    pub(super) at: EntryId,
    pub(super) said: Said,
}

/// An answer.
pub(super) struct Batch {
    pub(super) entries: Vec<Read>,
    /// There may be more.
    pub(super) is_full: bool,
}

impl Reader {
    pub(super) async fn open(target: &Target, place: &Place) -> Result<Self, OpenError> {
        let closed = CancellationToken::new();
        let config = pushes::config(target, closed.clone(), |_| {});
        let connection = place.connect(target, &config).await?.connection;
        let block = BLOCK.min(target.timeouts().silence / 4).as_millis().max(1);
        Ok(Self { connection, closed, heard: Arc::default(), block, count: MOST })
    }

    /// The entries behind `read`. Waits for a moment if there are none.
    ///
    /// # Errors
    /// If Redis does not answer, or not with entries.
    pub(super) async fn next(
        &mut self,
        stream: &str,
        read: EntryId,
        run: &str,
    ) -> RedisResult<Batch> {
        let mut question = redis::cmd("XREAD");
        question.arg("COUNT").arg(self.count).arg("BLOCK").arg(self.block.to_string());
        question.arg("STREAMS").arg(stream).arg(read.to_string());
        let answer: Value = question.query_async(&mut self.connection).await?;
        self.heard.fetch_add(1, Ordering::Relaxed);
        let (entries, bytes) = entries(answer, run)?;
        let is_full = entries.len() >= self.count;
        if !entries.is_empty() {
            let fit = entries.len() * BYTES / bytes.max(1);
            self.count = fit.clamp(1, MOST).min(self.count * 2);
        }
        Ok(Batch { entries, is_full })
    }
}

/// The entries of an answer to `XREAD` about one stream, and their size.
fn entries(answer: Value, run: &str) -> RedisResult<(Vec<Read>, usize)> {
    let list = match answer {
        Value::Nil => return Ok((Vec::new(), 0)),
        Value::Map(streams) => streams.into_iter().next().map(|(_, entries)| entries),
        Value::Array(streams) => match streams.into_iter().next() {
            Some(Value::Array(mut parts)) => parts.pop(),
            _ => None,
        },
        _ => None,
    };
    let Some(Value::Array(list)) = list else { return Err(no_entries()) };
    let mut bytes = 0;
    let read = list.into_iter().map(|entry| {
        let Value::Array(parts) = entry else { return Err(no_entries()) };
        let mut parts = parts.into_iter();
        let at = parts.next().as_ref().and_then(id_of).ok_or_else(no_entries)?;
        let fields = match parts.next() {
            Some(Value::Array(fields)) => fields,
            // An entry that was deleted while it was read.
            _ => Vec::new(),
        };
        let (said, size) = said(at, fields, run);
        bytes += size;
        Ok(Read { at, said })
    });
    let read = read.collect::<RedisResult<_>>()?;
    Ok((read, bytes))
}

fn no_entries() -> RedisError {
    (ErrorKind::Io, "the answer of Redis holds no entries").into()
}
