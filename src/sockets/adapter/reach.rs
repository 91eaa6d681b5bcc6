//! Whether packets reach a socket, and the memory that waits because of its client.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use socketioxide_core::Sid;

use super::hold::Hold;
use crate::{
    edge::{KillReason, Load, Transports},
    recovery::Position,
};

/// How far a socket has come on its way into the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Step {
    /// It only has rooms.
    Outside,
    /// Its CONNECT is next. What is appended to a websocket's frames comes after it.
    AtTheDoor,
    /// It is in the namespace.
    Inside,
}

/// Whether packets reach a socket, and the memory that waits because of its client.
pub(super) struct Reach {
    /// A [`Step`].
    step: AtomicU8,
    /// Events pass it by, for their replay brings them.
    is_gated: AtomicBool,
    /// The place of the last event that was sent: its two parts, written under the ledger's lock.
    last: [AtomicU64; 2],
    /// Events wait for the history of a room.
    hold: Hold,
    /// Looked up when it is first needed.
    load: OnceLock<Arc<Load>>,
}

impl Default for Reach {
    fn default() -> Self {
        let (last, hold, load) = Default::default();
        Self { step: (Step::Outside as u8).into(), is_gated: false.into(), last, hold, load }
    }
}

impl Reach {
    pub(super) fn enters(&self, step: Step) {
        self.step.store(step as u8, Ordering::Release);
    }

    pub(super) fn has_entered(&self, step: Step) -> bool {
        self.step.load(Ordering::Acquire) >= step as u8
    }

    pub(super) fn set_gate(&self, is_closed: bool) {
        self.is_gated.store(is_closed, Ordering::Release);
    }

    pub(super) fn is_gated(&self) -> bool {
        self.is_gated.load(Ordering::Acquire)
    }

    pub(super) fn hold(&self) -> &Hold {
        &self.hold
    }

    /// An event with this place in the log is sent.
    pub(super) fn sends(&self, place: Position) {
        let Position { millis, number } = place;
        self.last[0].store(millis, Ordering::Relaxed);
        self.last[1].store(number, Ordering::Relaxed);
    }

    /// The place of the last event that was sent. The default if there was none.
    pub(super) fn last(&self) -> Position {
        let [millis, number] = &self.last;
        let part = |part: &AtomicU64| part.load(Ordering::Relaxed);
        Position { millis: part(millis), number: part(number) }
    }

    /// Whether the client may come back to this session, as far as the reason is known for which
    /// its connection was cut.
    pub(super) fn may_return(&self) -> bool {
        let reason = self.load.get().and_then(|load| load.cut_for());
        use KillReason::{BadRequest, Missed, Removed, Requested};
        !matches!(reason, Some(BadRequest | Missed | Removed | Requested))
    }

    pub(super) fn load(&self, sid: Sid, transports: &Transports) -> Option<&Arc<Load>> {
        if let Some(load) = self.load.get() {
            return Some(load);
        }
        let load = transports.load(sid)?;
        Some(self.load.get_or_init(|| load))
    }
}
