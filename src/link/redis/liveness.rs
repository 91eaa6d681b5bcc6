//! Whether a connection to Redis is alive and still useful.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{ErrorKind, RedisError, aio::ConnectionLike};
use tokio::time::timeout;

use super::{
    hello::{hello, replica},
    wanted::Wanted,
};

/// The pause between two questions.
const INTERVAL: Duration = Duration::from_secs(1);
/// An answer is awaited in such steps.
const STEP: Duration = Duration::from_millis(250);

/// The signs of life on a connection.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// The connection is dead after this time without a sign.
    silence: Duration,
    /// Counts frames that arrive unasked. Answers queue up behind a burst of frames, and a
    /// connection that delivers is alive.
    heard: Arc<AtomicU64>,
}

impl Liveness {
    pub(crate) fn new(silence: Duration) -> Self {
        Self::with_frames(silence, Arc::default())
    }

    /// The signs on a connection whose unasked frames are counted in `heard`.
    pub(crate) fn with_frames(silence: Duration, heard: Arc<AtomicU64>) -> Self {
        Self { silence, heard }
    }
}

/// Asks again and again. Ends with the reason once the connection is of no use any more.
pub(crate) async fn until_dead<C: ConnectionLike>(
    mut connection: C,
    mut wanted: Wanted,
    life: &Liveness,
) -> RedisError {
    let mut waited = Duration::ZERO;
    let mut was_wrong = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        match answered(hello(&mut connection), life, &mut waited).await {
            Some(Ok(hello)) if wanted.is_master() && hello.is_replica() => return replica(),
            Some(Ok(_)) => {
                waited = Duration::ZERO;
                // Asked twice, since the right server changes while it is compared.
                let wrong = answered(wanted.is_wrong(&mut connection), life, &mut waited).await;
                match wrong.flatten() {
                    Some(reason) if was_wrong => return reason,
                    wrong => was_wrong = wrong.is_some(),
                }
            }
            // The driver gives up sooner than we do.
            Some(Err(error)) if error.is_timeout() => {}
            Some(Err(error)) => return error,
            None => return silent(),
        }
    }
}

/// The answer, or `None` after too long a wait. Only steps in which this process ran are counted: a
/// process that was stopped for a minute still finds the answers on the connection.
async fn answered<T>(
    answer: impl Future<Output = T>,
    life: &Liveness,
    waited: &mut Duration,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut heard = life.heard.load(Ordering::Relaxed);
    while *waited < life.silence {
        if let Ok(answer) = timeout(STEP, &mut answer).await {
            return Some(answer);
        }
        *waited += STEP;
        let now = life.heard.load(Ordering::Relaxed);
        if std::mem::replace(&mut heard, now) != now {
            *waited = Duration::ZERO;
        }
    }
    None
}

fn silent() -> RedisError {
    (ErrorKind::Io, "no answer in time").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_waited_for_in_vain_and_frames_are_signs_of_life() {
        let heard = Arc::new(AtomicU64::new(0));
        let life = Liveness::with_frames(Duration::from_secs(2), heard.clone());
        let start = tokio::time::Instant::now();
        let nothing = std::future::pending::<()>;
        assert_eq!(answered(nothing(), &life, &mut { Duration::ZERO }).await, None);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        let frames = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                heard.fetch_add(1, Ordering::Relaxed);
            }
        };
        let mut waited = Duration::ZERO;
        let (answer, ()) = tokio::join!(answered(nothing(), &life, &mut waited), frames);
        assert_eq!(answer, None);
        assert!(start.elapsed() >= Duration::from_secs(13));
    }
}
