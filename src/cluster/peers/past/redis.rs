//! The streams of Redis, read page by page.

use std::time::Duration;

use redis::{Cmd, FromRedisValue as _, RedisError, RedisResult, Value};
use tokio::time::timeout;

use super::{Logged, NotRead, Page, Past};
use crate::{
    cluster::{
        codec::read_logged,
        log::{
            Entry, EntryId, StreamNames,
            redis::{Said, State, id_of, said},
        },
        message::Message,
    },
    future::BoxFuture,
    link::redis::client::Redis,
};

/// Entries of the first question; later ones are larger or smaller by the size of the entries.
const FIRST: usize = 16;
const MOST: usize = 200;
/// The size of the events of a page after which no more are read.
const BYTES: usize = 1 << 20;
/// Most questions for a page: a namespace may have few entries among those of others.
const QUESTIONS: usize = 16;

/// The way to the streams as they are kept.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) redis: Redis,
    pub(crate) names: StreamNames,
    /// Longest wait for an answer.
    pub(crate) patience: Duration,
}

impl Past for Streams {
    fn read_after<'a>(
        &'a self,
        namespace: &'a str,
        after: EntryId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, NotRead>> {
        Box::pin(self.page(namespace, after, limit))
    }
}

impl Streams {
    async fn page(&self, namespace: &str, after: EntryId, limit: usize) -> Result<Page, NotRead> {
        let streams = self.names.shared();
        let stream = &*streams[self.names.of(namespace)];
        let mut page = Page { entries: Vec::new(), next: after, is_end: false };
        let (mut bytes, mut count) = (0, FIRST);
        for _ in 0..QUESTIONS {
            let (entries, state) = self.ask(stream, page.next, count).await?;
            // Asked after the entries were read: if nothing behind the place was gone by then,
            // nothing was missing among them.
            if !state.reaches_back_to(page.next) {
                return Err(NotRead::Gone);
            }
            page.is_end = entries.len() < count;
            let mut read = 0;
            for (at, fields) in entries {
                page.next = at;
                let (said, size) = said(at, fields, "");
                read += size;
                if let Said::Other(entry) = said
                    && *entry.namespace == *namespace
                    && let Some(logged) = logged(at, &entry)
                {
                    bytes += size;
                    page.entries.push(logged);
                }
            }
            if page.is_end || page.entries.len() >= limit || bytes >= BYTES {
                break;
            }
            count = (count * BYTES / read.max(1)).clamp(1, MOST.min(count * 4));
        }
        Ok(page)
    }

    async fn ask(
        &self,
        stream: &str,
        after: EntryId,
        count: usize,
    ) -> Result<(Vec<(EntryId, Vec<Value>)>, State), NotRead> {
        let commands = self.redis.commands().ok_or(NotRead::Unavailable)?;
        let mut range = redis::cmd("XRANGE");
        range.arg(stream).arg(format!("({after}")).arg("+").arg("COUNT").arg(count);
        let questions: [Cmd; 2] = [range, State::question(stream)];
        let answers = timeout(self.patience, commands.run_in_order(&questions)).await;
        let read = answers.map_err(|_| NotRead::Unavailable)?.and_then(|answers| {
            let [entries, state]: [_; 2] = answers.try_into().map_err(|_| no_answer())?;
            Ok((ids(entries?)?, State::answered(state)?))
        });
        read.map_err(|error| {
            tracing::debug!(%error, "the log cannot be read");
            NotRead::Unavailable
        })
    }
}

/// A message that changes sockets or is for them, or nothing. Who wrote nonsense has written it for
/// everybody.
fn logged(at: EntryId, entry: &Entry) -> Option<Logged> {
    let message = read_logged(entry).ok()?;
    let is_of_log = matches!(
        message,
        Message::Broadcast { .. }
            | Message::Join { .. }
            | Message::Leave { .. }
            | Message::Disconnect { .. }
    );
    is_of_log.then_some(Logged { at, message })
}

fn ids(answer: Value) -> RedisResult<Vec<(EntryId, Vec<Value>)>> {
    let entries = Vec::<(Value, Vec<Value>)>::from_redis_value(answer)?;
    let entries = entries.into_iter();
    entries.map(|(id, fields)| Ok((id_of(&id).ok_or_else(no_answer)?, fields))).collect()
}

fn no_answer() -> RedisError {
    (redis::ErrorKind::Io, "the answer of Redis holds no entries").into()
}

#[cfg(test)]
mod tests {
    use test_kit::{redis::RedisServer, redis_cluster, waiting::until};

    use super::*;
    use crate::cluster::message::Event;
    use crate::link::redis::{
        target::Target,
        testing::{Reached as _, target},
    };

    async fn past(target: Target) -> Streams {
        let redis = Redis::new(target);
        redis.start(false).await.unwrap();
        Streams { redis, names: StreamNames::new("s", 1), patience: Duration::from_secs(5) }
    }

