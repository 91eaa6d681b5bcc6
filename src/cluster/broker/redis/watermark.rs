//! The time since which a connection may have failed to deliver.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, RedisFuture, Value, aio::ConnectionLike};

/// The time up to which a connection is known to have delivered everything. Redis answers in order,
/// on the same connection. So an answer proves that everything from before its question has
/// arrived.
#[derive(Clone)]
pub(super) struct Watermark(Arc<Mutex<Instant>>);

impl Watermark {
    /// As of now.
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn until(&self) -> Instant {
        *self.0.lock()
    }

    /// The connection has answered, but may have been at the wrong server for this time. Frames of
    /// that time may be missing.
    pub(super) fn doubt(&self, time: Duration) {
        let mut until = self.0.lock();
        *until = until.checked_sub(time).unwrap_or(*until);
    }

    fn answered(&self, asked: Instant) {
        let mut until = self.0.lock();
        *until = asked.max(*until);
    }
}

/// A connection whose answers set the time.
pub(super) struct Watermarked<C> {
    pub(super) connection: C,
    pub(super) watermark: Watermark,
}

impl<C: ConnectionLike + Send> ConnectionLike for Watermarked<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async {
            let asked = Instant::now();
            let answer = self.connection.req_packed_command(command).await;
            if answer.is_ok() {
                self.watermark.answered(asked);
            }
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}
