//! What connections tell unasked: frames, and that they are done for.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value, aio::SendError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::{Channel, Topic, ears::Ear};
use crate::link::target::Target;

/// For a connection that cancels `closed` when it was closed. Answers may queue up behind frames, or
/// wait for a Redis that hangs; so none has a deadline of its own: whether all is well, the probe
/// finds out.
pub(super) fn config(
    target: &Target,
    closed: CancellationToken,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> AsyncConnectionConfig {
    target.config().set_response_timeout(None).set_push_sender(move |push: PushInfo| {
        match push.kind {
            PushKind::Disconnection => closed.cancel(),
            _ => on_push(push),
        }
        Ok::<_, SendError>(())
    })
}

/// What a connection that listens tells.
pub(super) struct Signs {
    pub(super) ear: Ear,
    /// How much has arrived.
    pub(super) heard: Arc<AtomicU64>,
    /// Channels that we leave, until Redis confirms.
    leaving: Mutex<HashSet<Channel>>,
    /// Channels that we did not leave, and that Redis tells nothing of any more.
    moved: Mutex<Vec<Topic>>,
    wake: Notify,
}

impl Signs {
    pub(super) fn new(ear: Ear) -> Self {
        let (heard, leaving, moved, wake) = Default::default();
        Self { ear, heard, leaving, moved, wake }
    }

    /// Redis is about to confirm that these were left.
    pub(super) fn leaving(&self, topics: &[Topic]) {
        let names = topics.iter().map(|topic| Channel::from(topic.name()));
        self.leaving.lock().extend(names);
    }

    /// It has.
    pub(super) fn have_left(&self) {
        self.leaving.lock().clear();
    }

    /// The channels that the cluster has moved elsewhere, once there are some.
    pub(super) async fn moved(&self) -> Vec<Topic> {
        loop {
            let moved = std::mem::take(&mut *self.moved.lock());
            if !moved.is_empty() {
                return moved;
            }
            self.wake.notified().await;
        }
    }

    /// Called by the connection's task, so frames arrive in the order of the wire without a further
    /// hop.
    pub(super) fn on_push(&self, push: PushInfo) {
        let mut parts = push.data.into_iter();
        match push.kind {
            PushKind::PMessage => drop(parts.next()),
            PushKind::Message | PushKind::SMessage => {}
            PushKind::SUnsubscribe => return self.left(parts.next()),
            _ => return,
        }
        self.heard.fetch_add(1, Ordering::Relaxed);
        if let (Some(Value::BulkString(channel)), Some(Value::BulkString(frame))) =
            (parts.next(), parts.next())
            && let Ok(channel) = std::str::from_utf8(&channel)
        {
            self.ear.hear(channel, &Bytes::from(frame));
        }
    }
    /// By us, or because the cluster has moved the slot elsewhere.
    fn left(&self, channel: Option<Value>) {
        let name = channel.and_then(|name| redis::from_redis_value::<String>(name).ok());
        let Some(name) = name.map(Channel::from) else { return };
        if !self.leaving.lock().remove(&name) {
            self.moved.lock().push(Topic::Channel(name));
            self.wake.notify_one();
        }
    }
}
