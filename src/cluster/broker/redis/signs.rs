//! What connections tell unasked: frames, and that they are done for.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use bytes::Bytes;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value, aio::SendError};
use tokio_util::sync::CancellationToken;

use super::super::ears::Ear;
use crate::redis::target::Target;

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
    pub(super) leaving: AtomicI64,
    /// The cluster has moved a channel elsewhere.
    pub(super) moved: CancellationToken,
}

impl Signs {
    pub(super) fn new(ear: Ear) -> Self {
        let (heard, leaving, moved) = Default::default();
        Self { ear, heard, leaving, moved }
    }

    /// Called by the connection's task, so frames arrive in the order of the wire without a further
    /// hop.
    pub(super) fn on_push(&self, push: PushInfo) {
        let mut parts = push.data.into_iter();
        match push.kind {
            PushKind::PMessage => drop(parts.next()),
            PushKind::Message | PushKind::SMessage => {}
            // The cluster has moved the slot elsewhere. The driver takes this for the answer to a
            // command, and from then on gives each command the answer of another; so this
            // connection is done for.
            PushKind::SUnsubscribe if self.leaving.fetch_sub(1, Ordering::Relaxed) <= 0 => {
                return self.moved.cancel();
            }
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
}
