//! A future that waits beside busy ones, and is hardly ever polled.

use std::future::pending;

use futures_util::{StreamExt as _, stream::FuturesUnordered};

/// The same future, polled only when it has asked for that itself. For one that waits beside busy ones
/// on the same task: each of their wake-ups would poll it, too.
pub(super) async fn seldom<T>(future: impl Future<Output = T>) -> T {
    let mut one = FuturesUnordered::from_iter([future]);
    match one.next().await {
        Some(output) => output,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, task::Poll};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_seldom_future_is_polled_for_its_own_wakers_only() {
        let (polls, wake) = (Cell::new(0), Notify::new());
        let wakes = async {
            let mut notified = std::pin::pin!(wake.notified());
            std::future::poll_fn(|context| {
                polls.set(polls.get() + 1);
                notified.as_mut().poll(context)
            })
            .await;
        };
        let mut seldom = std::pin::pin!(seldom(wakes));
        for _ in 0..10 {
            assert!(futures_util::poll!(&mut seldom).is_pending());
        }
        assert_eq!(polls.get(), 1);
        wake.notify_one();
        assert_eq!(futures_util::poll!(&mut seldom), Poll::Ready(()));
        assert_eq!(polls.get(), 2);
    }
}