    /// Adds an entry at a place.
    async fn add(past: &Streams, at: u64, namespace: &str, kind: &str, data: &str) {
        let mut command = redis::cmd("XADD");
        command.arg(&["s", &format!("{at}-0"), "uid", "x", "nsp", namespace, "type", kind]);
        command.arg(&["data", data]);
        past.redis.commands().unwrap().run::<Value>(&command).await.unwrap();
    }

    fn says(text: &str) -> String {
        format!(
            r#"{{"packet":{{"type":2,"data":["says","{text}"]}},"opts":{{"rooms":["r"],"except":[],"flags":{{}}}}}}"#
        )
    }

    fn id(millis: u64) -> EntryId {
        EntryId { millis, number: 0 }
    }

    async fn texts(
        past: &Streams,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<String>, EntryId, bool), NotRead> {
        let page = past.page("/", id(after), limit).await?;
        let text = |logged: &Logged| match &logged.message {
            Message::Broadcast { event: Event::Values(values), .. } => {
                Some(values[1].as_str().unwrap().to_owned())
            }
            Message::Join { .. } => None,
            other => panic!("{other:?}"),
        };
        Ok((page.entries.iter().filter_map(text).collect(), page.next, page.is_end))
    }

    #[tokio::test]
    async fn broadcasts_of_a_namespace_are_read_again_in_order() {
        let server = RedisServer::start().await;
        let past = past(server.target()).await;
        assert_eq!(texts(&past, 0, 9).await, Ok((vec![], id(0), true)), "there is no stream");
        for at in 1..=300 {
            match at % 3 {
                0 => add(&past, at, "/", "3", &says(&at.to_string())).await,
                1 => add(&past, at, "/chat", "3", &says("elsewhere")).await,
                _ => {
                    add(
                        &past,
                        at,
                        "/",
                        "4",
                        r#"{"opts":{"rooms":[],"except":[],"flags":{}},"rooms":["x"]}"#,
                    )
                    .await;
                }
            }
        }
        add(&past, 301, "/", "3", "nonsense").await;
        let (all, next, is_end) = texts(&past, 6, 1000).await.unwrap();
        assert_eq!(all, (9..=300).step_by(3).map(|at| at.to_string()).collect::<Vec<_>>());
        assert_eq!((next, is_end), (id(301), true));
        // page after page
        let (mut from, mut paged) = (6, Vec::new());
        loop {
            let (some, next, is_end) = texts(&past, from, 10).await.unwrap();
            paged.extend(some);
            from = next.millis;
            if is_end {
                break;
            }
        }
        assert_eq!(paged, all);
        // from the place of an entry that is another namespace's, of another kind, or between two
        for (after, first) in [(7, "9"), (8, "9"), (9, "12")] {
            assert_eq!(texts(&past, after, 1).await.unwrap().0[0], first);
        }
        assert_eq!(texts(&past, 302, 1).await, Err(NotRead::Gone), "no place of this stream");
    }

    #[tokio::test]
    async fn what_was_trimmed_is_gone_and_is_said_to_be() {
        let server = RedisServer::start().await;
        let past = past(server.target()).await;
        for at in 1..=20 {
            add(&past, at, "/", "3", &says(&at.to_string())).await;
        }
        server.command(&["XTRIM", "s", "MAXLEN", "10"]).await.unwrap();
        assert_eq!(texts(&past, 10, 99).await, Err(NotRead::Gone));
        assert_eq!(texts(&past, 0, 99).await, Err(NotRead::Gone));
        assert_eq!(texts(&past, 11, 99).await.unwrap().0.len(), 9);
        server.command(&["XDEL", "s", "15-0"]).await.unwrap();
        assert_eq!(texts(&past, 11, 99).await, Err(NotRead::Gone));
        assert_eq!(texts(&past, 15, 99).await.unwrap().0.len(), 5);
        server.freeze();
        let impatient = Streams {
            patience: Duration::from_millis(100),
            redis: past.redis.clone(),
            names: past.names.clone(),
        };
        assert_eq!(texts(&impatient, 15, 9).await, Err(NotRead::Unavailable));
        server.thaw();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn large_entries_are_read_in_small_pages_and_a_cluster_is_read_as_well() {
        let nodes = redis_cluster::start().await;
        let past = past(target(&format!("{},{}", nodes[0].url(), nodes[1].url()))).await;
        let large = "x".repeat(200_000);
        until("the cluster takes entries", async || {
            let mut command = redis::cmd("XADD");
            command.arg(&["s", "1-0", "uid", "x"]);
            past.redis.commands().unwrap().run::<Value>(&command).await.is_ok()
        })
        .await;
        for at in 2..100 {
            add(&past, at, "/", "3", &says(&large)).await;
        }
        let (mut from, mut read) = (1, 0);
        loop {
            let (some, next, is_end) = texts(&past, from, 1000).await.unwrap();
            assert!(some.len() <= FIRST, "{}", some.len());
            (read, from) = (read + some.len(), next.millis);
            if is_end {
                break;
            }
        }
        assert_eq!(read, 98);
    }
}
