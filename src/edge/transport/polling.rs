//! The polling part of a transport: its requests, one at a time, and their waits.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::{Phase, Transport};
use crate::edge::inbound::{self, Packets, Reader};

/// The polling part of a session that began with polling.
#[derive(Debug, Default)]
pub(in crate::edge) struct Polling {
    /// Notified at each change of the phase, and at the session's end.
    pub(in crate::edge) moved: Notify,
    /// Notified when the waiting poll, or else the next one, is to be answered with nothing.
    pub(in crate::edge) released: Notify,
    over: AtomicBool,
    /// The client's poll, of which there is one at a time.
    pub(in crate::edge) poll: Turns,
    /// The client's posts, one after the other.
    pub(in crate::edge) post: Turns,
    /// A post was answered while too much waited, because an upgrade waited for the answer.
    excused: AtomicBool,
    /// The last sign of the client, in milliseconds of the registry's clock.
    last_seen_ms: AtomicU64,
    /// The engine is being asked for packets.
    asking: AtomicU32,
    /// Reads the packets of requests.
    pub(in crate::edge) reader: Mutex<Reader>,
    /// The connection with an answer that the client does not read.
    pub(in crate::edge) unread: AtomicWaker,
}

impl Polling {
    pub(super) fn new(v3: bool) -> Self {
        Self { reader: Mutex::new(Reader::new(v3)), ..Self::default() }
    }

    /// The engine is being polled, or no longer.
    pub(in crate::edge) fn asking(&self, begins: bool) {
        match begins {
            true => self.asking.fetch_add(1, Ordering::AcqRel),
            false => self.asking.fetch_sub(1, Ordering::AcqRel),
        };
    }

    /// Whether one more post may be answered although too much waits: one, until all is calm again.
    pub(in crate::edge) fn excuse_once(&self) -> bool {
        !self.excused.swap(true, Ordering::AcqRel)
    }

    /// Little waits: the next one may be excused again.
    pub(in crate::edge) fn calmed(&self) {
        self.excused.store(false, Ordering::Release);
    }

    pub(in crate::edge) fn is_asking(&self) -> bool {
        self.asking.load(Ordering::Acquire) > 0
    }
}

/// One request after the other: a second one at the same time gets no turn.
#[derive(Debug, Default)]
pub(in crate::edge) struct Turns(AtomicBool);

/// One request's turn, until it is dropped.
#[derive(Debug)]
pub(in crate::edge) struct Turn<'a>(&'a AtomicBool);

impl Turns {
    pub(in crate::edge) fn take(&self) -> Option<Turn<'_>> {
        (!self.0.swap(true, Ordering::AcqRel)).then_some(Turn(&self.0))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How long an empty poll during a probe waits for the end of the probe, before it is answered so
/// that the client can stop polling. As in Node.js.
const PROBE_PATIENCE: Duration = Duration::from_millis(100);

impl Transport {
    /// The phase has changed, or the session has ended.
    pub(in crate::edge) fn announce(&self) {
        if let Some(polling) = &self.polling {
            polling.moved.notify_waiters();
        }
    }

    /// The session has ended: no request waits any longer, and no websocket that would take over.
    pub(in crate::edge) fn end(&self) {
        if let Some(polling) = &self.polling {
            polling.over.store(true, Ordering::Release);
            self.announce();
        }
    }

    /// Whether the session, which began with polling, has ended.
    pub(in crate::edge) fn is_over(&self) -> bool {
        self.polling.as_ref().is_none_or(|polling| polling.over.load(Ordering::Acquire))
    }

    /// Waits for the end of the session, if it began with polling.
    pub(in crate::edge) async fn over(&self) {
        let Some(polling) = &self.polling else { return };
        loop {
            let moved = polling.moved.notified();
            if self.is_over() {
                return;
            }
            moved.await;
        }
    }

    /// Waits until an empty poll has to be answered: when it is released, when a probe comes while the poll waits, a
    /// little after the poll's start during a probe, and when the session moves to the websocket or
    /// ends.
    pub(in crate::edge) async fn sends_polls_away(&self) {
        let Some(polling) = &self.polling else { return };
        let mut was_here_before = false;
        loop {
            // before the check: a change right after it is not missed
            let moved = polling.moved.notified();
            if self.is_over() {
                return;
            }
            match self.phase() {
                Phase::Polling => {
                    tokio::select! {
                        () = moved => was_here_before = true,
                        () = polling.released.notified() => return,
                    }
                }
                Phase::Probing if was_here_before => return,
                Phase::Probing if timeout(PROBE_PATIENCE, moved).await.is_err() => return,
                Phase::Probing => {}
                Phase::Websocket => return,
            }
        }
    }

    /// The replacement for a request's body of this type.
    pub(in crate::edge) fn read_body(&self, body: Bytes, kind: Option<&HeaderValue>) -> Packets {
        let Some(polling) = &self.polling else { return Packets { bytes: body, closes: true } };
        let binary = kind.is_some_and(|kind| kind == "application/octet-stream");
        inbound::body(&mut polling.reader.lock(), body, binary)
    }

    /// The client gave a sign of life.
    pub(in crate::edge) fn seen(&self, now: Duration) {
        if let Some(polling) = &self.polling {
            polling.last_seen_ms.store(now.as_millis() as u64, Ordering::Relaxed);
        }
    }

    /// Connected by polling, and silent for longer than `limit`.
    pub(in crate::edge) fn is_silent(&self, now: Duration, limit: Duration) -> bool {
        self.phase() == Phase::Polling
            && self.polling.as_ref().is_some_and(|polling| {
                let seen = Duration::from_millis(polling.last_seen_ms.load(Ordering::Relaxed));
                now.saturating_sub(seen) > limit
            })
    }
}
