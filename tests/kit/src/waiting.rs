//! Patience: tests wait for what must come, never for a time.

use std::{future::Future, time::Duration};

use tokio::time::{sleep, timeout};

/// Longer than anything takes, even on a busy machine. Reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const EACH: Duration = Duration::from_millis(5);

/// Waits for `future`, and fails the test with `what` if it takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !condition().await {
            sleep(EACH).await;
        }
    })
    .await;
}

/// Waits until `condition` holds, which can be told at once.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    until(what, async || condition()).await;
}
