//! Hears of commits: a connection that does nothing but listen to `NOTIFY`.

use std::{convert::Infallible, future::poll_fn, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{select, time::sleep};
use tokio_postgres::AsyncMessage;

use super::Shared;
use crate::store::StoreError;

/// The pause after a connection that could not be made, or was lost.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens for ever. Without a connection the consumer polls.
pub(super) async fn listen(shared: &Shared) {
    let mut said = false;
    loop {
        let Err(error) = listen_once(shared, &mut said).await;
        let heard = shared.meters.listens.swap(false, Relaxed);
        if heard || !said {
            tracing::warn!(
                %error,
                postgres = shared.listen_to.address(),
                "the outbox hears no notifications, and polls"
            );
        }
        said = true;
        sleep(PAUSE).await;
    }
}

async fn listen_once(shared: &Shared, said: &mut bool) -> Result<Infallible, StoreError> {
    let (client, mut connection) = shared.listen_to.connect().await?;
    let mut listen = Box::pin(client.batch_execute("LISTEN switchboard_outbox"));
    let mut listens = false;
    loop {
        let message = select! {
            // Its answer comes through the connection, which is driven beside it.
            answer = &mut listen, if !listens => {
                answer.map_err(|error| crate::store::postgres::store_error(&error))?;
                listens = true;
                if *said {
                    tracing::info!("the outbox hears notifications again");
                }
                shared.meters.listens.store(true, Relaxed);
                // Whatever was committed before was not told.
                shared.news.notify_one();
                continue;
            }
            message = poll_fn(|node| connection.poll_message(node)) => message,
        };
        match message {
            Some(Ok(AsyncMessage::Notification(_))) => shared.news.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(crate::store::postgres::store_error(&error)),
            None => return Err(StoreError::Unavailable("the connection has ended".into())),
        }
    }
}
