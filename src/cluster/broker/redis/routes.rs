//! The lane of each channel.
//!
//! There is one lane, unless sharded channels travel in a Redis Cluster. There a channel lives at
//! the master that owns its slot, and each master has a lane of its own.

use std::sync::Arc;

use super::slots::{self, SLOTS};

/// The first lane, which always exists. In a Redis Cluster with shards it stands for slots without
/// an owner.
pub(super) const FIRST: usize = 0;

/// The lane of each slot. Without slots all channels are on the first lane.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Routes(Option<Arc<[u16]>>);

impl Routes {
    /// Routes by a function that gives the lane of each slot.
    pub(super) fn new(lane: impl Fn(usize) -> usize) -> Self {
        let lane = |slot| u16::try_from(lane(slot)).unwrap_or(FIRST as u16);
        Self(Some((0..SLOTS).map(lane).collect()))
    }

    pub(super) fn lane(&self, channel: &str) -> usize {
        self.0.as_ref().map_or(FIRST, |lanes| lanes[slots::slot(channel)].into())
    }

    /// The number of slots on the lane.
    pub(super) fn slots(&self, lane: usize) -> usize {
        self.0.iter().flat_map(|lanes| lanes.iter()).filter(|at| usize::from(**at) == lane).count()
    }

    /// The lanes that have slots here which they do not have in `other`.
    pub(super) fn losing(&self, other: &Self) -> Vec<usize> {
        let (Some(here), Some(there)) = (&self.0, &other.0) else { return Vec::new() };
        let moved = here.iter().zip(there.iter()).filter(|(here, there)| here != there);
        let mut losing: Vec<usize> = moved.map(|(here, _)| usize::from(*here)).collect();
        losing.sort_unstable();
        losing.dedup();
        losing
    }
}

/// One channel on a lane of its own, and all others on the first.
#[cfg(test)]
pub(super) fn one_channel(name: &str, lane: usize) -> Routes {
    let own = slots::slot(name);
    Routes::new(|slot| if slot == own { lane } else { FIRST })
}
