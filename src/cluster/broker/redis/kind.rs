//! The commands of Redis that a kind of cluster uses.

use crate::{cluster::kind::Kind, link::redis::rights::Try};

impl Kind {
    pub(super) fn publish(self) -> &'static str {
        match self {
            Self::Classic | Self::Streams => "PUBLISH",
            Self::Sharded => "SPUBLISH",
        }
    }

    pub(super) fn subscribe(self) -> &'static str {
        match self {
            Self::Classic | Self::Streams => "SUBSCRIBE",
            Self::Sharded => "SSUBSCRIBE",
        }
    }

    pub(super) fn count(self) -> &'static str {
        match self {
            Self::Classic | Self::Streams => "PUBSUB|NUMSUB",
            Self::Sharded => "PUBSUB|SHARDNUMSUB",
        }
    }

    /// The commands of a broker, on channels without listeners. The right to listen needs no trial:
    /// without it there is no link.
    pub(crate) fn tries(self, prefix: &str) -> Vec<Try> {
        let kinds: &[&str] = match self {
            Self::Classic => &["", "-request", "-response"],
            Self::Sharded | Self::Streams => &[""],
        };
        let channels = kinds.iter().map(|kind| format!("{prefix}{kind}#rights"));
        let tries = channels.flat_map(|channel| {
            [Try::new(self.publish(), &[&channel, ""]), Try::new(self.count(), &[&channel])]
        });
        tries.collect()
    }
}
