//! What the connections of a session tell unasked: frames, and that they are done for.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value, aio::SendError};
use tokio_util::sync::CancellationToken;

use super::super::ears::Ears;
use crate::redis::target::Target;

/// What the connections tell about themselves.
#[derive(Clone, Default)]
pub(super) struct Signs {
    /// One was closed, or the cluster moved a channel.
    pub(super) lost: CancellationToken,
    /// How much has arrived.
    pub(super) heard: Arc<AtomicU64>,
    /// Channels that we leave, until Redis confirms.
    pub(super) leaving: Arc<AtomicI64>,
}

impl Signs {
    /// For a connection that tells. Answers queue up behind the frames that others publish, so
    /// none has a deadline of its own: whether all is well, the probe finds out.
    pub(super) fn config(
        &self,
        target: &Target,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> redis::AsyncConnectionConfig {
        let lost = self.lost.clone();
        let config = target.config().set_response_timeout(None);
        config.set_push_sender(move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => lost.cancel(),
                _ => on_push(push),
            }
            Ok::<_, SendError>(())
        })
    }

    /// Called by the connection's task, so frames arrive in the order of the wire without a further
    /// hop.
    pub(super) fn on_push(&self, push: PushInfo, ears: &Ears, session: u64) {
        let mut parts = push.data.into_iter();
        match push.kind {
            PushKind::PMessage => drop(parts.next()),
            PushKind::Message | PushKind::SMessage => {}
            // The cluster has moved the slot elsewhere. The driver takes this for the answer to a
            // command, and from then on gives each command the answer of another; so this
            // connection is done for.
            PushKind::SUnsubscribe if self.leaving.fetch_sub(1, Ordering::Relaxed) <= 0 => {
                return self.lost.cancel();
            }
            _ => return,
        }
        self.heard.fetch_add(1, Ordering::Relaxed);
        if let (Some(Value::BulkString(channel)), Some(Value::BulkString(frame))) =
            (parts.next(), parts.next())
            && let Ok(channel) = std::str::from_utf8(&channel)
        {
            ears.hear(session, channel, &Bytes::from(frame));
        }
    }
}
