//! A lane: some of the channels, and the shared state of the two connections for them.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{place::Place, speaker::Speaker, watermark::Watermark};

pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) place: Place,
    /// Set while there is a link for publishing.
    pub(super) speaker: ArcSwapOption<Speaker>,
    /// The time up to which everything was heard. `None` if nothing ever was.
    pub(super) watermark: Mutex<Option<Watermark>>,
    /// When the listening link was last lost.
    pub(super) deaf_since: Mutex<Option<Instant>>,
    /// Cancelled when no channel is on this lane any more.
    pub(super) over: CancellationToken,
}

impl Lane {
    pub(super) fn new(number: usize, place: Place) -> Arc<Self> {
        let (speaker, watermark, deaf_since, over) = Default::default();
        Arc::new(Self { number, place, speaker, watermark, deaf_since, over })
    }
}
