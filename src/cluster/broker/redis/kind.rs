//! The commands of Redis that a wire format uses.

use crate::{config::WireProtocol, link::rights::Try};

/// The commands of Redis to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `PUBLISH`, `SUBSCRIBE`, `PSUBSCRIBE`.
    Classic,
    /// `SPUBLISH`, `SSUBSCRIBE` (Redis 7); no prefixes. In a Redis Cluster the load is spread, and
    /// the order of frames is kept within a channel only.
    Sharded,
    /// Streams, and the commands of the classic kind for what is said only to those who are there.
    Streams,
}

impl From<WireProtocol> for Kind {
    fn from(protocol: WireProtocol) -> Self {
        match protocol {
            WireProtocol::Classic => Self::Classic,
            WireProtocol::Sharded => Self::Sharded,
            WireProtocol::Streams => Self::Streams,
        }
    }
}

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
