//! Unasked messages of connections: frames, and the end of the connection.

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

use super::super::{Channel, Topic, dispatcher::DispatchHandle};
use crate::link::redis::target::Target;

/// The settings of a connection that cancels `closed` at its end. Answers may queue up behind
/// frames, or wait for a Redis that hangs, so they have no deadline of their own. The liveness
/// check finds out whether the connection is alive.
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

/// The unasked messages of a listening connection.
pub(super) struct Pushes {
    pub(super) handle: DispatchHandle,
    /// The number of arrived messages.
    pub(super) heard: Arc<AtomicU64>,
    /// Channels that we are leaving, until Redis confirms.
    leaving: Mutex<HashSet<Channel>>,
    /// Channels that we did not leave, and that the cluster has moved away.
    moved: Mutex<Vec<Topic>>,
    wake: Notify,
}

impl Pushes {
    pub(super) fn new(handle: DispatchHandle) -> Self {
        let (heard, leaving, moved, wake) = Default::default();
        Self { handle, heard, leaving, moved, wake }
    }

    /// Redis is about to confirm that these channels were left.
    pub(super) fn leaving(&self, topics: &[Topic]) {
        let names = topics.iter().map(|topic| Channel::from(topic.name()));
        self.leaving.lock().extend(names);
    }

    /// Redis has confirmed it.
    pub(super) fn have_left(&self) {
        self.leaving.lock().clear();
    }

    /// Waits for channels that the cluster has moved away, and returns them.
    pub(super) async fn moved(&self) -> Vec<Topic> {
        loop {
            let moved = std::mem::take(&mut *self.moved.lock());
            if !moved.is_empty() {
                return moved;
            }
            self.wake.notified().await;
        }
    }

    /// Called by the connection's task, so that frames arrive in their order without a further hop.
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
            self.handle.dispatch(channel, &Bytes::from(frame));
        }
    }
    /// The channel was left: by us, or because the cluster has moved its slot.
    fn left(&self, channel: Option<Value>) {
        let name = channel.and_then(|name| redis::from_redis_value::<String>(name).ok());
        let Some(name) = name.map(Channel::from) else { return };
        if !self.leaving.lock().remove(&name) {
            self.moved.lock().push(Topic::Channel(name));
            self.wake.notify_one();
        }
    }
}
