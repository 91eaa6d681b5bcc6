//! Times as milliseconds since the Unix epoch, also for serde's `with`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(since_epoch(*at))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SystemTime, D::Error> {
    u64::deserialize(deserializer).map(at)
}

/// Before the epoch there is nothing.
pub(crate) fn since_epoch(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time beyond all that the system can name is the last that is sure to exist.
pub(crate) fn at(millis: u64) -> SystemTime {
    const LAST: u64 = 253_402_300_799_999; // the end of the year 9999
    UNIX_EPOCH + Duration::from_millis(millis.min(LAST))
}

pub(crate) mod option {
    //! The same for a time that there may be none of.

    use super::{Deserialize, Deserializer, Serializer, SystemTime, at, since_epoch};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&since_epoch(*time)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        Option::<u64>::deserialize(deserializer).map(|millis| millis.map(at))
    }
}
