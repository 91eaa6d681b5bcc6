//! What changes about a socket while it is listed: a client that began by polling goes on by
//! websocket.
//!
//! Most clients do that within a second of their connect, so it is told with the next beat, for all
//! of them at once: the way of a login stays as short as it is.

use super::{
    Op,
    entry::{BUCKETS, encode},
    worker::Worker,
};

/// How many are written anew in one step.
const STEP: usize = 500;

impl Worker {
    /// Tells of those that have upgraded since the last beat. The rest of the bucket comes first.
    pub(super) fn retell(&mut self) {
        for bucket in 0..BUCKETS {
            // Not beside a repair, which tells of all.
            if self.buckets[bucket].is_dirty() {
                continue;
            }
            let polling = self.shared.mirror.lock().polling(bucket);
            // Not under the lock: this asks the namespaces, which have their own.
            let upgraded: Vec<_> = polling
                .into_iter()
                .filter_map(|(user, number, socket)| {
                    let now = self.here.transport(&socket)?;
                    (now != socket.transport).then_some((user, number, now))
                })
                .collect();
            for upgraded in upgraded.chunks(STEP) {
                let mut mirror = self.shared.mirror.lock();
                let retold = upgraded.iter().filter_map(|(user, number, transport)| {
                    let (before, now) = mirror.upgrade(user, *number, transport)?;
                    let encode = |socket| encode(user, socket, &self.incarnation);
                    Some((encode(&before), encode(&now)))
                });
                let entries: Vec<_> = retold.collect();
                drop(mirror);
                if !entries.is_empty() {
                    self.buckets[bucket].waiting.push_back(Op::Retell { bucket, entries });
                }
            }
            self.go_on_with(bucket);
        }
    }
}
