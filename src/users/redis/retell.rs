//! Changes of a listed socket: a client upgraded from polling to websocket.
//!
//! Most clients upgrade within a second of their connect. So the next beat tells of all of them at
//! once, and the path of a login stays short.

use super::{
    Op,
    entry::{BUCKETS, encode},
    worker::Worker,
};

/// How many entries one step rewrites.
const STEP: usize = 500;

impl Worker {
    /// Tells of the sockets that have upgraded since the last beat. Other waiting operations come
    /// first.
    pub(super) fn retell(&mut self) {
        for bucket in 0..BUCKETS {
            // Not beside a repair, which tells of all sockets.
            if self.buckets[bucket].is_dirty() {
                continue;
            }
            let polling = self.shared.mirror.lock().polling(bucket);
            // Not under the lock: the namespaces that this asks have locks of their own.
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
