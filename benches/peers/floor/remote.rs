//! Redis: what is published leaves in the order of the calls, all that is queued at once.

use bench_support::result::Result;
use redis::{AsyncConnectionConfig, Pipeline, PushInfo, aio::MultiplexedConnection};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(crate) struct Remote {
    connection: MultiplexedConnection,
    /// Channel and packet.
    publish: UnboundedSender<(String, String)>,
}

impl Remote {
    /// Connects, and gives what is heard on the channels that are subscribed later.
    pub(crate) async fn connect(url: &str) -> Result<(Self, UnboundedReceiver<PushInfo>)> {
        let client = redis::Client::open(format!("{url}?protocol=resp3"))?;
        let (pushed, heard) = unbounded_channel();
        let config = AsyncConnectionConfig::new().set_push_sender(pushed);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let publisher = client.get_multiplexed_async_connection().await?;
        let (publish, queued) = unbounded_channel();
        tokio::task::spawn_local(publish_all(publisher, queued));
        Ok((Self { connection, publish }, heard))
    }

    pub(crate) fn publish(&self, channel: &str, packet: String) {
        // A publisher that has ended has said why.
        let _ = self.publish.send((channel.to_owned(), packet));
    }

    pub(crate) async fn subscribe(&self, channel: &str) -> Result<()> {
        Ok(self.connection.clone().subscribe(channel).await?)
    }

    pub(crate) fn unsubscribe(&self, channel: String) {
        let mut connection = self.connection.clone();
        tokio::task::spawn_local(async move { connection.unsubscribe(channel).await });
    }
}

async fn publish_all(
    mut connection: MultiplexedConnection,
    mut queued: UnboundedReceiver<(String, String)>,
) {
    while let Some((channel, packet)) = queued.recv().await {
        let mut pipeline = Pipeline::new();
        pipeline.publish(channel, packet).ignore();
        while let Ok((channel, packet)) = queued.try_recv() {
            pipeline.publish(channel, packet).ignore();
        }
        if let Err(error) = pipeline.exec_async(&mut connection).await {
            eprintln!("floor: cannot publish: {error}");
            return;
        }
    }
}
