//! The answers to requests that carry a key, so that a repeated request is answered and not carried
//! out again: on this node alone, or for all nodes of a cluster, in Redis.
//!
//! A key is claimed before anything is done, at one place and by one caller. Whoever comes later
//! waits for the answer of the first. If that one never says what became of its request, nobody knows
//! whether it was carried out, and that is what the later ones hear until the key is free again.

#[cfg(not(feature = "redis"))]
mod no_redis;
#[cfg(feature = "redis")]
mod redis;
mod table;

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

#[cfg(not(feature = "redis"))]
use self::no_redis as redis;
pub(crate) use self::{redis::InRedis, table::Table};

/// How long a key is known, from its first request on.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(300);

/// The longest answer that is remembered, in bytes.
pub(crate) const MAX_ANSWER: usize = 1 << 20;

/// What a request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `None`: it was too long to be remembered.
    pub(crate) body: Option<Bytes>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: Bytes) -> Self {
        Self { status, body: (body.len() <= MAX_ANSWER).then_some(body) }
    }
}

/// A digest: of a key, or of a request.
pub(crate) type Digested = [u8; 32];

pub(crate) fn digest(bytes: &[u8]) -> Digested {
    Sha256::digest(bytes).into()
}

/// What a key says of a request.
pub(crate) enum Known {
    /// It is the first one. What becomes of it is to be told.
    First(Claimed),
    /// It was carried out before, with this answer.
    Before(Answer),
    /// The key belongs to another request.
    OfAnother,
}

/// Why it is not known whether a request was carried out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("it cannot be found out whether this was done before: Redis does not answer")]
    Unreachable,
    #[error("a request with this key has begun, and its answer is not known")]
    NoAnswer,
    #[error("too many keys are remembered already")]
    Full,
}

/// The answers of the last minutes.
pub(crate) enum Remembered {
    Here(Table),
    InRedis(InRedis),
}

/// A key that belongs to this request now. Dropped without a word, it is known as one whose answer
/// nobody knows.
pub(crate) enum Claimed {
    Here(table::Claimed),
    InRedis(redis::Claimed),
}

impl Remembered {
    /// Claims a key for a request, or says what it was answered. Waits for the answer of a request
    /// under way for `patience` at most.
    pub(crate) async fn claim(
        &self,
        key: &str,
        request: Digested,
        patience: Duration,
    ) -> Result<Known, Unknown> {
        let key = digest(key.as_bytes());
        match self {
            Self::Here(table) => table.claim(key, request, patience).await,
            Self::InRedis(redis) => redis.claim(key, request, patience).await,
        }
    }
}

impl Claimed {
    /// The request was carried out.
    pub(crate) async fn answered(self, answer: Answer) {
        match self {
            Self::Here(claimed) => claimed.answered(answer),
            Self::InRedis(claimed) => claimed.answered(answer).await,
        }
    }

