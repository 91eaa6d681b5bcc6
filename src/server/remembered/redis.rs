//! Answers in Redis, for all nodes of a cluster: one key for each, which expires by itself.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::time::{Instant, sleep, timeout};

use super::{Answer, Digested, KNOWN_FOR, Known, Unknown};
use crate::link::redis::{client::Redis, keys::own_key, script::Script};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("remembered.lua")));

/// The pause between two looks for the answer of a request under way: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// For how long Redis is told what it has not heard: an answer, or that a key is free.
const TOLD_FOR: Duration = Duration::from_secs(60);
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Stands for the body of an answer that was too long.
const TOO_LONG: &str = "!";

/// The answers of a cluster.
pub(crate) struct InRedis(Access);

#[derive(Clone)]
struct Access {
    redis: Redis,
    key_prefix: String,
    patience: Duration,
}

/// A key in Redis, of this request.
pub(crate) struct Claimed {
    access: Access,
    key: String,
    token: String,
}

impl InRedis {
    pub(crate) fn new(redis: Redis, key_prefix: &str, patience: Duration) -> Self {
        Self(Access { redis, key_prefix: key_prefix.to_owned(), patience })
    }

    pub(super) async fn claim(
        &self,
        key: Digested,
        request: Digested,
        patience: Duration,
    ) -> Result<Known, Unknown> {
        let access = self.0.clone();
        let key = own_key(&access.key_prefix, &hex(&key), "answer");
        let claimed = Claimed { access, key, token: hex(&rand::random::<[u8; 16]>()) };
        let request = hex(&request);
        let expiry = KNOWN_FOR.as_millis().to_string();
        let words = ["claim", &claimed.token, &request, &expiry].map(str::as_bytes);
        let (deadline, mut pause) = (Instant::now() + patience, FIRST_PAUSE);
        loop {
            let found = match claimed.run(&words).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(%error, "an idempotency key cannot be claimed");
                    // It may be claimed nevertheless, and nothing will be done for it.
                    tokio::spawn(async move { claimed.tell(vec![b"free".to_vec()]).await });
                    return Err(Unknown::Unreachable);
                }
            };
            let [of, status, body] = found.as_slice() else {
                return Ok(Known::First(super::Claimed::InRedis(claimed)));
            };
            if *of != request.as_bytes() {
                return Ok(Known::OfAnother);
            }
            if let Some(status) = str::from_utf8(status).ok().and_then(|it| it.parse().ok()) {
                let body = (body != TOO_LONG.as_bytes()).then(|| Bytes::copy_from_slice(body));
                return Ok(Known::Before(Answer { status, body }));
            }
            if Instant::now() + pause > deadline {
                return Err(Unknown::NoAnswer);
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

impl Claimed {
    pub(super) async fn answered(self, Answer { status, body }: Answer) {
        let body = body.map_or(TOO_LONG.into(), |body| body.to_vec());
        self.tell_soon(vec![b"answer".to_vec(), status.to_string().into(), body]).await;
    }

    pub(super) async fn refused(self) {
        self.tell_soon(vec![b"free".to_vec()]).await;
    }

    /// Tells Redis, and goes on in the background if it does not hear at once.
    async fn tell_soon(self, words: Vec<Vec<u8>>) {
        if self.say(&words).await.is_err() {
            tokio::spawn(async move { self.tell(words).await });
        }
    }

    /// Tells Redis, again and again until it has heard.
    async fn tell(self, words: Vec<Vec<u8>>) {
        let deadline = Instant::now() + TOLD_FOR;
        while self.say(&words).await.is_err() && Instant::now() < deadline {
            sleep(TOLD_EVERY).await;
        }
    }

    /// The first word is what to do.
    async fn say(&self, words: &[Vec<u8>]) -> RedisResult<()> {
        let mut all: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        all.insert(1, self.token.as_bytes());
        self.run(&all).await.map(|_| ())
    }

    async fn run(&self, words: &[&[u8]]) -> RedisResult<Vec<Vec<u8>>> {
        let failed = |why| RedisError::from((ErrorKind::Io, why));
        let ask = self.ask(words);
        let answered = timeout(self.access.patience, ask).await;
        answered.unwrap_or_else(|_| Err(failed("no answer in time")))
    }

    async fn ask(&self, words: &[&[u8]]) -> RedisResult<Vec<Vec<u8>>> {
        let away = || RedisError::from((ErrorKind::Io, "there is no link"));
        let mut commands = self.access.redis.commands().ok_or_else(away)?;
        let mut call = SCRIPT.call(std::slice::from_ref(&self.key));
        call.arg(words);
        commands.run_script(&SCRIPT, &call).await
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
