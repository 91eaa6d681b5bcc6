//! The handle to one client's transport. Requests and streams that carry it share it, and so do
//! middlewares that splice an error into it, and everything that cuts it.

mod outgoing;
mod polling;

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use socketioxide_core::Sid;
use tokio::time::Instant;

use super::{admission::Permit, inbound::Reader, intake::Intakes, load::Load, reasons::KillReason};
use crate::rate::Bucket;
pub(super) use outgoing::Verdict;
use outgoing::{Awaited, expected};
pub(super) use polling::{Polling, Turn, Turns};

/// How many times a second a client may ask to join a namespace, or show a new token; twice as many
/// in a burst. Honest clients stay far below.
const ASKS_PER_SECOND: u32 = 100;

/// The present transport of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// By HTTP requests.
    Polling,
    /// By HTTP requests, while a websocket has sent its probe.
    Probing,
    /// By a websocket.
    Websocket,
}

/// Whether the engine has seen the client in a namespace. Until then a timer of the engine holds
/// the session.
mod joined {
    pub(super) const NOTHING: u8 = 0;
    pub(super) const A_NAMESPACE: u8 = 1;
    /// The engine has heard the farewell; the client itself has joined none.
    pub(super) const FAREWELL: u8 = 2;
}

/// One client's transport.
pub(super) struct Transport {
    pub(super) sid: OnceLock<Sid>,
    /// Engine.IO 3.
    pub(super) v3: bool,
    pub(super) peer: IpAddr,
    /// `None` for a session that began with a websocket.
    pub(super) polling: Option<Box<Polling>>,
    phase: AtomicU8,
    expected: AtomicU32,
    /// The number of a [`KillReason`], or 0.
    killed: AtomicU8,
    /// The engine's writer, while the client does not take its bytes. Its reader is woken by the
    /// load.
    pub(super) writer: AtomicWaker,
    /// The memory that waits because of this client.
    pub(super) load: Arc<Load>,
    /// The client's sockets, for events past the engine.
    pub(super) intakes: Intakes,
    /// One of [`joined`].
    joined: AtomicU8,
    answers: Mutex<Vec<Awaited>>,
    /// Limits how often the client may ask to join.
    asks: Mutex<Bucket>,
    _permit: Permit,
}

impl Transport {
    pub(super) fn websocket(v3: bool, peer: IpAddr, permit: Permit) -> Self {
        // an Engine.IO 3 server never pings
        let first_ping = if v3 { 0 } else { expected::FIRST_PING };
        Self::new(v3, peer, permit, Phase::Websocket, None, expected::OPEN | first_ping)
    }

    pub(super) fn polling(v3: bool, peer: IpAddr, permit: Permit) -> Self {
        let polling = Polling::new(v3);
        let transport = Self::new(v3, peer, permit, Phase::Polling, Some(Box::new(polling)), 0);
        transport.load.set_away(true);
        transport
    }

    fn new(
        v3: bool,
        peer: IpAddr,
        permit: Permit,
        phase: Phase,
        polling: Option<Box<Polling>>,
        expected: u32,
    ) -> Self {
        Self {
            sid: OnceLock::new(),
            v3,
            peer,
            polling,
            phase: (phase as u8).into(),
            expected: expected.into(),
            killed: 0.into(),
            writer: AtomicWaker::new(),
            load: Arc::default(),
            intakes: Intakes::default(),
            joined: joined::NOTHING.into(),
            answers: Mutex::default(),
            asks: Mutex::new(Bucket::full(ASKS_PER_SECOND, Instant::now())),
            _permit: permit,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Polling,
            1 => Phase::Probing,
            _ => Phase::Websocket,
        }
    }

    /// Changes the phase. `false` if it is not (or no longer) `from`. [`announce`](Self::announce)
    /// wakes those that wait for the change.
    pub(super) fn shift(&self, from: Phase, to: Phase) -> bool {
        let shifted = self
            .phase
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if shifted && to == Phase::Websocket {
            self.load.set_away(false);
        }
        shifted
    }

    #[inline]
    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire) != 0
    }

    /// Marks the transport as cut, and calls `first` before anybody is woken. `false` if that was
    /// done before.
    pub(super) fn mark_killed(&self, reason: KillReason, first: impl FnOnce()) -> bool {
        let is_first = self
            .killed
            .compare_exchange(0, reason as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if is_first {
            first();
        }
        self.load.reader.wake();
        self.writer.wake();
        if let Some(polling) = &self.polling {
            polling.unread.wake();
        }
        self.load.abandon(KillReason::of(self.killed.load(Ordering::Acquire)).unwrap_or(reason));
        is_first
    }

    /// The reader for the packets of a websocket. It continues where polling has ended.
    pub(super) fn take_reader(&self) -> Reader {
        match &self.polling {
            Some(polling) => std::mem::take(&mut *polling.reader.lock()),
            None => Reader::new(self.v3),
        }
    }

    /// The client is in a namespace.
    pub(super) fn joined(&self) {
        self.joined.store(joined::A_NAMESPACE, Ordering::Release);
    }

    pub(super) fn has_joined(&self) -> bool {
        self.joined.load(Ordering::Acquire) == joined::A_NAMESPACE
    }

    /// The engine's timer for a session that has joined nothing has ended.
    pub(super) fn farewell_heard(&self) {
        self.joined.store(joined::FAREWELL, Ordering::Release);
        self.load.reader.wake();
        if let Some(polling) = &self.polling {
            polling.moved.notify_waiters();
        }
    }

    /// Whether the engine still has a timer for this session.
    pub(super) fn needs_farewell(&self) -> bool {
        self.joined.load(Ordering::Acquire) == joined::NOTHING
            && !self.v3
            && self.sid.get().is_some()
    }

    /// Counts an attempt of the client to join, which may cost a signature and more. `false`: there
    /// were too many.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        self.asks.lock().take(ASKS_PER_SECOND, now)
    }
}

#[cfg(test)]
#[path = "transport/tests.rs"]
mod tests;