    /// The request was refused and nothing was done, so the key is free again.
    pub(crate) async fn refused(self) {
        match self {
            Self::Here(claimed) => claimed.refused(),
            Self::InRedis(claimed) => claimed.refused().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;
    use test_kit::{redis::RedisServer, waiting::within};

    use super::*;
    use crate::link::redis::{client::Redis, testing::Reached as _};

    const LONG: Duration = Duration::from_secs(10);

    fn answer(text: &'static str) -> Answer {
        Answer::new(202, Bytes::from_static(text.as_bytes()))
    }

    async fn client(server: &RedisServer) -> Redis {
        let redis = Redis::new(server.target());
        redis.start(true).await.expect("it is waited for");
        within("a link", async {
            while redis.commands().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        redis
    }

    async fn first(of: &Remembered, key: &str) -> Claimed {
        match of.claim(key, digest(b"a"), LONG).await {
            Ok(Known::First(claimed)) => claimed,
            _ => panic!("the key is free"),
        }
    }

    async fn before(of: &Remembered, key: &str) -> Answer {
        match of.claim(key, digest(b"a"), LONG).await {
            Ok(Known::Before(answer)) => answer,
            _ => panic!("the key is known"),
        }
    }

    /// What holds wherever the answers are. `all` are nodes that share them.
    async fn suite(all: &[Arc<Remembered>]) {
        let (one, other) = (&all[0], all.last().expect("at least one"));
        first(one, "done").await.answered(answer("{}")).await;
        assert_eq!(before(other, "done").await, answer("{}"));
        assert_eq!(before(one, "done").await, answer("{}"));
        let differs = other.claim("done", digest(b"b"), LONG).await;
        assert!(matches!(differs, Ok(Known::OfAnother)));

        first(one, "refused").await.refused().await;
        first(other, "refused").await.refused().await;

        let long = Answer::new(200, Bytes::from(vec![b'x'; MAX_ANSWER + 1]));
        first(one, "long").await.answered(long).await;
        assert_eq!(before(other, "long").await, Answer { status: 200, body: None });

        let odd = "' \" \0 \u{1f980}";
        first(one, odd).await.answered(answer("odd")).await;
        assert_eq!(before(other, odd).await, answer("odd"));

        // Whoever comes meanwhile waits for the answer.
        let claimed = first(one, "at once").await;
        let waiting = all.iter().chain(all).map(|it| before(it, "at once"));
        let (answers, ()) = futures_util::join!(join_all(waiting), async {
            tokio::task::yield_now().await;
            claimed.answered(answer("first")).await;
        });
        assert!(answers.iter().all(|it| *it == answer("first")), "{answers:?}");

        // Of those that come at the same time one is the first.
        let racing = (0..20).map(|n| {
            let it = all[n % all.len()].clone();
            tokio::spawn(async move {
                match it.claim("race", digest(b"a"), LONG).await {
                    Ok(Known::First(claimed)) => {
                        claimed.answered(answer("won")).await;
                        1
                    }
                    Ok(Known::Before(said)) if said == answer("won") => 0,
                    _ => 100,
                }
            })
        });
        let firsts: i32 = join_all(racing).await.into_iter().map(|it| it.expect("no panic")).sum();
        assert_eq!(firsts, 1);

        // Nobody says what became of it.
        drop(first(one, "lost").await);
        for it in [one, other] {
            let unknown = it.claim("lost", digest(b"a"), Duration::from_millis(50)).await;
            assert!(matches!(unknown, Err(Unknown::NoAnswer)));
        }
    }

    #[tokio::test]
    async fn answers_are_remembered_on_one_node() {
        let here = Arc::new(Remembered::Here(Table::default()));
        within("the suite", suite(&[here])).await;
    }

    #[tokio::test]
    async fn answers_are_remembered_in_redis_for_all_nodes() {
        let server = RedisServer::start().await;
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let redis = client(&server).await;
            let redis = InRedis::new(redis, "socket.io", Duration::from_secs(5));
            nodes.push(Arc::new(Remembered::InRedis(redis)));
        }
        within("the suite", suite(&nodes)).await;
        let mut commands = server.commands().await;
        let keys: Vec<String> = commands.run(::redis::cmd("KEYS").arg("*")).await.expect("keys");
        assert!(!keys.is_empty());
        for key in keys {
            assert!(key.starts_with("switchboard:socket.io:{") && key.ends_with("}:answer"));
            let left: i64 = commands.run(::redis::cmd("PTTL").arg(&key)).await.expect("a time");
            assert!((1..=300_000).contains(&left), "{key} {left}");
        }
    }

    #[tokio::test]
    async fn nothing_is_claimed_while_redis_is_away() {
        let server = RedisServer::start().await;
        let redis = client(&server).await;
        let it = Remembered::InRedis(InRedis::new(redis, "socket.io", Duration::from_secs(1)));
        first(&it, "before").await.answered(answer("{}")).await;
        drop(server);
        for key in ["before", "new"] {
            let claimed = within("an answer", it.claim(key, digest(b"a"), LONG)).await;
            assert!(matches!(claimed, Err(Unknown::Unreachable)), "{key}");
        }
    }
}
