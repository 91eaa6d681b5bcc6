//! The edge's own task: it closes sessions that were cut, and cuts those that are silent.

use std::{sync::Weak, time::Duration};

use socketioxide::adapter::Adapter;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{MissedTickBehavior, interval},
};

use super::Edge;
use crate::edge::transports::Closing;

impl<A: Adapter> Edge<A> {
    async fn close(&self, Closing { sid, v3 }: Closing) {
        if let Some(transport) = self.transports.get(sid) {
            self.say_farewell(&transport, sid).await;
        }
        let good_bye = if v3 { "1:1" } else { "1" };
        if self.post_to_engine(sid, v3, good_bye).await.is_err() {
            tracing::error!("no request can be made for the engine");
        }
        if let Some(transport) = self.transports.get(sid) {
            self.transports.forget(&transport);
        }
    }

    /// Longest silence of a healthy polling session.
    fn longest_silence(&self) -> Duration {
        // a quarter more, for requests on their way
        self.options.ping_interval + self.options.ping_timeout * 5 / 4
    }
}

/// Closes cut sessions, and cuts silent ones.
pub(super) async fn keep<A: Adapter>(
    edge: Weak<Edge<A>>,
    mut closings: UnboundedReceiver<Closing>,
) {
    let Some(silence) = edge.upgrade().map(|edge| edge.longest_silence()) else { return };
    let mut sweep =
        interval((silence / 4).clamp(Duration::from_millis(10), Duration::from_secs(5)));
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(closing) = closings.recv() => match edge.upgrade() {
                // On a task of its own: a farewell may take a while, and no other session waits
                // for it.
                Some(edge) => drop(tokio::spawn(async move { edge.close(closing).await })),
                None => return,
            },
            _ = sweep.tick() => match edge.upgrade() {
                Some(edge) => edge.transports.sweep(silence),
                None => return,
            },
        }
    }
}
