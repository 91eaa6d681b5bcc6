//! The kind of a cluster: what its messages look like, and by which commands of Redis they travel.

use crate::config::WireProtocol;

/// The kind of a cluster.
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
