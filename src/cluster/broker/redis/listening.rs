//! Keeps the listening connections, and tells Redis the topics.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{RedisError, RedisResult};
use tokio::time::sleep;
use tracing::debug;

use super::{
    super::dispatcher::Dispatcher, Node, connections::Side, lane::Lane, listener::Listener,
    pause::Pause, place::OpenError, subscriptions::Changes,
};
use crate::link::{
    backoff::Backoff,
    redis::wanted::{UNNOTICED, is_wrong_server},
};

/// Redis often closes the listening connections of all nodes at once: after a message that is too
/// big, or when it ends. The others need a moment to come back and hear us.
const OTHERS_TOO: Duration = Duration::from_millis(50);

impl Node {
    /// Opens a connection and listens to all topics.
    pub(super) async fn open_listener(
        &self,
        lane: &Lane,
        dispatcher: &Arc<Dispatcher>,
    ) -> Result<Listener, OpenError> {
        let listener = Listener::open(&self.target, self.kind, &lane.place, dispatcher).await?;
        let all = self.subscriptions.everything(lane.number);
        let applied = tokio::select! {
            applied = listener.apply(&all) => applied,
            error = listener.until_lost() => Err(error),
        };
        let failed = match applied {
            Ok(None) => None,
            Ok(Some((_, error))) | Err(error) => Some(error),
        };
        if let Some(error) = failed {
            listener.give_up();
            self.subscriptions.again(lane.number, &[], all.gap);
            self.may_not_listen(&error);
            return Err(error.into());
        }
        self.rights.done(self.kind.subscribe());
        self.subscriptions.confirm(lane.number, &all);
        let before = lane.watermark.lock().replace(listener.watermark.clone());
        self.tell_gap(before.map(|watermark| watermark.until()));
        self.tell_gap(all.gap);
        self.connections.up(lane.number, Side::Listening);
        Ok(listener)
    }

    /// Ends when the node leaves.
    pub(super) async fn keep_listening(
        &self,
        lane: &Lane,
        dispatcher: &Arc<Dispatcher>,
        mut open: Option<Listener>,
    ) {
        let mut pause = Pause::default();
        loop {
            if let Some(listener) = open.take() {
                let opened = Instant::now();
                let lost = tokio::select! {
                    () = self.stop.cancelled() => None,
                    error = self.follow(lane, &listener) => Some(error),
                    never = self.take_up_moved(lane, &listener) => match never {},
                    error = listener.until_lost() => Some(error),
                };
                let Some(error) = lost else { return self.leave(lane, &listener).await };
                listener.give_up();
                if is_wrong_server(&error) {
                    listener.watermark.doubt(UNNOTICED);
                }
                self.subscriptions.lost(lane.number);
                *lane.deaf_since.lock() = Some(Instant::now());
                if listener.is_closed() {
                    self.outgoing.hold_back(lane.number, OTHERS_TOO);
                    self.closed_after_big();
                }
                self.lost(lane, Side::Listening, self.explain_loss(&error));
                pause.lasted(opened.elapsed());
            }
            let opened = tokio::select! {
                () = self.stop.cancelled() => return,
                opened = async {
                    sleep(pause.next()).await;
                    self.open_listener(lane, dispatcher).await
                } => opened,
            };
            match opened {
                Ok(listener) => open = Some(listener),
                Err(error) => self.lost(lane, Side::Listening, self.explain(&error)),
            }
        }
    }

    /// Tells Redis of changes, until that fails.
    async fn follow(&self, lane: &Lane, listener: &Listener) -> RedisError {
        let mut pause = Backoff::default();
        loop {
            let changes = self.subscriptions.changes(lane.number).await;
            match self.apply(lane, listener, &changes).await {
                Ok(None) => pause.reset(),
                Ok(Some(error)) => {
                    // Channels that have moved are looked for. They go to another lane, or are
                    // tried again.
                    let mut rerouted = self.rerouted.subscribe();
                    self.lost_way(&error);
                    let pause = pause.next();
                    tokio::select! {
                        _ = rerouted.changed() => {}
                        () = sleep(pause) => {}
                    }
                }
                Err(error) => {
                    self.subscriptions.again(lane.number, &[], changes.gap);
                    self.may_not_listen(&error);
                    return error;
                }
            }
        }
    }

    /// Takes up channels that the cluster has moved: at their new owner, or here if they are back.
    async fn take_up_moved(&self, lane: &Lane, listener: &Listener) -> Infallible {
        loop {
            let topics = listener.moved().await;
            self.subscriptions.again(lane.number, &topics, Some(listener.watermark.until()));
            self.astray.notify_one();
        }
    }

    /// Applies changes. Returns why some of them have to wait, if so.
    async fn apply(
        &self,
        lane: &Lane,
        listener: &Listener,
        changes: &Changes,
    ) -> RedisResult<Option<RedisError>> {
        match listener.apply(changes).await? {
            None => {
                self.subscriptions.confirm(lane.number, changes);
                self.tell_gap(changes.gap);
                Ok(None)
            }
            Some((topics, error)) => {
                self.subscriptions.again(lane.number, &topics, changes.gap);
                Ok(Some(error))
            }
        }
    }

    /// Unsubscribes before anything else ends, for others count nodes by their subscriptions.
    async fn leave(&self, lane: &Lane, listener: &Listener) {
        let everything =
            Changes { unlisten: self.subscriptions.told(lane.number), ..Changes::default() };
        if let Err(error) = listener.apply(&everything).await {
            debug!(%error, "could not unsubscribe before leaving");
        }
        listener.give_up();
    }

    /// All topics are listened to again. Frames published since then may have been missed.
    fn tell_gap(&self, since: Option<Instant>) {
        if let Some(since) = since.filter(|_| self.kind != super::Kind::Streams) {
            self.lapses.unheard(since);
        }
    }

    fn may_not_listen(&self, error: &RedisError) {
        self.rights.note(self.kind.subscribe(), error);
    }
}
