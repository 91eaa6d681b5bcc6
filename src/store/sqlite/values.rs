//! Numbers and times as they stand in the tables: signed, and milliseconds since 1970.

use std::time::{Duration, SystemTime};

use rusqlite::Row;

use crate::millis;

/// A number that is never negative.
pub(super) fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(|number| u64::try_from(number).unwrap_or_default())
}

/// What is larger than everything there is the largest.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// By the clock of this node, which has the file for itself.
pub(super) fn now() -> i64 {
    signed(millis::since_epoch(SystemTime::now()))
}

/// So much later.
pub(super) fn after(now: i64, time: Duration) -> i64 {
    now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

pub(super) fn moment(stored: i64) -> SystemTime {
    millis::at(u64::try_from(stored).unwrap_or_default())
}
